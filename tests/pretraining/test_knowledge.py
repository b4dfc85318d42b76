"""What is measured of general knowledge."""

from __future__ import annotations

import torch

from textdiff_monai.language.paraphrases import paraphrases
from textdiff_monai.language.rules import section
from textdiff_monai.pretraining.knowledge import knowledge


def one_hot(texts):
    """Embeddings of which a text's nearest is its paraphrase."""
    known = list(section("general")["m"]) + [text for pair in paraphrases() for text in pair]
    pair_of = {text: index for index, pair in enumerate(paraphrases()) for text in pair}
    vectors = torch.zeros(len(texts), len(known))
    for row, text in enumerate(texts):
        vectors[row, known.index(text)] = 1
        if text in pair_of:
            vectors[row, pair_of[text]] += 1
    return vectors


def random(texts):
    return torch.randn(len(texts), 8, generator=torch.Generator().manual_seed(len(texts)))


def test_the_same_encoder_keeps_everything():
    measured = knowledge(random, random)
    assert measured["neighbours"] == 1
    assert measured["paraphrases"] == measured["paraphrases_original"]


def test_an_encoder_that_knows_finds_every_paraphrase_and_a_random_one_few():
    measured = knowledge(one_hot, random)
    assert measured["paraphrases"] == 1
    assert measured["paraphrases_original"] < 0.3
    assert measured["neighbours"] < 0.5


def test_no_paraphrase_repeats():
    told = [text for pair in paraphrases() for text in pair]
    assert len(set(told)) == len(told) >= 80

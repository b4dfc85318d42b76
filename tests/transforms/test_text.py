"""Sentences on their way to the network, and what is said of those that may not be understood."""

from __future__ import annotations

import warnings

import pytest
import torch
from monai.data import MetaTensor

from textdiff_monai import TextEncoder, TextToMetad, bundle_root
from textdiff_monai.language.lexicon import captions_facts
from textdiff_monai.language.nearness import captions_nearness

FACTS = captions_facts([{"text": "Segment the left lung."}, {"text": "Segment the right lung."}])


def item(text):
    return {"image": MetaTensor(torch.zeros(3, 4, 4)), "text": text}


@pytest.mark.parametrize(("given", "read"), [("left", "left"), (None, ""), (3, "3"), ("a\ud800", "a?")])
def test_whatever_comes_is_a_sentence(given, read):
    assert TextToMetad()(item(given))["image"].meta["text"] == read


def test_a_sentence_that_may_not_be_understood_is_one_warning_that_quotes_no_word_of_it():
    transform = TextToMetad(facts=FACTS)
    with pytest.warns(UserWarning, match="unknown words: 2") as seen:
        found = [transform(item("Zbigniew's 3 flurb in the left lung"))["image"].meta["doubt"] for _ in range(2)]
    assert found == ["unknown words: zbigniew, flurb"] * 2
    assert len(seen) == 1
    assert not {"left", "flurb", "zbigniew"} & set(str(seen[0].message).split())


def test_what_is_understood_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TextToMetad(facts=FACTS)(item("Outline the left lung."))["image"].meta["doubt"] == ""
        assert TextToMetad()(item("flurb"))["image"].meta["doubt"] == ""


def test_a_sentence_far_from_the_trainings_captions_is_doubted_with_its_distance():
    encoder = TextEncoder(f"{bundle_root()}/models/text_encoder")
    captions = [{"text": "Segment the left lung."}, {"text": "Segment both lungs."}]
    transform = TextToMetad(facts=captions_facts(captions) | captions_nearness(captions, encoder), encoder=encoder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert transform(item("Outline the patient's left lung, please."))["image"].meta["doubt"] == ""
    with pytest.warns(UserWarning, match="far from the training captions"):
        transform(item("The bus left both of them at the station."))

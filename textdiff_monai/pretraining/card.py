"""What a trained text encoder is worth, and the model card that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textdiff_monai.language import grammar, kept_back
from textdiff_monai.language.meaning import ALL_FINDINGS, Finding
from textdiff_monai.language.paraphrases import paraphrases
from textdiff_monai.language.rules import section
from textdiff_monai.pretraining.readout import IGNORED, truths

_CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: feature-extraction
base_model: sentence-transformers/all-MiniLM-L6-v2
---

# A text encoder that reads findings

[all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2) (Apache-2.0; a BERT of 6
layers and 384 channels, trained on a billion pairs of English sentences), trained further on the meaning of
captions of medical images. {parameters:,} parameters in half precision, a lower-casing WordPiece vocabulary of
{vocabulary:,} of MiniLM's 30,522 tokens. Any text in Latin letters is tokenized without unknown tokens, if
necessary letter by letter.

    AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER, add_pooling_layer=False)

## Training

{steps:,} steps of {batch} sentences, {minutes:.0f} minutes of CPU time on one core. The sentences and their meanings
come from the grammar in `textdiff_monai/language/`; no patient's record and no published data set was used.
Linear read-outs, discarded afterwards, predicted from [CLS], from the mean of the tokens and, weighted less,
from every token: which of the six zones of a chest film hold a finding and which are said to be free, which of
{targets} targets is asked for or denied, its side and height, and how many. In each step, {general} neutral
sentences with random words of the vocabulary had to keep MiniLM's embeddings. To train it again, from the file
with the SHA-256 `53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db`:

    textdiff pretrain-text FOLDER --start MINILM_FOLDER --steps {steps} --seed {seed}

## Figures

Predicted from the mean of the tokens, on sentences that training has not seen. *New sentences* come from the
grammar; the other kinds use wordings that training never uses (`textdiff_monai/language/rules/kept_back.txt`), {texts}
texts each.

| wording | all six zones right | share of zones right |
|---|---|---|
{rows}

In the new sentences, the target asked for (one of {targets}) is right in {target:.3f} of the cases, and whether
it is denied in {denied:.3f}.

How much of MiniLM's general knowledge it keeps: {neighbours:.0%} of a medical word's ten nearest among {medical}
such words are the same; in {pairs} pairs of paraphrases about other things (`rules/paraphrases.txt`), the
nearest sentence is the partner in {paraphrases:.3f} of the cases (MiniLM: {paraphrases_original:.3f}).

## Good for, not good for

Good for short English captions, requests and report sentences that say what is asked for and where: chest
films, stained nuclei, and about a hundred structures and lesions by their usual names. It knows a little German
and French about chest films. Not good for long reports (only the first 256 tokens are read), for knowledge of
diseases, or for languages in other alphabets. Not a medical device.
"""


def figures(predict: Callable[[list[str]], Tensor], texts: int = 200, seed: int = 2**33) -> dict[str, Any]:
    """Measure an encoder with its read-out on new sentences of the grammar and on the wordings kept back.

    Args:
        predict: answers (B, Q) of texts to the questions of :mod:`textdiff_monai.pretraining.readout`.
        texts: of each kind; five times as many new sentences.
        seed: of the texts, far from any that trains.

    Returns:
        ``zones``, for each wording the share of texts with all six zones right and the share of zones that are;
        ``target`` and ``denied``, the shares of new sentences where these are right.
    """
    rng = np.random.default_rng(seed)
    drawn = [grammar.draw(rng) for _ in range(5 * texts)]
    got, truth = predict([text for text, _ in drawn]), truths([meaning for _, meaning in drawn])
    chest = truth[:, len(ALL_FINDINGS) + 2] == IGNORED
    zones = {"new sentences": _shares(got[chest], truth[chest])}
    for kind in kept_back.kinds():
        told = [kept_back.say(kind, _some_zones(rng), rng) for _ in range(texts)]
        said = torch.tensor([[int(zone in found) for zone in ALL_FINDINGS] for _, found in told])
        zones[kind] = _shares(predict([text for text, _ in told]), said)
    target, denied = (
        (got[:, index] == truth[:, index]).float().mean().item() for index in (len(ALL_FINDINGS), len(ALL_FINDINGS) + 1)
    )
    return {"zones": zones, "target": target, "denied": denied, "texts": texts}


def card(measured: dict[str, Any], **training: Any) -> str:
    """The text of ``README.md``."""
    rows = "\n".join(f"| {name} | {every:.3f} | {each:.3f} |" for name, (every, each) in measured["zones"].items())
    counts = {"targets": len(grammar.TARGETS), "pairs": len(paraphrases()), "medical": len(section("general")["m"])}
    return _CARD.format(**measured, **training, **counts, rows=rows)


def _some_zones(rng: np.random.Generator) -> list[Finding]:
    order = rng.permutation(len(ALL_FINDINGS))[: 1 + int(rng.integers(3))]
    return [ALL_FINDINGS[index] for index in order]


def _shares(got: Tensor, truth: Tensor) -> tuple[float, float]:
    right = (got[:, : len(ALL_FINDINGS)] == 1) == (truth[:, : len(ALL_FINDINGS)] == 1)
    return right.all(1).float().mean().item(), right.float().mean().item()

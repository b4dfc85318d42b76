"""Neutral sentences around any words: what an encoder that learns to read captions must not forget."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from textdiff_monai.language.rules import expand, pick, section
from textdiff_monai.language.structures import read_targets
from textdiff_monai.pretraining.readout import pooled

_LIST = 0.3  # share of plain lists of words


def draw(words: Sequence[str], rng: np.random.Generator) -> str:
    """A neutral sentence, or a list of words.

    Args:
        words: the vocabulary's whole words, common ones first; common ones are drawn more often.
        rng: of the choice.
    """

    def word() -> str:
        return words[int(len(words) * rng.random() ** 2)]

    if rng.random() < _LIST:
        return " ".join(word() for _ in range(1 + int(rng.integers(16))))
    rules = dict(section("general"))
    rules["m"] = [*rules["m"], *(pick(_names(), rng) for _ in range(60))]
    rules["w"] = [word() for _ in range(12)]
    return expand(rules, "frame", rng)


@cache
def _names() -> list[str]:
    return [name for target in read_targets().values() for name in target.names]


def distance(hidden: Tensor, mask: Tensor, original: Tensor, original_mask: Tensor, same: Tensor) -> Tensor:
    """How far embeddings are from the original's: one minus the cosine, of the means and of the tokens.

    Args:
        hidden, mask: (B, L, D) and (B, L).
        original, original_mask: the same of the original encoder, whose tokens may be others: (B, L', D), (B, L').
        same: (B), True where the two have the same tokens, which are then compared one by one.
    """
    loss = 1 - cosine_similarity(pooled(hidden, mask), pooled(original, original_mask)).mean()
    if same.any():
        length = int(mask[same].sum(1).max())
        here = mask[same][:, :length].bool()
        loss = loss + 1 - cosine_similarity(hidden[same][:, :length][here], original[same][:, :length][here]).mean()
    return loss


def identical(tokens: list[list[str]], originals: list[list[str]]) -> Tensor:
    return torch.tensor([one == other for one, other in zip(tokens, originals, strict=True)])

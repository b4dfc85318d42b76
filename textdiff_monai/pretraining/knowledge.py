"""What an encoder keeps of the general knowledge of the one that it started from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from textdiff_monai.language.paraphrases import paraphrases
from textdiff_monai.language.rules import section

_NEIGHBOURS = 10
Embed = Callable[[Sequence[str]], Tensor]


def knowledge(embed: Embed, original: Embed) -> dict[str, float]:
    """Compare two encoders by the means of their tokens.

    Args:
        embed, original: embeddings (B, D) of texts.

    Returns:
        ``neighbours``, the share of the ten nearest among the grammar's medical words that are the same for a word;
        ``paraphrases`` and ``paraphrases_original``, the share of sentences whose nearest is their paraphrase.
    """
    words = list(section("general")["m"])
    near, was = (_nearest(normalize(encode(words), dim=1), _NEIGHBOURS) for encode in (embed, original))
    same = torch.stack([torch.isin(one, other).float().mean() for one, other in zip(near, was, strict=True)])
    told = [text for pair in paraphrases() for text in pair]
    partner = torch.arange(len(told)) ^ 1
    found, before = (
        (_nearest(normalize(encode(told), dim=1), 1)[:, 0] == partner).float().mean() for encode in (embed, original)
    )
    figures = {"neighbours": same.mean(), "paraphrases": found, "paraphrases_original": before}
    return {name: figure.item() for name, figure in figures.items()}


def _nearest(vectors: Tensor, count: int) -> Tensor:
    """The nearest others of each (B, count)."""
    likeness = vectors @ vectors.T
    likeness.fill_diagonal_(-2)
    return likeness.topk(count, dim=1).indices

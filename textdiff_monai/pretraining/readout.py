"""What is read from an encoder's embeddings while it learns what captions mean, and thrown away afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from textdiff_monai.language.grammar import TARGETS
from textdiff_monai.language.meaning import ALL_FINDINGS, OPACITY, Meaning

IGNORED = -100
_SIDES = ("", "left", "right", "both")
_LEVELS = ("", "upper", "middle", "lower")
# Number of answers to each question: every zone (unsaid, found, free), target, denied, side, level, count.
QUESTIONS = (*(3 for _ in ALL_FINDINGS), 1 + len(TARGETS), 2, len(_SIDES), len(_LEVELS), 1 + len(ALL_FINDINGS))
_TOKEN_WEIGHT = 0.3


def answers(meaning: Meaning) -> list[int]:
    """The right answer to each of ``QUESTIONS``; ``IGNORED`` where a meaning leaves it open."""
    zones = [1 if zone in meaning.found else 2 if zone in meaning.free else 0 for zone in ALL_FINDINGS]
    placed = meaning.target != OPACITY
    return [
        *zones,
        1 + TARGETS.index(meaning.target) if meaning.target else 0,
        int(not meaning.present),
        _SIDES.index(meaning.side) if placed else IGNORED,
        _LEVELS.index(meaning.level) if placed else IGNORED,
        meaning.count,
    ]


class Readout(nn.Module):
    """Linear answers from [CLS], from the mean of the tokens, and from every token."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(channels, sum(QUESTIONS)) for _ in range(3))

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """hidden (B, L, D), mask (B, L); returns logits (B, A), (B, A) and (B, L, A), A all answers side by side."""
        cls, mean, token = self.layers
        return cls(hidden[:, 0]), mean(pooled(hidden, mask)), token(hidden)

    def loss(self, hidden: Tensor, mask: Tensor, truth: Tensor) -> Tensor:
        """Cross entropy of all questions, truth (B, Q); tokens count less, as none of them alone has to know all."""
        cls, mean, token = self(hidden, mask)
        words = token[mask.bool()]
        repeated = truth.repeat_interleave(mask.sum(1), dim=0)
        return _loss(cls, truth) + _loss(mean, truth) + _TOKEN_WEIGHT * _loss(words, repeated)


def pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens (B, D)."""
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    parts = logits.split(QUESTIONS, dim=1)
    return torch.stack([_question(part, truth[:, index]) for index, part in enumerate(parts)]).sum()


def _question(logits: Tensor, truth: Tensor) -> Tensor:
    known = truth != IGNORED
    return cross_entropy(logits[known], truth[known]) if known.any() else logits.sum() * 0


def read(logits: Tensor) -> Tensor:
    """The likeliest answer to each question: (B, A) to (B, Q)."""
    return torch.stack([part.argmax(1) for part in logits.split(QUESTIONS, dim=1)], dim=1)


def truths(meanings: Sequence[Meaning]) -> Tensor:
    return torch.tensor([answers(meaning) for meaning in meanings])

"""How often each item is drawn, where some are rare."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import WeightedRandomSampler

_ENOUGH = 60  # items of a kind that may be drawn as often as any other kind


def even_sampler(
    items: Sequence[Mapping[str, Any]], num_samples: int, seed: int, by: str = "kind"
) -> WeightedRandomSampler:
    """Draws ``num_samples`` items an epoch, every kind or source as often as any other, whatever their sizes.

    Items whose kind is told are drawn by kind, and others by ``source``. A kind of few items would be learned by heart:
    one of n < 60 is drawn sqrt(n / 60) times as often as a larger one.

    Args:
        items: with ``by`` or, where it is empty, ``source``.
        num_samples: drawn in each epoch.
        seed: of the choice.
        by: what a kind is: a column of the items' table.

    Raises:
        ValueError: for items without either.
    """
    groups = [item.get(by) or item.get("source") for item in items]
    if None in groups:
        raise ValueError(f"items cannot be drawn evenly by {by}: the table has no such column")
    sizes = Counter(groups)
    shares = {group: min(1.0, math.sqrt(n / _ENOUGH)) if isinstance(group, str) else 1.0 for group, n in sizes.items()}
    weights = [shares[group] / sizes[group] for group in groups]
    return WeightedRandomSampler(weights, num_samples, generator=torch.Generator().manual_seed(seed))

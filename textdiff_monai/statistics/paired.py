"""Two methods on the same images: how far they are apart, and whether chance would do."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.statistics.intervals import mean_interval


class Difference(NamedTuple):
    """The mean of first minus second, its interval, and how often chance alone would give as much."""

    mean: float
    low: float
    high: float
    p: float


def paired_difference(
    first: ArrayLike, second: ArrayLike, groups: Sequence[Hashable] | None = None, level: float = 0.95, seed: int = 0
) -> Difference:
    """Compare figures of the same items, image by image.

    The interval counts chance of images and of seeds. ``p`` is of a two-sided sign-flip permutation test of the mean:
    it asks whether these networks differ on other images, and is exact for few images; with n of them it is at least
    2 / 2^n.

    Args:
        first, second: (items,) or (seeds, items); an item counts where both have a value.
        groups: the image of each item; None: each is of its own.
        level: of the interval.
        seed: of the resampling.
    """
    differences = np.atleast_2d(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))
    mean, low, high = mean_interval(differences, groups, level, seed=seed)
    sums: dict[Hashable, float] = {}
    for group, total in zip(groups or range(differences.shape[1]), np.nansum(differences, axis=0), strict=True):
        sums[group] = sums.get(group, 0.0) + float(total)
    if len(sums) < 2 or np.isnan(mean):
        return Difference(mean, low, high, np.nan)
    test = stats.permutation_test(
        (list(sums.values()),), np.mean, permutation_type="samples", vectorized=True, n_resamples=9999, rng=seed
    )
    return Difference(mean, low, high, float(test.pvalue))

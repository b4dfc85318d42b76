"""Bootstrap intervals of means over images, and over images and seeds.

What is resampled is the image, with all its rows, and the seed, with all its images: rows of one image are no
independent evidence. Two corrections keep few images and fewer seeds honest (Hesterberg, The American Statistician 69,
2015): one fewer than there are is drawn, and the percentiles are widened as Student's t is wider than the normal.
Images that are crossed with seeds are resampled apart (Owen, Annals of Applied Statistics 1, 2007).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

_Array = NDArray[np.float64]
_AT_ONCE = 2**22  # weights in memory


class Interval(NamedTuple):
    """A mean, and where it is expected to lie; NaN where nothing can be said."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of figures, one for each item, and its interval.

    Args:
        values: (items,), or (seeds, items) where several trainings were measured on the same items; NaN does not count.
        groups: the image of each item; None: each is of its own.
        level: how often the interval should hold the mean of all images and seeds that might have been drawn.
        resamples: of the bootstrap.
        seed: of the resampling.

    Returns:
        With bounds that are NaN where fewer than two images have a value.
    """
    figures = np.atleast_2d(np.asarray(values, dtype=float))
    known = ~np.isnan(figures)
    return ratio_interval(np.where(known, figures, 0)[..., None], known[..., None], groups, level, resamples, seed)


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A quotient of sums over all items, such as the Dice of all pixels, averaged over classes, and its interval.

    Args:
        numerators, denominators: (seeds, items, classes); of a class whose denominators are all 0 nothing is counted.
        groups, level, resamples, seed: as :func:`mean_interval` has them.
    """
    above, below = (_by_image(np.asarray(each, dtype=float), groups) for each in (numerators, denominators))
    some = below.sum((0, 2)) > 0
    above, below = above[:, some], below[:, some]
    seeds, images, _ = below.shape
    mean = float(_quotient(above.sum((0, 1)), below.sum((0, 1))))
    if images < 2:
        return Interval(mean, np.nan, np.nan)
    tail = stats.norm.cdf(stats.t.ppf((1 - level) / 2, _freedom(above, below)))
    rng, means, step = np.random.default_rng(seed), [], max(1, _AT_ONCE // (images + seeds))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        weights = rng.multinomial(images - 1, np.full(images, 1 / images), count)
        trained = rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), count) if seeds > 1 else np.ones((count, 1))
        sums = [np.einsum("rs,ri,sic->rc", trained, weights, each, optimize=True) for each in (above, below)]
        means.append(_quotient(*sums))
    low, high = np.nanquantile(np.concatenate(means), [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


def _quotient(above: _Array, below: _Array) -> _Array:
    """Mean over the classes, the last axis, that there are."""
    known = below > 0
    each = np.divide(above, below, out=np.zeros_like(above), where=known)
    count = known.sum(-1)
    return np.divide(each.sum(-1), count, out=np.full(np.shape(count), np.nan), where=count > 0)


def _by_image(values: _Array, groups: Sequence[Hashable] | None) -> _Array:
    """Sums (seeds, images, classes) of items' values."""
    if groups is None:
        return values
    if len(groups) != values.shape[1]:
        raise ValueError(f"{len(groups)} groups for {values.shape[1]} items: give the image of each")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((values.shape[0], len(numbers), values.shape[2]))
    np.add.at(sums.swapaxes(0, 1), np.array([numbers[group] for group in groups]), values.swapaxes(0, 1))
    return sums


def _freedom(above: _Array, below: _Array) -> float:
    """Degrees of freedom of the mean's variance, of which images and seeds have a part (Satterthwaite 1946)."""
    seeds, images, _ = above.shape
    total = below.sum((0, 1))
    scaled = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    centred = above - below * (above.sum((0, 1)) * scaled)
    parts = [((centred.sum(axis) * scaled).sum(-1), count) for axis, count in ((0, images), (1, seeds)) if count > 1]
    variances = [(part.var(ddof=1) * count, count - 1) for part, count in parts]
    whole = sum(variance for variance, _ in variances)
    spread = sum(variance**2 / freedom for variance, freedom in variances)
    return float(whole**2 / spread) if spread > 0 else float(images - 1)

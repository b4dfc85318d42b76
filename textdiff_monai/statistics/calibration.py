"""Whether probabilities are what they say: of pixels marked with 0.8, eight of ten should be right.

Expected calibration error and temperature as in Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats  # type: ignore[import-untyped, unused-ignore]

_BINS = 15


class Reliability:
    """How often the likeliest class is right, by how likely it is said to be; counted pixel by pixel, exactly.

    What several have counted can be added up.
    """

    def __init__(self) -> None:
        self._totals = np.zeros((3, _BINS))  # of pixels: how many, said, right

    def add(self, probabilities: NDArray[Any], truth: NDArray[Any]) -> None:
        """More pixels: probabilities (classes, N), truth (N,)."""
        said, right = probabilities.max(0).astype(float), probabilities.argmax(0) == truth
        bins = np.clip((said * _BINS).astype(int), 0, _BINS - 1)
        for total, weights in zip(self._totals, (None, said, right), strict=True):
            total += np.bincount(bins, weights, minlength=_BINS)

    def __add__(self, other: Reliability) -> Reliability:
        both = Reliability()
        both._totals = self._totals + other._totals
        return both

    @property
    def error(self) -> float:
        """The expected calibration error: mean distance of said and right, over pixels."""
        counts, sums, right = self._totals
        return float(np.abs(sums - right).sum() / max(counts.sum(), 1))

    def table(self) -> list[dict[str, float]]:
        """For each bin: how many ``pixels``, their mean ``said`` probability, the share that is ``right``."""
        return [
            {"pixels": int(count), "said": float(said / count), "right": float(right / count)}
            for count, said, right in self._totals.T
            if count
        ]


def fit_temperature(logits: NDArray[Any], truth: NDArray[Any]) -> float:
    """What logits (N, classes) should be divided by so that their likelihood of the truth (N,) is highest."""
    logits = np.asarray(logits, dtype=float)

    def surprise(log_temperature: float) -> float:
        scaled = special.log_softmax(logits * np.exp(-log_temperature), axis=1)
        return -float(scaled[np.arange(len(truth)), truth].mean())

    return float(np.exp(optimize.minimize_scalar(surprise, bounds=(-3, 3), method="bounded").x))


def least_presence(presence: NDArray[Any], dice: NDArray[Any], cost: float) -> float:
    """The presence that a mask must have, so that of absent targets as few as can be are marked at a bounded cost.

    Args:
        presence: of each item's mask, (N,); 0 where nothing is marked.
        dice: of the masks as they are, NaN where the target is not there.
        cost: at most, of the mean over targets that are there.

    Returns:
        The lowest that leaves out as many masks of absent targets as the cost allows; 0 where it allows none.
    """
    there = ~np.isnan(dice)
    if not there.any():
        return 0.0
    order = np.argsort(presence[there], kind="stable")
    kept, lost = presence[there][order], np.cumsum(dice[there][order]) / there.sum()
    # The first mask that would cost too much is the last that must be kept.
    highest = kept[min(np.searchsorted(lost, cost, side="right"), len(order) - 1)]
    alarms = presence[~there]
    alarms = alarms[(alarms > 0) & (alarms < highest)]
    return float(kept[kept > alarms.max()].min()) if len(alarms) else 0.0


def area_under_roc(scores: NDArray[Any], positive: NDArray[Any]) -> float:
    """How often a positive has a higher score than a negative, ties by half; NaN without both."""
    there, absent = scores[positive], scores[~positive]
    if not len(there) or not len(absent):
        return float("nan")
    return float(stats.mannwhitneyu(there, absent).statistic / (len(there) * len(absent)))


def roc_curve(scores: NDArray[Any], positive: NDArray[Any]) -> list[dict[str, float]]:
    """Shares of negatives and positives with a score of at least so much, for every score there is, highest first.

    Returns:
        ``least``, ``negatives`` and ``positives`` of each point after (0, 0); none without both.
    """
    if positive.all() or not positive.any():
        return []
    least = np.unique(scores)[::-1]
    shares = [(scores[kind][:, None] >= least).mean(0) for kind in (~positive, positive)]
    return [
        {"least": float(score), "negatives": float(false), "positives": float(true)}
        for score, false, true in zip(least, *shares, strict=True)
    ]

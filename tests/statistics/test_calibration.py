"""Calibration says of made probabilities what they were made to be."""

from __future__ import annotations

import numpy as np
import pytest

from textdiff_monai.statistics.calibration import (
    Reliability,
    area_under_roc,
    fit_temperature,
    least_presence,
    roc_curve,
)


def drawn(temperature, count=200_000):
    """Logits that are too large by a factor, and the truth."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (count, 2))
    chance = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    return logits * temperature, (rng.random(count) < chance).astype(int)


def probabilities(logits):
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return (exponents / exponents.sum(1, keepdims=True)).T


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found_and_mends_the_error(temperature):
    logits, truth = drawn(temperature)
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(temperature, rel=0.02)
    before, after = Reliability(), Reliability()
    before.add(probabilities(logits), truth)
    after.add(probabilities(logits / found), truth)
    assert after.error < 0.005
    assert before.error > after.error * (1 if temperature == 1 else 10) - 1e-12


def test_the_error_and_the_table_can_be_computed_by_hand():
    reliability = Reliability()
    said = np.array([[0.1, 0.1, 0.1, 0.4], [0.9, 0.9, 0.9, 0.6]])
    reliability.add(said[:, :3], np.array([1, 1, 0]))
    reliability.add(said[:, 3:], np.array([1]))
    assert reliability.error == pytest.approx((3 * abs(0.9 - 2 / 3) + 0.4) / 4)
    low, high = reliability.table()
    assert low == {"pixels": 1, "said": pytest.approx(0.6), "right": 1.0}
    assert high == {"pixels": 3, "said": pytest.approx(0.9), "right": pytest.approx(2 / 3)}


def test_the_area_counts_pairs_in_order():
    scores, positive = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    assert area_under_roc(scores, positive) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert np.isnan(area_under_roc(scores, np.ones(4, bool)))


def test_masks_are_left_out_as_long_as_they_cost_little():
    presence = np.array([0.9, 0.6, 0.7, 0.8, 0.95, 0.75, 0.93])
    dice = np.array([0.8, 0.02, np.nan, 0.5, 0.9, np.nan, np.nan])
    assert least_presence(presence, dice, cost=0.01) == 0.8  # what is less costs 0.02 / 4
    assert least_presence(presence, dice, cost=0.001) == 0
    assert least_presence(presence, dice, cost=1) == 0.95


def test_no_mask_is_left_out_that_saves_nothing():
    presence, dice = np.array([0.6, 0.7, 0.9, 0.0, 0.95]), np.array([0.01, 0.0, 0.8, np.nan, np.nan])
    assert least_presence(presence, dice, cost=0.01) == 0
    assert least_presence(np.append(presence, 0.65), np.append(dice, np.nan), cost=0.01) == 0.7


@pytest.mark.parametrize("dice", [[0.8, 0.9], [np.nan, np.nan]])
def test_without_absent_targets_or_present_ones_no_mask_is_left_out(dice):
    assert least_presence(np.array([0.9, 0.6]), np.array(dice), cost=0.01) == 0


def test_the_roc_encloses_the_area_that_is_said():
    rng = np.random.default_rng(0)
    positive = rng.random(200) < 0.3
    scores = np.round(rng.normal(positive, 1.0), 1)  # with ties
    points = roc_curve(scores, positive)
    false, true = ([0.0, *(point[name] for point in points)] for name in ("negatives", "positives"))
    area = sum((b - a) * (c + d) / 2 for a, b, c, d in zip(false, false[1:], true, true[1:], strict=False))
    assert area == pytest.approx(area_under_roc(scores, positive))
    assert (false[-1], true[-1]) == (1, 1)
    assert points == sorted(points, key=lambda point: -point["least"])
    assert roc_curve(scores[positive], positive[positive]) == []

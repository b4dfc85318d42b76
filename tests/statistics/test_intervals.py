"""Intervals hold what they promise to hold, as often as they promise it."""

from __future__ import annotations

import numpy as np
import pytest

from textdiff_monai.statistics.intervals import mean_interval, ratio_interval

DRAWS = 400


def coverage(draw, truth):
    """How often the interval of a drawn sample holds the truth; by chance within 0.03 of 0.95 almost always."""
    found = [mean_interval(*draw(np.random.default_rng(number)), resamples=800) for number in range(DRAWS)]
    return np.mean([interval.low <= truth <= interval.high for interval in found])


def dice(rng, count):
    """Skewed figures between 0 and 1, of mean 0.8."""
    return rng.beta(6, 1.5, count)


@pytest.mark.parametrize("images", [10, 40])
def test_the_interval_over_images_holds_the_mean_as_often_as_it_says(images):
    assert coverage(lambda rng: (dice(rng, images),), 0.8) == pytest.approx(0.95, abs=0.03)


def test_rows_of_one_image_are_no_evidence_of_their_own():
    def draw(rng):
        values = dice(rng, 15).repeat(6) + rng.normal(0, 0.02, 90)
        return values, np.arange(15).repeat(6)

    assert coverage(draw, 0.8) == pytest.approx(0.95, abs=0.03)
    assert coverage(lambda rng: draw(rng)[:1], 0.8) < 0.75


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.03), (5, 0.01), (3, 0.0)])
def test_the_interval_over_images_and_seeds_holds_the_mean_as_often_as_it_says(seeds, spread):
    def draw(rng):
        luck, noise = rng.normal(0, spread, (seeds, 1)), rng.normal(0, 0.05, (seeds, 20))
        return (dice(rng, 20) + luck + noise,)

    assert coverage(draw, 0.8) == pytest.approx(0.95, abs=0.035)


def test_the_mean_is_that_of_all_values_and_nan_does_not_count():
    values = [0.5, np.nan, 1.0, 0.3]
    found = mean_interval(values, ["a", "a", "a", "b"])
    assert found.mean == pytest.approx(0.6)
    assert found.low < 0.6 < found.high
    assert found == mean_interval(values, ["a", "a", "a", "b"])


def test_of_one_image_nothing_is_known_but_its_mean():
    found = mean_interval([0.2, 0.4], ["a", "a"])
    assert found.mean == pytest.approx(0.3)
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(mean_interval([np.nan, np.nan]).mean)


def test_equal_figures_have_an_interval_without_width():
    assert mean_interval(np.full((2, 5), 0.7)) == pytest.approx((0.7, 0.7, 0.7))


def test_pooled_dice_weighs_images_by_their_size_and_averages_classes():
    above, below = np.array([[[2.0, 0], [90, 8]]]), np.array([[[4.0, 0], [96, 16]]])
    found = ratio_interval(above, below)
    assert found.mean == pytest.approx((92 / 100 + 8 / 16) / 2)


def test_groups_are_of_every_item():
    with pytest.raises(ValueError, match="2 groups for 3 items: give the image of each"):
        mean_interval([1, 2, 3], ["a", "b"])

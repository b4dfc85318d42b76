"""Two methods are told apart when they differ, and not otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from textdiff_monai.statistics.paired import paired_difference


def test_chance_is_called_a_difference_as_rarely_as_the_level_says():
    found = []
    for number in range(300):
        rng = np.random.default_rng(number)
        images = rng.beta(6, 1.5, 12).repeat(2)
        both = (images + rng.normal(0, 0.05, 12).repeat(2) for _ in range(2))
        found.append(paired_difference(*both, groups=np.arange(12).repeat(2).tolist()).p < 0.05)
    assert np.mean(found) == pytest.approx(0.05, abs=0.035)


def test_a_small_gain_on_every_image_is_seen_though_images_differ_widely():
    rng = np.random.default_rng(0)
    images = rng.beta(3, 1, 20)
    found = paired_difference(images + 0.02 + rng.normal(0, 0.01, 20), images)
    assert found.mean == pytest.approx(0.02, abs=0.01)
    assert 0 < found.low < found.mean < found.high
    assert found.p < 0.001


def test_few_images_prove_little():
    found = paired_difference([[0.9, 0.8, 0.7]], [[0.1, 0.1, 0.1]])
    assert found.p == pytest.approx(2 / 2**3)


def test_items_that_only_one_method_has_do_not_count():
    assert paired_difference([1.0, np.nan, 0.5], [0.5, 0.1, 0.0]).mean == pytest.approx(0.5)
    assert np.isnan(paired_difference([0.3], [0.1]).p)

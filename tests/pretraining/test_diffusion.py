"""Pretraining: which views of which images are learned, at which time steps, and what the result draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textdiff_monai import NoisedBatch, RandViewd
from textdiff_monai.pretraining.diffusion import draw_samples


def ramp(height, width):
    """Each pixel holds its own place: rows in the first channel, columns in the second, both from 0 to 1."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([rows, columns, torch.zeros_like(rows)])


def views(image, count=200, **options):
    view = RandViewd("image", **options)
    view.set_random_state(0)
    return [view({"image": image})["image"] for _ in range(count)]


def test_whole_images_are_squeezed_to_the_square():
    for view in views(ramp(40, 80), 5, size=16, whole=1.0, symmetries=["identity"]):
        assert view.shape == (3, 16, 16)
        assert view[0].max() - view[0].min() > 0.9
        assert view[1].max() - view[1].min() > 0.9


def test_parts_are_squares_between_their_own_resolution_and_the_shorter_side():
    spans = [
        (float(v[0].max() - v[0].min()) * 39, float(v[1].max() - v[1].min()) * 79)
        for v in views(ramp(40, 80), size=16, whole=0.0, symmetries=["identity"])
    ]
    assert all(abs(rows - columns) < 1.5 for rows, columns in spans)
    assert min(rows for rows, _ in spans) < 17
    assert max(rows for rows, _ in spans) > 35


@pytest.mark.parametrize(("symmetries", "count"), [(["identity"], 1), (["identity", "mirror"], 2)])
def test_only_the_asked_symmetries_are_drawn(symmetries, count):
    corners = {tuple(v[:2, 0, 0].gt(0.5).tolist()) for v in views(ramp(16, 16), size=16, symmetries=symmetries)}
    assert len(corners) == count


def test_images_smaller_than_the_square_are_enlarged():
    assert views(ramp(8, 9), 4, size=16, whole=0.0)[0].shape == (3, 16, 16)


def test_half_of_the_time_steps_are_in_the_first_quarter():
    batch = NoisedBatch(num_train_timesteps=1000)
    torch.manual_seed(0)
    steps = torch.cat([batch.get_timesteps(torch.zeros(1000, 1)) for _ in range(10)])
    assert 0 <= steps.min() < 5 < 990 < steps.max() < 1000
    assert (steps < 250).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_samples_are_a_square_of_images_and_repeat(unet_folder):
    pages = [np.asarray(draw_samples(unet_folder, 4, steps=2, seed=seed)) for seed in (0, 0, 1)]
    assert pages[0].shape == (64, 64, 3)
    assert np.array_equal(pages[0], pages[1])
    assert not np.array_equal(pages[0], pages[2])

"""Batches, learning rate and weights of the diffusion UNet's pretraining."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from textdiff_monai import Denoiser, DiffusionBackbone, NoisedBatch, SaveBackbone, annealing


def test_batches_of_bytes_are_noised_as_floats():
    prepared = NoisedBatch(num_train_timesteps=1000)({"image": torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)}, "cpu")
    assert torch.equal(prepared[0], torch.ones(2, 3, 4, 4))
    assert prepared[1].dtype == torch.float32


def test_half_of_the_time_steps_are_in_the_first_quarter():
    batch = NoisedBatch(num_train_timesteps=1000)
    torch.manual_seed(0)
    steps = torch.cat([batch.get_timesteps(torch.zeros(1000, 1)) for _ in range(10)])
    assert 0 <= steps.min() < 5 < 990 < steps.max() < 1000
    assert (steps < 250).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_the_learning_rate_warms_up_stays_and_decays_to_zero():
    factor = annealing(warmup=10, total=100, decay=20)
    assert [factor(step) for step in (0, 9, 50, 80, 90, 100, 200)] == pytest.approx([0.1, 1, 1, 1, 0.5, 0, 0])
    assert annealing(warmup=0, total=5, decay=0)(4) == 1


def test_a_denoiser_starts_with_saved_weights_and_their_shape(unet_folder, tmp_path):
    denoiser = Denoiser(unet_folder, block_out_channels=(64,))
    SaveBackbone(str(tmp_path / "unet"), denoiser)(SimpleNamespace())
    first, second = (DiffusionBackbone(folder, [1], [50]).identity for folder in (unet_folder, tmp_path / "unet"))
    assert first["weights"] == second["weights"]
    assert str(unet_folder) not in (tmp_path / "unet" / "config.json").read_text()

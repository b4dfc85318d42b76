"""The loss on images that are not learned from."""

from __future__ import annotations

import csv

import pytest
import torch
from ignite.engine import Engine
from monai.networks.schedulers import DDPMScheduler

from textdiff_monai import Denoiser, HeldOutLoss, unlabelled_images


@pytest.fixture
def held_out(unet_folder, table, tmp_path):
    def make(**options):
        denoiser, items = Denoiser(unet_folder).eval(), unlabelled_images(table, "val")
        return HeldOutLoss(str(tmp_path), denoiser, items, DDPMScheduler(1000), 32, steps=[50, 500], **options)

    return make


def test_the_held_out_loss_is_told_by_kind_view_and_step(held_out):
    rows = held_out().losses()
    assert [(row["kind"], row["view"], row["images"]) for row in rows] == [
        ("a", "whole", 1), ("b", "whole", 1), ("all", "whole", 2),
        ("a", "square", 1), ("b", "square", 1), ("all", "square", 2),
    ]  # fmt: skip
    assert all(row["loss"] == pytest.approx((row["step_50"] + row["step_500"]) / 2) for row in rows)
    assert rows[2]["loss"] == pytest.approx((rows[0]["loss"] + rows[1]["loss"]) / 2)
    assert rows[0]["loss"] != rows[3]["loss"]


def test_the_held_out_loss_repeats_and_leaves_the_random_state_alone(held_out):
    before = torch.get_rng_state()
    first = held_out().losses()
    assert torch.equal(torch.get_rng_state(), before)
    for row, other in zip(first, held_out(batch_size=1).losses(), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)


def test_the_held_out_loss_is_written_before_training_and_as_it_goes(held_out):
    handler = held_out(interval=2)
    engine = Engine(lambda engine, batch: None)
    handler.attach(engine)
    engine.run([0], max_epochs=5)
    with handler.path.open(newline="") as file:
        epochs = [row["epoch"] for row in csv.DictReader(file)]
    assert list(dict.fromkeys(epochs)) == ["0", "2", "4", "5"]
    assert len(epochs) == 4 * 6

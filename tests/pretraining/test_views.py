"""Which views of an image are learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from PIL import Image

from textdiff_monai import RandViewd, ToBytesd, loading
from textdiff_monai.pretraining.views import from_bytes


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


def test_kinds_without_an_upright_position_are_turned():
    view = RandViewd("image", 16, whole=1.0, symmetries=["identity"], turned=["tissue"])
    view.set_random_state(0)
    corners = {
        kind: {tuple(view({"image": ramp(16, 16), "kind": kind})["image"][:2, 0, 0].tolist()) for _ in range(50)}
        for kind in ("tissue", "chest")
    }
    assert {kind: len(found) for kind, found in corners.items()} == {"tissue": 4, "chest": 1}


def test_bytes_give_the_same_views():
    image = ramp(40, 80) * 2 - 1
    kept = ToBytesd("image")({"image": image})["image"]
    assert kept.dtype == torch.uint8
    for exact, quick in zip(views(image, 10, size=16), views(kept, 10, size=16), strict=True):
        assert quick.dtype == torch.uint8
        assert (from_bytes(quick) - exact).abs().max() < 0.02


def test_bytes_keep_what_an_8_bit_picture_holds(tmp_path):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "levels.png")
    kept = Compose([*loading(["image"]), ToBytesd("image")])({"image": str(tmp_path / "levels.png")})["image"]
    assert np.array_equal(kept[0].numpy(), levels)
    assert type(kept) is torch.Tensor


def test_images_smaller_than_the_square_are_enlarged():
    assert views(ramp(8, 9), 4, size=16, whole=0.0)[0].shape == (3, 16, 16)

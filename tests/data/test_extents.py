"""Sizes of images and of each part of their targets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from textdiff_monai.data.extents import extents_of


def test_each_part_of_a_target_is_measured_and_specks_are_not(tmp_path):
    mask = np.zeros((50, 100), np.uint8)
    mask[5:15, 5:15] = 255
    mask[20:40, 50:70] = 255
    mask[45, 90] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(mask).save(tmp_path / "image.png")
    found = extents_of([{"image": str(tmp_path / "image.png"), "label": str(tmp_path / "mask.png")}])
    assert found.images == [100]
    assert sorted(found.shares) == pytest.approx([np.sqrt(100 / 5000), np.sqrt(400 / 5000)])


def test_of_a_volume_the_slice_with_most_of_the_target_counts(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    mask = np.zeros((20, 30, 4), np.uint8)
    mask[2:4, 2:4, 0] = 1
    mask[4:14, 4:14, 2] = 1
    for name in ("image", "mask"):
        nibabel.save(nibabel.Nifti1Image(mask, np.diag([1, 1, 3, 1])), tmp_path / f"{name}.nii.gz")
    found = extents_of([{"image": str(tmp_path / "image.nii.gz"), "label": str(tmp_path / "mask.nii.gz")}])
    assert found.images == [30]
    assert found.shares == pytest.approx([np.sqrt(100 / 600)])

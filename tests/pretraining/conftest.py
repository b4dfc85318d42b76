"""Pictures to pretrain on."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def table(tmp_path):
    """Eight pictures in a table: five of one kind and three of another, one of each held out."""
    rows = [("a", "train")] * 4 + [("b", "train")] * 2 + [("a", "val"), ("b", "val")]
    with (tmp_path / "pictures.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "kind", "split"])
        for number, (kind, split) in enumerate(rows):
            pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{number}.png")
            writer.writerow([f"{number}.png", kind, split])
    return tmp_path / "pictures.csv"

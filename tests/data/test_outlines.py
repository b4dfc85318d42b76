"""Outlines hold the pixels of their mask, and no others."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("contourpy")

from textdiff_monai.data.output import writer_for
from textdiff_monai.data.writers import Origin


def inside(rings, x, y):
    """Whether a point lies in a polygon with holes: edges to its right, odd in number."""
    crossings = 0
    for ring in rings:
        for (x0, y0), (x1, y1) in pairwise(ring):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
                crossings += 1
    return crossings % 2 == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_pixel_lies_in_the_outline_of_its_class(seed, tmp_path):
    mask = np.random.default_rng(seed).integers(0, 3, (9, 12)).astype(np.uint8)
    mask[2:7, 3:9] = 1
    mask[4, 5] = 0  # a hole
    of = Origin(Path("a.png"), class_names=("background", "one", "two"))
    writer_for(of, "geojson").write(tmp_path / "a.geojson", mask, of)
    read = json.loads((tmp_path / "a.geojson").read_text())
    assert read["type"] == "FeatureCollection"
    for index, name in enumerate(["one", "two"], 1):
        own = [one for one in read["features"] if one["properties"]["classification"]["name"] == name]
        for one in own:
            assert one["properties"]["objectType"] == "annotation"
            assert all(ring[0] == ring[-1] for ring in one["geometry"]["coordinates"])
        polygons = [one["geometry"]["coordinates"] for one in own]
        found = [[sum(inside(rings, x + 0.5, y + 0.5) for rings in polygons) for x in range(12)] for y in range(9)]
        np.testing.assert_array_equal(found, mask == index)


def test_a_region_is_called_by_the_target_of_its_sentence_or_by_the_sentence(tmp_path):
    for text, name in (("Please segment the liver.", "liver"), ("the blue thing", "the blue thing"), ("", "target")):
        of = Origin(Path("a.png"), text=text)
        writer_for(of, "geojson").write(tmp_path / "a.geojson", np.ones((2, 2), np.uint8), of)
        (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
        assert feature["properties"]["classification"]["name"] == name


def test_a_volume_has_no_outline(tmp_path):
    of = Origin(Path("a.nii"))
    with pytest.raises(ValueError, match="GeoJSON outlines one slice, not 3; use output_type nifti"):
        writer_for(of, "geojson").write(tmp_path / "a.geojson", np.ones((2, 2, 3), np.uint8), of)

"""Outlines of masks as GeoJSON, as QuPath opens it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textdiff_monai.data.extras import needed
from textdiff_monai.data.pictures import TINTS
from textdiff_monai.data.writers import Origin, Writer


class GeoJsonWriter(Writer):
    """A polygon with its holes for each region of each class, in pixels of the picture as it is seen."""

    name, ending, grey = "geojson", ".geojson", False

    def write(self, path: Path, values: np.ndarray, of: Origin) -> None:
        if values.ndim != 2:
            raise ValueError(f"GeoJSON outlines one slice, not {values.shape[2]}; use output_type nifti")
        write_outlines(path, outlines(values, of.names))


def outlines(mask: np.ndarray, names: Sequence[str], corner: tuple[float, float] = (0.0, 0.0)) -> list[dict[str, Any]]:
    """The regions of a mask as GeoJSON features.

    Args:
        mask: class indices (H, W).
        names: of the classes, background included.
        corner: x and y of the mask's upper left corner.

    Returns:
        Features with polygons that run half-way between the pixels inside and outside: a pixel's centre, (x + 0.5,
        y + 0.5), lies in its region.
    """
    contourpy = needed("contourpy", "slides", "GeoJSON")
    features = []
    for index, name in enumerate(names):
        if not index:
            continue
        inside = np.pad((mask == index).astype(np.float32), 1)
        fill = contourpy.contour_generator(z=inside, fill_type=contourpy.FillType.OuterOffset).filled(0.5, 1.5)
        for points, offsets in zip(*fill, strict=True):
            rings = [points[start:end] - 0.5 + corner for start, end in itertools.pairwise(offsets)]
            features.append(_feature([ring.round(2).tolist() for ring in rings], name, index))
    return features


def write_outlines(path: Path, features: Sequence[dict[str, Any]]) -> None:
    """A GeoJSON file."""
    content = {"type": "FeatureCollection", "features": list(features)}
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _feature(rings: list[Any], name: str, index: int) -> dict[str, Any]:
    colour = [int(part) for part in TINTS[(index - 1) % len(TINTS)]]
    shown = {"objectType": "annotation", "classification": {"name": name, "color": colour}}
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings}, "properties": shown}

"""What is found on a slide for one sentence, gathered block by block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.data.outlines import outlines
from textdiff_monai.data.slides.mosaic import Mosaic
from textdiff_monai.data.slides.regions import Components

_MANY = 2**24  # pixels of a region from which its outline is that of every second pixel, and so on


class Found:
    """A mask, how much it marks and how surely, and its regions; memory holds one block and the regions' boxes.

    Args:
        size: height and width of the slide.
        folder: for a temporary file of as many bytes as the slide has pixels, of which empty parts take no place.

    Attributes:
        mosaic: the mask.
    """

    def __init__(self, size: tuple[int, int], folder: Path) -> None:
        self.mosaic, self._components = Mosaic(*size, folder), Components()
        self._count, self._sum, self._highest = 0, 0.0, 0.0

    def add(self, top: int, left: int, mask: np.ndarray, probability: np.ndarray) -> None:
        """A block: class indices (h, w), uint8, and the probability of the foreground (h, w)."""
        self.mosaic.write(top, left, mask)
        self._components.add(top, left, mask > 0)
        self._count += int((mask > 0).sum())
        self._sum += float(probability[mask > 0].sum())
        self._highest = max(self._highest, float(probability.max()))

    def figures(self, mpp: tuple[float, float] | None) -> dict[str, str]:
        """As those of pictures; areas where micrometres are known."""
        found = {"pixels": str(self._count), "components": str(sum(1 for _ in self._components))}
        found["mean_probability"] = f"{self._sum / self._count:.4f}" if self._count else ""
        found["highest_probability"] = f"{self._highest:.4f}"
        if mpp is not None:
            found["area_mm2"] = f"{self._count * mpp[0] * mpp[1] / 1e6:.6g}"
        return found

    def outlines(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Each region as GeoJSON, in pixels of the slide."""
        features: list[dict[str, Any]] = []
        for (top, left, bottom, right), (row, column) in self._components:
            step = max(1, int(np.ceil(np.sqrt((bottom - top) * (right - left) / _MANY))))
            crop = self._every(top, left, bottom, right, step)
            labels, _ = ndimage.label(crop > 0)
            own = labels[(row - top) // step, (column - left) // step]
            crop = np.where(labels == own, crop, 0) if own else crop
            for feature in outlines(crop, names):
                rings = feature["geometry"]["coordinates"]
                moved = [[[x * step + left, y * step + top] for x, y in ring] for ring in rings]
                feature["geometry"]["coordinates"] = moved
                features.append(feature)
        return features

    def _every(self, top: int, left: int, bottom: int, right: int, step: int) -> np.ndarray:
        """A part of the mask, of every so many pixels."""
        height = 512 * step
        strips = [
            self.mosaic.read(row, left, min(height, bottom - row), right - left)[::step, ::step]
            for row in range(top, bottom, height)
        ]
        return np.concatenate(strips)

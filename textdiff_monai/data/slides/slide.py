"""Slides and other pictures too large to be read whole: windows of them, at their own resolution."""

from __future__ import annotations

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.data.extras import needed
from textdiff_monai.data.names import SLIDES
from textdiff_monai.data.scan import Picture, Scan

_LARGE = 4096**2  # pixels from which a TIFF of tiles is a slide
_THUMBNAIL = 2048
_TILE_WIDTH = 322  # TIFF 6.0, section 15
_PALE = 12  # of 255, between the channels of what has no colour


class Slide(Scan):
    """A slide of which windows are read, by MONAI's ``WSIReader`` over OpenSlide.

    Attributes:
        size: height and width in pixels.
        mpp: micrometres between rows and between columns, where the file says so.
    """

    def __init__(self, path: Path) -> None:
        needed("openslide", "slides", "a slide")
        from monai.data import WSIReader

        self._reader = WSIReader(backend="openslide")
        self._slide: Any = self._reader.read(str(path))
        height, width = self._reader.get_size(self._slide, 0)
        self.size = int(height), int(width)
        properties = self._slide.properties
        steps = [properties.get(f"openslide.mpp-{axis}") for axis in ("y", "x")]
        self.mpp = (float(steps[0]), float(steps[1])) if all(steps) else None

    def __getitem__(self, number: int) -> Picture:
        height, width = self.size
        raise ValueError(
            f"a slide of {width} x {height} pixels is too large to be read whole; textdiff segment reads it in windows"
        )

    def window(self, top: int, left: int, side: int) -> np.ndarray:
        """(3, side, side), uint8"""
        return self._reader.get_data(self._slide, location=(top, left), size=(side, side), level=0)[0]

    @cached_property
    def thumbnail(self) -> np.ndarray:
        """The whole (h, w, 3), uint8, with at most 2048 pixels a side."""
        scale = min(1.0, _THUMBNAIL / max(self.size))
        size = (max(1, round(self.size[1] * scale)), max(1, round(self.size[0] * scale)))
        return np.asarray(self._slide.get_thumbnail(size).convert("RGB"))

    @cached_property
    def tissue(self) -> np.ndarray:
        """Where the thumbnail is no empty glass (h, w): by its colour, everywhere in gray pictures.

        The threshold is Otsu's (1979) of the difference between a pixel's channels, and at least what scanners leave on
        glass; its surroundings of some pixels count too.
        """
        colour = np.ptp(self.thumbnail.astype(np.int16), axis=-1)
        if np.percentile(colour, 99.9) < _PALE and self.thumbnail.std() > 1:
            return np.ones(colour.shape, bool)
        return ndimage.binary_dilation(colour > max(_PALE, _otsu(colour)), iterations=3)

    def has_tissue(self, top: int, left: int, side: int) -> bool:
        """Whether a window has any."""
        return bool(over(self.tissue, self.size, top, left, side).any())


def over(small: np.ndarray, size: tuple[int, int], top: int, left: int, side: int) -> np.ndarray:
    """The part of a small picture of a whole, of ``size``, that a window of it covers."""
    scale = [length / whole for length, whole in zip(small.shape, size, strict=True)]
    rows, columns = (
        slice(int(start * by), max(int(start * by) + 1, int(np.ceil((start + side) * by))))
        for start, by in zip((top, left), scale, strict=True)
    )
    return small[rows, columns]


def is_slide(path: Path) -> bool:
    """Whether a file is a slide: by its name, or a TIFF of tiles that is large."""
    if path.name.lower().endswith(SLIDES):
        return True
    if not path.name.lower().endswith((".tif", ".tiff")):
        return False
    if find_spec("openslide") is None:
        return _has_levels(path)
    openslide = needed("openslide", "slides", "a slide")
    if openslide.OpenSlide.detect_format(path) is None:
        return False
    with openslide.OpenSlide(path) as slide:
        return slide.dimensions[0] * slide.dimensions[1] > _LARGE


def _has_levels(path: Path) -> bool:
    """Whether a TIFF has several pages of tiles, or is larger than Pillow takes: nothing but OpenSlide reads that."""
    try:
        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) > 1 and _TILE_WIDTH in getattr(picture, "tag_v2", {})
    except Image.DecompressionBombError:
        return True
    except OSError:  # no picture at all, which whoever reads it will say
        return False


def _otsu(values: np.ndarray) -> int:
    """The threshold between two groups of values in 0 to 255 that are as far apart as can be."""
    counts = np.bincount(values.ravel().clip(0, 255), minlength=256).astype(float)
    below, total = counts.cumsum(), counts.sum()
    sums = (counts * np.arange(256)).cumsum()
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = (sums[-1] * below / total - sums) ** 2 / (below * (total - below))
    return int(np.nanargmax(np.where(np.isfinite(apart), apart, -1)))

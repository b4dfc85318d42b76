"""Small slides that the tests make for themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile


def save_slide(path: Path, pixels: np.ndarray, mpp: float = 0.5, levels: int = 2) -> Path:
    """A pyramidal TIFF of tiles, as OpenSlide reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(levels):
            step = 2**level
            writer.write(
                np.ascontiguousarray(pixels[::step, ::step]),
                tile=(256, 256),
                compression="zlib",
                photometric="rgb",
                subfiletype=int(level > 0),
                resolution=(1e4 / mpp / step,) * 2,
                resolutionunit="CENTIMETER",
            )
    return path


def tissue(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Glass with two coloured patches, of which the second crosses multiples of 512."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 243, np.uint8) + rng.integers(-3, 4, (height, width, 1)).astype(np.uint8)
    for top, left, side in ((40, 60, 180), (430, 450, 160)):
        inside = pixels[top : top + side, left : left + side]
        inside[:] = (rng.integers(80, 250, (*inside.shape[:2], 1)) * [0.9, 0.5, 0.8]).astype(np.uint8)
    return pixels

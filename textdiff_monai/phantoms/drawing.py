"""What generated images are drawn with: soft steps, smooth noise, blur."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.floating]
Prior = dict[tuple[int, ...], float]
Drawing = tuple[NDArray[np.uint8], list[str], NDArray[np.uint8]]


def step(distance: Floats, width: float) -> Floats:
    """A soft step from 0 to 1 at distance 0."""
    return 1 / (1 + np.exp(np.clip(-distance / width, -30, 30)))


def noise(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """Smooth noise (size, size) of about zero mean and unit deviation, with `cells` grains from edge to edge."""
    grains = rng.standard_normal((cells, cells), dtype=np.float32)
    return 1.4 * np.asarray(Image.fromarray(grains).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def blur(image: Floats, radius: float) -> Floats:
    """An image of 0 to 255, blurred by a radius in pixels."""
    blurred = Image.fromarray(image.astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred).astype(np.float32)


def grid(size: int) -> tuple[Floats, Floats]:
    """Heights y and widths x (size, size) of the pixel centres, from 0 to 1."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.repeat(centres[:, None], size, axis=1), np.repeat(centres[None], size, axis=0)

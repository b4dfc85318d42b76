"""Whether a mask lies on its image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from textdiff_monai.data.scan import Picture

# How far the corners of a mask may lie from its image's, in pixels of these.
_APART = 0.5


def apart(image: Picture, mask: Picture, path: Path) -> str:
    """What keeps a mask from lying on its image."""
    size, mask_size = _size(image), _size(mask)
    if size != mask_size:
        sizes = f"expected {_shown(size)} like {path}, got {_shown(mask_size)}"
        return f"{sizes}; pair it with its own image or resize it without smoothing"
    one, other = (space if space is not None and space.known else None for space in (image.space, mask.space))
    if one is None or other is None:
        known = one or other
        if known is None or known.as_filed:
            return ""
        fix = "save both in one format, with the same affine"
        return f"of this mask and {path}, only one has an affine that turns it; {fix}"
    corners = np.array([[*corner, 1] for corner in product(*((0, length - 1) for length in [*size, 1][:3]))])
    distance = np.linalg.norm((corners @ (one.seen_affine - other.seen_affine).T)[:, :3], axis=1).max()
    if distance <= _APART * min(one.spacing[:2]):
        return ""
    return f"its affine places it {distance:.4g} mm away from {path}; save it with the affine of its image"


def _size(picture: Picture) -> tuple[int, ...]:
    """Rows and columns, and slices of a volume."""
    return picture.pixels.shape[: 2 if picture.space is None or picture.space.index is not None else 3]


def _shown(size: Sequence[int]) -> str:
    slices = f" and {size[2]} slices" if len(size) == 3 else ""
    return f"{size[1]} x {size[0]} pixels{slices}"

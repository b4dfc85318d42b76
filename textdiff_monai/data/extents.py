"""How large images are, and what is to be found in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.data.masks import classes_of
from textdiff_monai.data.readers import open_scan

_SPECK = 4  # pixels: smaller parts are noise of the outline


@dataclass
class Extents:
    """Sizes in pixels.

    Attributes:
        images: the longer side of each item's image.
        shares: of each connected part of a target, the side of a square as large, as a share of the image's: 0.1 is a
            part that is 12.8 pixels wide once the image is squeezed to 128.
    """

    images: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


def extents_of(
    items: Sequence[Mapping[str, Any]],
    num_classes: int = 2,
    mask_colours: Mapping[Any, int] | None = None,
    plane: str | None = None,
) -> Extents:
    """Measure items of a data list that :func:`~textdiff_monai.check_datalist` has passed.

    Of a volume the slice with most of the target counts.

    Args:
        items: with ``image`` and ``label``.
        num_classes, mask_colours: of the masks, as of :func:`~textdiff_monai.class_indices`.
        plane: that volumes are cut along.
    """
    found = Extents()
    for item in items:
        classes = classes_of(item, open_scan(item["image"], plane), plane, num_classes, mask_colours)
        if classes.ndim == 3:
            classes = classes[..., int((classes > 0).sum(axis=(0, 1)).argmax())]
        found.images.append(max(classes.shape))
        for number in range(1, num_classes):
            parts, _ = ndimage.label(classes == number)
            areas = np.bincount(parts.ravel())[1:]
            found.shares += [float(np.sqrt(area / classes.size)) for area in areas if area >= _SPECK]
    return found

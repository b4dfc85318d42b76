"""Pictures to network inputs, masks to class indices, and predictions back to the layout of their source."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    MapTransform,
)
from torch import Tensor


class ToInputd(MapTransform):
    """A loaded picture (C, W, H) to the network's input: RGB (3, H, W), float32 in [-1, 1].

    Gray is repeated, alpha dropped, and a trailing slice axis of length 1 (2D NIfTI) removed.

    Args:
        keys: of the pictures.
        channels: "BGR" repeats the published loader.
        intensity_range: values that become -1 and 1, such as a CT window; others are clamped. None: values that lie in
            [0, 255] are taken as 8 bit, any other range (16 bit, CT, float) from its 0.5th to its 99.5th percentile.
    """

    def __init__(
        self, keys: KeysCollection, channels: str = "RGB", intensity_range: Sequence[float] | None = None
    ) -> None:
        super().__init__(keys)
        if channels not in ("RGB", "BGR"):
            raise ValueError(f"channels is {channels!r}: expected 'RGB' or 'BGR'")
        if intensity_range is not None and not (len(intensity_range) == 2 and intensity_range[0] < intensity_range[1]):
            raise ValueError(f"intensity_range is {intensity_range!r}: expected [LOW, HIGH] or None")
        self.channels, self.intensity_range = channels, intensity_range

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = _rows_first(d[key], key).float()
            if _lies_in_space(image):  # whatever is written back is a slice as well
                image.meta["spatial_shape"] = np.array([image.shape[-1], image.shape[-2], 1])
            image = image[:3] if image.shape[0] >= 3 else image[:1].repeat(3, 1, 1)
            low, high = self.intensity_range or (0.0, 255.0)
            if self.intensity_range is None and (image.min() < 0 or image.max() > 255 or image.max() <= 1):
                low, high = (float(v) for v in np.percentile(image.numpy(), (0.5, 99.5)))
            image = ((image - low) / max(high - low, 1e-8)).clamp(0, 1) * 2 - 1
            d[key] = image.flip(0) if self.channels == "BGR" else image
        return d


class ToLabeld(MapTransform):
    """A loaded mask (C, W, H) to class indices (1, H, W), uint8; with two classes any value but 0 is the foreground."""

    def __init__(self, keys: KeysCollection, num_classes: int = 2) -> None:
        super().__init__(keys)
        self.num_classes = num_classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            label = _rows_first(d[key], key)[:1]
            d[key] = (label > 0 if self.num_classes == 2 else label).to(torch.uint8)
        return d


class ToSourceLayoutd(MapTransform):
    """A prediction (1, H, W) back to the layout it was loaded from, as writers expect: (1, W, H).

    Of an image that lies in space (NIfTI has an affine, which writers keep for volumes only): (1, W, H, 1).
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            plane = d[key].transpose(-1, -2)
            d[key] = plane[..., None] if _lies_in_space(plane) else plane
        return d


def _rows_first(image: Tensor, key: Hashable) -> Tensor:
    """(C, W, H) or (C, W, H, 1), as MONAI's readers give it, to (C, H, W)."""
    if image.ndim == 4 and image.shape[-1] == 1:
        image = image[..., 0]
        if isinstance(image, MetaTensor):  # MONAI's writers count the axes here
            image.meta["spatial_shape"] = image.shape[1:]
    if image.ndim != 3:
        name = image.meta.get("filename_or_obj", key) if isinstance(image, MetaTensor) else key
        raise ValueError(f"{name}: expected a 2D image, got the shape {tuple(image.shape[1:])}; give single slices")
    return image.transpose(-1, -2)


def _lies_in_space(image: Tensor) -> TypeGuard[MetaTensor]:
    return isinstance(image, MetaTensor) and "original_affine" in image.meta

"""Pictures to network inputs, and predictions back to the layout of their source."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from textdiff_monai.data.space import Space


class ToInputd(MapTransform):
    """A loaded picture (C, H, W) to the network's input: RGB (3, H, W), float32 in [-1, 1].

    Gray is repeated, and what follows three channels dropped.

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
            image = d[key].float()
            image = image[:3] if image.shape[0] >= 3 else image[:1].repeat(3, 1, 1)
            low, high = self.intensity_range or (0.0, 255.0)
            if self.intensity_range is None and (image.min() < 0 or image.max() > 255 or image.max() <= 1):
                low, high = (float(v) for v in np.percentile(image.numpy(), (0.5, 99.5)))
            image = ((image - low) / max(high - low, 1e-8)).clamp(0, 1) * 2 - 1
            d[key] = image.flip(0) if self.channels == "BGR" else image
        return d


class ToSourceLayoutd(MapTransform):
    """A prediction (C, H, W), as its image is seen, back to the layout of the file, as writers expect: (C, W, H).

    Of an image that lies in space (which writers keep for volumes only): (C, A, B, D), the file's three axes, with the
    file's affine.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            plane = d[key]
            space = _space_of(plane)
            if space is None:
                d[key] = plane.transpose(-1, -2)
                continue
            filed = np.moveaxis(space.filed(np.moveaxis(plane.numpy(), 0, -1)), -1, 0)
            filed = np.expand_dims(np.ascontiguousarray(filed), 1 + space.axis)
            d[key] = MetaTensor(filed, affine=torch.from_numpy(space.affine), meta=plane.meta)
        return d


def as_seen(filed: Tensor) -> np.ndarray:
    """A mask in the layout of :class:`ToSourceLayoutd`, with or without a channel of one, as it is seen: (H, W)."""
    space = _space_of(filed)
    values = filed.numpy()
    if space is None:
        return values.reshape(values.shape[-2:]).T
    return space.seen(values.reshape(space.shape).squeeze(space.axis))


def _space_of(image: Tensor) -> Space | None:
    """How an image lies in the patient, if the metadata of a loaded one say so."""
    if not isinstance(image, MetaTensor) or "spatial_shape" not in image.meta:
        return None
    affine = np.asarray(image.meta["original_affine"], float)
    return Space.of_slice([int(size) for size in image.meta["spatial_shape"]], affine)

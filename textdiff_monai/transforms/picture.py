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

from textdiff_monai.data.scan import contrast
from textdiff_monai.data.space import Space


class ToInputd(MapTransform):
    """A loaded picture (C, H, W) to the network's input: RGB (3, H, W), float32 in [-1, 1].

    Gray is repeated, and what follows three channels dropped. Of a volume (C, H, W, slices) gray stays one channel:
    whoever cuts its slices repeats it.

    Args:
        keys: of the pictures.
        channels: "BGR" repeats the published loader.
        intensity_range: values that become -1 and 1, such as a CT window; others are clamped. None: the window
            that a DICOM file names; without one, values that lie in [0, 255] are taken as 8 bit, any other range (16
            bit, CT, float) from its 0.5th to its 99.5th percentile, those of the volume for all of its slices.
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
            image, window = d[key].float(), getattr(d[key], "meta", {}).get("window")
            if image.shape[0] >= 3:
                image = image[:3]
            elif image.ndim == 3:
                image = image[:1].repeat(3, 1, 1)
            else:
                image = image[:1]
            low, high = self.intensity_range or (contrast(image.numpy()) if window is None else window)
            image = ((image - low) / max(high - low, 1e-8)).clamp_(0, 1).mul_(2).sub_(1)
            d[key] = image.flip(0) if self.channels == "BGR" else image
        return d


class ToSourceLayoutd(MapTransform):
    """A prediction (C, H, W), as its image is seen, back to the layout of the file, as writers expect: (C, W, H).

    Of an image that lies in space (which writers keep for volumes only), and of a volume (C, H, W, slices), the file's
    three axes with its affine: (C, A, B, D).
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            plane = d[key]
            space = space_of(plane)
            if space is None:
                d[key] = plane.transpose(-1, -2)
                continue
            filed = np.moveaxis(space.filed(np.moveaxis(plane.numpy(), 0, -1)), -1, 0)
            filed = filed if space.index is None else np.expand_dims(filed, 1 + space.axis)
            meta = {**plane.meta, "affine": torch.from_numpy(space.affine)}  # beside which MONAI warns of another
            d[key] = MetaTensor(np.ascontiguousarray(filed), meta=meta)
        return d


def as_seen(filed: Tensor) -> np.ndarray:
    """A mask in the layout of :class:`ToSourceLayoutd`, with or without a channel of one, as it is seen.

    Returns:
        (H, W), of a volume (H, W, slices).
    """
    space = space_of(filed)
    values = filed.numpy()
    if space is None:
        return values.reshape(values.shape[-2:]).T
    values = values.reshape(space.shape)
    return space.seen(values if space.index is None else values.squeeze(space.axis))


def space_of(image: Tensor) -> Space | None:
    """How an image lies in the patient, if the metadata that :class:`~textdiff_monai.PictureReader` gave it say so."""
    if not isinstance(image, MetaTensor) or "spatial_shape" not in image.meta:
        return None
    first, second, third = (int(size) for size in image.meta["spatial_shape"])
    return Space(
        (first, second, third),
        np.asarray(image.meta["original_affine"], float),
        int(image.meta["axis"]),
        None if image.meta["stack"] else 0,
        bool(image.meta["known"]),
        bool(image.meta["measured"]),
    )

"""Views of images for pretraining: whole, or squares of several scales, in bytes for as long as may be."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

from textdiff_monai.data.captions import SYMMETRIES
from textdiff_monai.transforms.scales import squeezed
from textdiff_monai.transforms.symmetry import apply_symmetry


class ToBytesd(MapTransform):
    """Images (C, H, W) in [-1, 1] to plain uint8 tensors, colours together in memory: small, and quickly resized."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            levels = torch.as_tensor(d[key]).add(1).mul(127.5).round().to(torch.uint8)
            levels = levels.as_tensor() if isinstance(levels, MetaTensor) else levels
            d[key] = levels.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        return d


def from_bytes(images: Tensor) -> Tensor:
    """What :class:`ToBytesd` made back to float32 in [-1, 1]; other images as they are."""
    return images.float().div(127.5).sub(1) if images.dtype == torch.uint8 else images


class RandViewd(Randomizable, MapTransform):
    """The image as heads will see it, or a part of it: (C, size, size), in one of its symmetries.

    Half of the time the whole image, squeezed to a square as ``resize`` does in training; else a square of it whose
    side is uniform between ``size`` pixels (its own resolution) and the shorter side of the image.

    Args:
        keys: images (C, H, W).
        size: pixels of the result.
        whole: how often the whole image is taken.
        symmetries: names to draw from, each as likely; pictures with an upright position are learned sooner without
            turns.
        turned: kinds (the item's ``kind``) without an upright position, of which all eight are drawn all the same.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int,
        whole: float = 0.5,
        symmetries: Sequence[str] = tuple(SYMMETRIES),
        turned: Sequence[str] = (),
    ) -> None:
        MapTransform.__init__(self, keys)
        self.size, self.whole, self.symmetries, self.turned = size, whole, tuple(symmetries), tuple(turned)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            view = squeezed(self._view(torch.as_tensor(d[key])), self.size)
            names = tuple(SYMMETRIES) if d.get("kind") in self.turned else self.symmetries
            d[key] = apply_symmetry(view, names[self.R.randint(len(names))]).contiguous()
        return d

    def _view(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        longest = min(height, width)
        if self.R.random_sample() < self.whole:
            return image
        side = longest if longest <= self.size else self.R.randint(self.size, longest + 1)
        top, left = self.R.randint(height - side + 1), self.R.randint(width - side + 1)
        return image[..., top : top + side, left : left + side]

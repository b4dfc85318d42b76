"""The square that the network sees of an image, and how large it is for what is asked for."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor

from textdiff_monai.language.reader import target_of


class SqueezeToSquared(MapTransform):
    """Resizes images and masks to a square of ``size`` pixels, as inference does.

    Args:
        keys: ``image``, and ``label``, which gets the nearest pixel.
        size: side of the square.
        scales: how many times larger it is, by the target that the caption asks for (as
            :func:`~textdiff_monai.language.reader.target_of` names it): lesions of a fundus are two pixels at 128.
        text_key: the caption.
    """

    def __init__(
        self, keys: KeysCollection, size: int, scales: Mapping[str, int] | None = None, text_key: str = "text"
    ) -> None:
        super().__init__(keys)
        self.size, self.scales, self.text_key = size, dict(scales or {}), text_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        side = self.size * (self.scales.get(target_of(str(d.get(self.text_key) or "")), 1) if self.scales else 1)
        for key in self.key_iterator(d):
            if d[key].shape[-2:] == (side, side):
                continue
            if key == "label":
                d[key] = F.interpolate(d[key][None].float(), (side, side), mode="nearest-exact")[0].to(d[key].dtype)
            else:
                d[key] = squeezed(d[key], side)
        return d


def squeezed(image: Tensor, size: int) -> Tensor:
    """(C, H, W) squeezed to (C, size, size), without the artefacts of pixels left out."""
    return F.interpolate(image[None], (size, size), mode="bilinear", antialias=True)[0]

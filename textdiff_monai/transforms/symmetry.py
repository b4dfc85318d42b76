"""Flips and quarter turns that keep the caption true."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import (
    MapTransform,
    Randomizable,
)
from torch import Tensor

from textdiff_monai.data.captions import SYMMETRIES, rewrite


class RandSymmetryd(Randomizable, MapTransform):
    """One of the square's eight symmetries, at random, with left/right/upper/lower rewritten in the caption.

    Only symmetries that the caption allows are drawn (see :func:`~textdiff_monai.rewrite`), and quarter turns only of
    square images.

    Args:
        keys: images and masks (C, H, W).
        text_key: the caption.
        prob: probability of drawing at all.
        rewrite_text: False turns and flips without regard to the caption, as the published code does.
        symmetries: names to draw from, of ``textdiff_monai.data.captions.SYMMETRIES``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        text_key: str = "text",
        prob: float = 1.0,
        rewrite_text: bool = True,
        symmetries: Sequence[str] = tuple(SYMMETRIES),
    ) -> None:
        MapTransform.__init__(self, keys)
        self.text_key, self.prob, self.rewrite_text, self.symmetries = text_key, prob, rewrite_text, tuple(symmetries)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        if self.R.random_sample() >= self.prob:
            return d
        text = d.get(self.text_key) or ""
        square = all(d[key].shape[-1] == d[key].shape[-2] for key in self.key_iterator(d))
        texts = {name: rewrite(text, name) if self.rewrite_text else text for name in self.symmetries}
        allowed = [name for name in texts if texts[name] is not None and (square or not SYMMETRIES[name].turns % 2)]
        if not allowed:
            return d
        name = allowed[self.R.randint(len(allowed))]
        for key in self.key_iterator(d):
            d[key] = apply_symmetry(d[key], name)
        d[self.text_key] = texts[name]
        return d


def apply_symmetry(image: Tensor, name: str) -> Tensor:
    """Flip left-right if the symmetry says so, then turn counter-clockwise; image (..., H, W)."""
    symmetry = SYMMETRIES[name]
    image = image.flip(-1) if symmetry.mirrored else image
    return torch.rot90(image, symmetry.turns, (-2, -1))

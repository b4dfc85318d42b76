"""Random tiles at an image's own resolution."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data.utils import dense_patch_slices
from monai.transforms import (
    MapTransform,
    Randomizable,
)


class RandTiled(Randomizable, MapTransform):
    """Random tiles of those that a sliding window goes through: their features are cached, also for evaluation.

    Args:
        keys: images and masks (C, H, W), at least a tile in size.
        tile: side of the square.
        count: tiles drawn, each as likely, with replacement; the result is a list of as many items.
        overlap: of neighbouring tiles, as a fraction of ``tile``; that of :class:`~textdiff_monai.TextInferer`.
        occupied: share of the draws that are made among tiles with a target in them, where there are any.
        label_key: the mask, for ``occupied``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        tile: int,
        count: int = 1,
        overlap: float = 0.25,
        occupied: float = 0.0,
        label_key: str = "label",
    ) -> None:
        MapTransform.__init__(self, keys)
        self.tile, self.count, self.stride = tile, count, int(tile * (1 - overlap))
        self.occupied, self.label_key = occupied, label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:  # type: ignore[override]
        first = next(iter(self.key_iterator(dict(data))))
        tiles = dense_patch_slices(data[first].shape[-2:], (self.tile, self.tile), (self.stride, self.stride))
        full = [each for each in tiles if data[self.label_key][:, *each].any()] if self.occupied else []
        drawn = []
        for _ in range(self.count):
            some = full if full and self.R.random_sample() < self.occupied else tiles
            drawn.append(some[self.R.randint(len(some))])
        return [
            {**data, **{key: data[key][:, rows, columns] for key in self.key_iterator(dict(data))}}
            for rows, columns in drawn
        ]

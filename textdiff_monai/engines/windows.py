"""Running the network over a slide: windows that overlap and are blended, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from torch import Tensor

from textdiff_monai.data.slides.slide import Slide
from textdiff_monai.engines.inferer import BACKGROUND


class Block(NamedTuple):
    """A part of a slide: its upper left corner, and logits (sentences, classes, h, w); None where no window lies."""

    top: int
    left: int
    height: int
    width: int
    logits: Tensor | None


class SlideWindows:
    """A slide in windows, each read as an image of its own, blended as MONAI's sliding window blends them.

    Memory holds one block; windows at its edges are computed for both blocks that they lie in. (MONAI's
    ``PatchInferer`` averages windows without weights, and its mergers keep the logits of the whole slide, in memory or
    on disk.)

    Args:
        side: of the windows, in pixels.
        overlap: of neighbouring windows, as a fraction of ``side``.
        block: side of the blocks, at least, in pixels; a multiple of 512.
        per_batch: windows that run at once.
    """

    def __init__(self, side: int, overlap: float = 0.25, block: int = 4096, per_batch: int = 4) -> None:
        self.side, self.stride, self.per_batch = side, max(1, int(side * (1 - overlap))), per_batch
        self.block = max(block, -(-2 * side // 512) * 512)

    def count(self, slide: Slide) -> int:
        """Blocks of a slide."""
        height, width = slide.size
        return -(-height // self.block) * -(-width // self.block)

    def __call__(
        self,
        slide: Slide,
        run: Callable[[Tensor, list[str]], Tensor],
        texts: Sequence[str],
        wanted: Callable[[int, int, int], bool],
    ) -> Iterator[Block]:
        """Blocks row by row.

        Args:
            slide: to read.
            run: logits (B, classes, side, side) of windows (B, 3, side, side), uint8, and B sentences.
            texts: sentences, each read with every window.
            wanted: whether a window is to be read, by its top, left and side.

        Raises:
            ValueError: for a slide that is smaller than a window.
        """
        if min(slide.size) < self.side:
            raise ValueError(
                f"windows of {self.side} pixels do not fit into {slide.size[1]} x {slide.size[0]}; use smaller ones"
            )
        weight = compute_importance_map((self.side, self.side), mode="gaussian", sigma_scale=0.125)
        weight = weight.clamp_min(1e-3)
        height, width = slide.size
        for top in range(0, height, self.block):
            for left in range(0, width, self.block):
                size = min(self.block, height - top), min(self.block, width - left)
                places = [
                    (y, x)
                    for y in self._starts(height, top, size[0])
                    for x in self._starts(width, left, size[1])
                    if wanted(y, x, self.side)
                ]
                yield Block(top, left, *size, self._block(slide, run, texts, places, (top, left), size, weight))

    def _starts(self, length: int, first: int, size: int) -> list[int]:
        """Of the windows along an axis, those that reach into a part of it."""
        starts = sorted({int(one[0].start) for one in dense_patch_slices((length,), (self.side,), (self.stride,))})
        return [start for start in starts if start < first + size and start + self.side > first]

    def _block(
        self,
        slide: Slide,
        run: Callable[[Tensor, list[str]], Tensor],
        texts: Sequence[str],
        places: Sequence[tuple[int, int]],
        corner: tuple[int, int],
        size: tuple[int, int],
        weight: Tensor,
    ) -> Tensor | None:
        logits, total = None, torch.zeros(size)
        for start in range(0, len(places), self.per_batch):
            some = places[start : start + self.per_batch]
            windows = torch.from_numpy(np.stack([slide.window(y, x, self.side) for y, x in some]))
            found = run(windows.repeat_interleave(len(texts), 0), list(texts) * len(some)).cpu()
            if logits is None:
                logits = torch.zeros(len(texts), found.shape[1], *size)
            for (y, x), own in zip(some, found.split(len(texts)), strict=True):
                inside, cut = _common(y, corner[0], size[0], self.side), _common(x, corner[1], size[1], self.side)
                logits[..., inside[0], cut[0]] += own[..., inside[1], cut[1]] * weight[inside[1], cut[1]]
                total[inside[0], cut[0]] += weight[inside[1], cut[1]]
        if logits is None:
            return None
        logits /= total.clamp_min(1e-8)
        nowhere: Any = total == 0
        logits[:, 0, nowhere] = BACKGROUND
        return logits


def _common(start: int, corner: int, size: int, side: int) -> tuple[slice, slice]:
    """Along an axis, where a window lies in a block, and the block in the window."""
    first, last = max(start, corner), min(start + side, corner + size)
    return slice(first - corner, last - corner), slice(first - start, last - start)

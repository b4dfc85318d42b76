"""Running the network on images of any size, each with its own sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import convert_to_dst_type
from torch import Tensor

from textdiff_monai.language.reader import target_of


class TextInferer(Inferer):
    """Logits of a batch, image by image, whole or in tiles, each read with its sentence.

    The sentences are the ``text`` argument or, where a caller hands images alone on (MONAI Label does), the ``text`` in
    their metadata; see :class:`TextToMetad`.

    Args:
        resize: side of the square that a whole image is resized to for the network; the logits are resized back.
        tile: side of the sliding window at the image's own resolution; every window reads the image's sentence.
        overlap: of neighbouring windows, as a fraction of ``tile``.
        tiles_per_batch: windows that run at once.
        read_text: False calls the network with the image alone.
        scales: by target, for sentences that ask for one of these: the image is resized to a square so many times
            ``resize``, and read in windows of ``resize``; see :func:`~textdiff_monai.language.reader.target_of`.
    """

    def __init__(
        self,
        resize: int | None = None,
        tile: int | None = None,
        overlap: float = 0.25,
        tiles_per_batch: int = 4,
        read_text: bool = True,
        scales: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        if resize is not None and tile is not None:
            raise ValueError("resize takes images whole, tile at their own resolution: give one of them")
        if scales and resize is None:
            raise ValueError("scales are of the side that images are resized to: give resize as well")
        self.resize, self.read_text, self.scales = resize, read_text, dict(scales or {})
        self.window = None
        if side := tile or (resize if scales else None):
            self.window = SlidingWindowInferer(
                (side, side), tiles_per_batch, overlap, mode="gaussian", padding_mode="replicate"
            )

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: Callable[..., Tensor], text: str | Sequence[str] | None = None, **kwargs: Any
    ) -> Tensor:
        """inputs (B, 3, H, W) in [-1, 1], text B sentences, one for all, or None; returns logits (B, classes, H, W)."""
        images = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        if not self.read_text:
            return self._like(self._run(images, network), inputs)
        texts = (
            _texts_of(inputs, len(images)) if text is None else [text] * len(images) if isinstance(text, str) else text
        )
        if self.window is None:
            return self._like(self._run(images, partial(network, text=texts)), inputs)
        pairs = zip(images.split(1), texts, strict=True)
        return self._like(
            torch.cat([self._run(image, partial(network, text=one), self._scale(one)) for image, one in pairs]), inputs
        )

    def _scale(self, text: str) -> int:
        return self.scales.get(target_of(text), 1) if self.scales else 1

    def _run(self, images: Tensor, network: Callable[..., Tensor], scale: int = 1) -> Tensor:
        if self.resize is None:
            return network(images) if self.window is None else self.window(images, network)  # type: ignore[return-value]
        run: Callable[..., Any] = (
            network if self.window is None or scale == 1 else partial(self.window, network=network)
        )
        size, side = images.shape[-2:], self.resize * scale
        if tuple(size) == (side, side):
            return run(images)
        resized = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
        return F.interpolate(run(resized), size, mode="bilinear", align_corners=False)

    @staticmethod
    def _like(logits: Tensor, inputs: Tensor) -> Tensor:
        """With the inputs' metadata, so that the result can be written as they were."""
        return convert_to_dst_type(logits, inputs, dtype=logits.dtype)[0] if isinstance(inputs, MetaTensor) else logits


def _texts_of(inputs: Tensor, batch: int) -> list[str]:
    texts = inputs.meta.get("text", "") if isinstance(inputs, MetaTensor) else ""
    return [texts] * batch if isinstance(texts, str) else list(texts)

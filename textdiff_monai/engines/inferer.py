"""Running the network on images of any size and on volumes, each with its own sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import convert_to_dst_type
from torch import Tensor

from textdiff_monai.data.scan import slice_numbers
from textdiff_monai.engines.presence import leave_out, unmarked
from textdiff_monai.language.reader import target_of

BACKGROUND = 20.0  # logit of the background where nobody asks


class TextInferer(Inferer):
    """Logits of a batch, image by image, whole or in tiles, each read with its sentence.

    The sentences are the ``text`` argument or, where a caller hands images alone on (MONAI Label does), the ``text`` in
    their metadata; see :class:`TextToMetad`. A volume is read slice by slice; ``slices`` in the metadata, such as
    "10-20", says which its sentence is about: the others are background.

    Args:
        resize: side of the square that a whole image is resized to for the network; the logits are resized back.
        tile: side of the sliding window at the image's own resolution; every window reads the image's sentence.
        overlap: of neighbouring windows, as a fraction of ``tile``.
        tiles_per_batch: windows that run at once.
        read_text: False calls the network with the image alone.
        scales: by target, for sentences that ask for one of these: the image is resized to a square so many times
            ``resize``, and read in windows of ``resize``; see :func:`~textdiff_monai.language.reader.target_of`.
        slices_per_batch: of volumes, that run at once. Volumes in a batch share these: where they are the same image
            with several sentences, its features are computed once.
        temperature: that the logits are divided by, so that probabilities say how often they are right.
        least_presence: nothing is marked where what would be marked is less sure of itself, as trained; see
            :func:`~textdiff_monai.engines.presence.presence`. Of a volume this is asked once.
        neighbours: the channels of a slice are the one below, itself and the one above, as in training.
        familiarity: of images (B, 3, H, W) and their sentences, why nothing in each can be what is asked for, or "";
            such as :class:`~textdiff_monai.Familiarity`. Nothing is marked then; ``doubt`` in the metadata says why.
            Volumes are not asked about.
    """

    def __init__(
        self,
        resize: int | None = None,
        tile: int | None = None,
        overlap: float = 0.25,
        tiles_per_batch: int = 4,
        read_text: bool = True,
        scales: Mapping[str, int] | None = None,
        slices_per_batch: int = 8,
        neighbours: bool = False,
        temperature: float = 1.0,
        least_presence: float = 0.0,
        familiarity: Callable[[Tensor, Sequence[str]], list[str]] | None = None,
    ) -> None:
        super().__init__()
        if resize is not None and tile is not None:
            raise ValueError("resize reads images whole, tile at their own resolution: give only one")
        if scales and resize is None:
            raise ValueError("scales multiply the side that images are resized to: give resize as well")
        self.resize, self.read_text, self.scales = resize, read_text, dict(scales or {})
        self.slices_per_batch, self.neighbours = slices_per_batch, neighbours
        self.temperature, self.least_presence, self.familiarity = temperature, least_presence, familiarity
        self.window = None
        if side := tile or (resize if scales else None):
            self.window = SlidingWindowInferer(
                (side, side), tiles_per_batch, overlap, mode="gaussian", padding_mode="replicate"
            )

    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: Callable[..., Tensor],
        text: str | Sequence[str] | None = None,
        progress: Callable[[int], object] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Logits of images or volumes.

        Args:
            inputs: (B, 3, H, W) in [-1, 1]; volumes (B, 1 or 3, H, W, slices).
            network: of images (B, 3, h, w) and, unless ``read_text`` is False, ``text``.
            text: B sentences, one for all, or None.
            progress: told of images, or slices, that are through.

        Returns:
            (B, classes, H, W) or (B, classes, H, W, slices)
        """
        images = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        texts = _of_each(inputs, "text", len(images)) if text is None else text
        texts = [texts] * len(images) if isinstance(texts, str) else list(texts)
        if images.ndim == 5:
            asked = [slice_numbers(one, images.shape[-1]) for one in _of_each(inputs, "slices", len(images))]
            return self._calibrated(self._stacks(images, network, texts, asked, progress), inputs)
        logits = self._planes(images, network, texts)
        if self.familiarity is not None:
            doubts = self.familiarity(images, texts)
            logits = torch.stack(
                [unmarked(one, BACKGROUND) if why else one for one, why in zip(logits, doubts, strict=True)]
            )
            _tell(inputs, doubts)
        if progress is not None:
            progress(len(images))
        return self._calibrated(logits, inputs)

    def _stacks(
        self,
        volumes: Tensor,
        network: Callable[..., Tensor],
        texts: Sequence[str],
        asked: Sequence[range],
        progress: Callable[[int], object] | None,
    ) -> Tensor:
        """Slices of all volumes side by side: what is equal in a batch is computed once."""
        logits, at_once = None, max(1, self.slices_per_batch // len(volumes))
        for start in range(0, volumes.shape[-1], at_once):
            numbers = range(start, min(start + at_once, volumes.shape[-1]))
            some = [(item, number) for number in numbers for item, own in enumerate(asked) if number in own]
            if some:
                images = torch.stack([self.plane(volumes[item], number) for item, number in some])
                found = self._planes(images, network, [texts[item] for item, _ in some])
                if logits is None:
                    logits = found.new_zeros(len(volumes), found.shape[1], *volumes.shape[2:])
                    logits[:, 0] = BACKGROUND
                for (item, number), one in zip(some, found, strict=True):
                    logits[item, ..., number] = one
            if progress is not None:
                progress(len(numbers) * len(volumes))
        assert logits is not None  # slice_numbers leaves none empty
        return logits

    def plain(self) -> TextInferer:
        """The same for maps that are no logits: none is divided, left out, or told to be unfamiliar."""
        other = copy(self)
        other.temperature, other.least_presence, other.familiarity = 1.0, 0.0, None
        return other

    def plane(self, volume: Tensor, number: int) -> Tensor:
        """A slice (3, H, W) of a volume (1 or 3, H, W, slices), as the network takes it."""
        if volume.shape[0] == 3:
            return volume[..., number]
        steps = (-1, 0, 1) if self.neighbours else (0, 0, 0)
        near = [min(max(number + step, 0), volume.shape[-1] - 1) for step in steps]
        return torch.stack([volume[0, ..., one] for one in near])

    def _planes(self, images: Tensor, network: Callable[..., Tensor], texts: Sequence[str]) -> Tensor:
        if not self.read_text:
            return self._run(images, network)
        if self.window is None:
            return self._run(images, partial(network, text=texts))
        pairs = zip(images.split(1), texts, strict=True)
        return torch.cat([self._run(image, partial(network, text=one), self._scale(one)) for image, one in pairs])

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
        return F.interpolate(run(resized(images, (side, side))), size, mode="bilinear", align_corners=False)

    def _calibrated(self, logits: Tensor, inputs: Tensor) -> Tensor:
        """With the inputs' metadata, so that the result can be written as they were."""
        if self.least_presence:
            logits = torch.stack([leave_out(one, self.least_presence) for one in logits])
        logits = logits / self.temperature
        return convert_to_dst_type(logits, inputs, dtype=logits.dtype)[0] if isinstance(inputs, MetaTensor) else logits


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, H, W) as the network takes them whole."""
    same = tuple(images.shape[-2:]) == size
    return images if same else F.interpolate(images, size, mode="bilinear", antialias=True)


def _tell(inputs: Tensor, doubts: Sequence[str]) -> None:
    """Adds to the ``doubt`` in the metadata of images, and warns."""
    for doubt in dict.fromkeys(filter(None, doubts)):
        warnings.warn(f"nothing is marked: {doubt}; --only_familiar False marks it anyway", stacklevel=3)
    if isinstance(inputs, MetaTensor) and any(doubts):
        known = _of_each(inputs, "doubt", len(doubts))
        inputs.meta["doubt"] = ["; ".join(filter(None, each)) for each in zip(known, doubts, strict=True)]


def _of_each(inputs: Tensor, name: str, batch: int) -> list[str]:
    """What the metadata of images say, for each of a batch."""
    found = inputs.meta.get(name, "") if isinstance(inputs, MetaTensor) else ""
    return [found] * batch if isinstance(found, str) else list(found)

"""What files hold: a picture, or a stack of slices that is read one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from textdiff_monai.data.space import Space

Window = tuple[float, float]
_SAMPLES = 2**22  # values that percentiles are taken from


class Picture(NamedTuple):
    """A picture, or a stack of slices, the way up in which it is seen.

    Attributes:
        pixels: (H, W) or (H, W, C), of a stack (H, W, slices, C), in the machine's byte order; of two or four channels
            the last is alpha.
        palette: colours (n, 3) of the numbers in ``pixels``, where the file has one.
        space: where it lies in its file and in the patient, for formats that say so.
        whole: False where the file has more bits than were read.
        window: values that are shown black and white, where the file says so or its other slices decide.
    """

    pixels: np.ndarray
    palette: np.ndarray | None = None
    space: Space | None = None
    whole: bool = True
    window: Window | None = None

    @property
    def colours(self) -> np.ndarray:
        """(H, W, 1 or 3), of a stack (H, W, slices, 1 or 3): with the palette's colours and without alpha."""
        pixels = self.pixels if self.palette is None else self.palette[self.pixels]
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        return pixels[..., :-1] if pixels.shape[-1] in (2, 4) else pixels


class Scan(ABC):
    """One picture, or a stack of slices; ``scan[number]`` is a slice as it is seen, counted from 0.

    Attributes:
        space: of the stack, or of the one slice; None where a picture lies nowhere.
    """

    space: Space | None = None

    def __len__(self) -> int:
        return 1 if self.space is None or self.space.index is not None else self.space.shape[self.space.axis]

    @property
    def is_stack(self) -> bool:
        """Whether it has slices, be it only one."""
        return self.space is not None and self.space.index is None

    @abstractmethod
    def __getitem__(self, number: int) -> Picture: ...

    def stack(self) -> Picture:
        """All slices (H, W, slices, C)."""
        first = self[0]
        values = first.colours[:, :, None]
        if len(self) > 1:
            values = np.empty((*values.shape[:2], len(self), values.shape[-1]), values.dtype)
            for number in range(len(self)):
                values[:, :, number] = self[number].colours
        return Picture(values, space=self.space, window=first.window)


class LonePicture(Scan):
    """The one picture of a file."""

    def __init__(self, picture: Picture) -> None:
        self.picture, self.space = picture, picture.space

    def __getitem__(self, number: int) -> Picture:
        return self.picture


class ArrayScan(Scan):
    """A stack whose slices are read together when the first is asked for.

    Args:
        space: of the stack.
        load: reads (A, B, D) or (A, B, D, C), the file's axes in their order.
        window: what is shown black and white; None: where :func:`contrast` has it in the whole stack.
    """

    def __init__(self, space: Space, load: Any, window: Window | None = None) -> None:
        self.space: Space = space
        self._load, self._window = load, window

    @cached_property
    def _values(self) -> np.ndarray:
        values = self._load()
        check_numbers(values)
        return values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values

    @cached_property
    def window(self) -> Window:
        return self._window or contrast(self._values)

    def __getitem__(self, number: int) -> Picture:
        space = self.space.at(number)
        plane = np.take(self._values, int(space.index or 0), axis=space.axis)
        return Picture(np.ascontiguousarray(space.seen(plane)), space=space, window=self.window)

    def stack(self) -> Picture:
        values = self._values if self._values.ndim == 4 else self._values[..., None]
        return Picture(self.space.seen(values), space=self.space, window=self.window)


def contrast(values: np.ndarray) -> Window:
    """What becomes black and white: values in [0, 255] are taken as 8 bit, others by their 0.5th and 99.5th percentile.

    Percentiles of more than four million values are those of an even choice of them.
    """
    low, high = float(values.min()), float(values.max())
    if low >= 0 and 1 < high <= 255:
        return 0.0, 255.0
    sample = values.ravel()[:: max(1, values.size // _SAMPLES)] if values.size > 2 * _SAMPLES else values
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.5)))
    return low, high


def slice_numbers(text: str, count: int) -> range:
    """``"10-20"`` or ``"7"``: slices as they are counted, both ends included; "" is all.

    Raises:
        ValueError: for another text, or slices that are not there.
    """
    if not text:
        return range(count)
    first, dash, last = str(text).partition("-")
    if not (first.strip().isdigit() and (last.strip().isdigit() or not dash)):
        raise ValueError(f"slices {str(text)[:20]!r}: expected a number or a range such as 10-20")
    numbers = range(int(first), int(last or first) + 1)
    if not numbers or numbers[-1] >= count:
        raise ValueError(f"slices {text}: the volume has {count}, counted from 0 to {count - 1}")
    return numbers


def check_numbers(values: np.ndarray) -> None:
    """Whether all values can be reckoned with.

    Raises:
        ValueError: counting those that are NaN or infinite.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"{count} of {values.size} values are not numbers (NaN or infinite); replace them")


def neighbours(scan: Sequence[Picture] | Scan, number: int) -> Picture:
    """A gray slice with the one below and the one above as channels (H, W, 3); the ends stand for what is beyond."""
    near = [min(max(number + step, 0), len(scan) - 1) for step in (-1, 0, 1)]
    pictures = [scan[one] for one in near]
    pixels = np.stack([picture.colours[..., 0] for picture in pictures], axis=-1)
    return pictures[1]._replace(pixels=pixels, palette=None)

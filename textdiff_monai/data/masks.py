"""Masks as people save them: from grey values, colours, palettes and numbers of any kind to class indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ImageColor

from textdiff_monai.data.dicom.segmentation import is_segmentation, segmentation_scan
from textdiff_monai.data.problems import listed
from textdiff_monai.data.readers import open_scan
from textdiff_monai.data.scan import Picture, Scan

_MANY = 8  # more values than these are hardly meant
_TABLE = "--mask_colours \"{'red': 1}\""


def open_mask(
    path: str,
    image: Scan | None = None,
    plane: str | None = None,
    source: str | None = None,
    value: str | None = None,
) -> Scan:
    """A mask's file, its slices being those of its image, whatever the order and the direction of the file's axes.

    Args:
        path: of the mask.
        image: that it belongs to.
        plane: that both are cut along; None: as the image was acquired.
        source: of the image; a DICOM SEG is laid on its slices.
        value: of a SEG with several segments, those that are meant.
    """
    if image is not None and source is not None and is_segmentation(Path(path)):
        return segmentation_scan(Path(path), image, Path(source), value)
    if image is not None and image.is_stack and image.space is not None:
        plane = image.space.plane
    return open_scan(path, plane)


def classes_of(
    item: Mapping[str, Any],
    image: Scan,
    plane: str | None = None,
    num_classes: int = 2,
    colours: Mapping[Any, int] | None = None,
) -> np.ndarray:
    """The classes of an item's whole mask, (H, W) or (H, W, slices), as :func:`class_indices` returns and raises.

    ``image`` is the item's, opened.
    """
    value = item.get("value") or None
    mask = open_mask(item["label"], image, plane, item["image"], value)
    return class_indices(mask.stack() if mask.is_stack else mask[0], num_classes, colours, value)


def class_indices(
    picture: Picture,
    num_classes: int = 2,
    colours: Mapping[Any, int] | None = None,
    value: str | None = None,
) -> np.ndarray:
    """The classes of a mask (H, W), of a volume (H, W, slices), uint8.

    Without a table of colours: with two classes, 0 or black (or what is transparent) is the background, and one other
    value or colour the foreground; with more, the values, or the numbers of a palette, are the classes. Channels that
    are equal are one, and alpha that never changes is none.

    Args:
        picture: the mask as it was read.
        num_classes: background included.
        colours: classes by colour, as names ("red"), "#ff0000" or grey values; black is 0 where the table does not say.
        value: of the masks of several things, whose numbers are no classes here: "5" or "1, 2" is the foreground.

    Raises:
        ValueError: saying what was expected, what was found, and what to do.
    """
    if not picture.whole:
        raise ValueError("expected at most 8 bits for each of several channels, got 16; save it as a grayscale image")
    if picture.pixels.ndim == 4:
        height, width, slices, channels = picture.pixels.shape
        flat = picture.pixels.reshape(height, width * slices, channels)
        flat = flat[..., 0] if channels == 1 else flat
        return class_indices(picture._replace(pixels=flat), num_classes, colours, value).reshape(height, width, slices)
    if value is not None:
        return _of_numbers(_one_channel(picture.pixels), value)
    if colours is not None:
        return _by_table(picture, num_classes, colours)
    values = _one_channel(picture.pixels)
    if picture.palette is not None:
        _check_palette(values, picture.palette)
    if num_classes == 2 and values.ndim == 3:
        return _foreground(values)
    if values.ndim == 3:
        raise ValueError(
            f"expected integers 0..{num_classes - 1}, got {_names(values)}; assign classes to them: {_TABLE}"
        )
    found = _distinct(values)
    if num_classes == 2:
        expected, good = "0 and one other value", np.count_nonzero(found) <= 1
    else:
        expected, good = f"integers 0..{num_classes - 1}", np.isin(found, range(num_classes)).all()
    if not good:
        shown = listed([_shown(value, picture.palette) for value in found], _MANY)
        raise ValueError(f"expected {expected}, got {shown}; {_fix(len(found) > max(_MANY, num_classes))}")
    return (values != 0 if num_classes == 2 else values).astype(np.uint8)


def _of_numbers(values: np.ndarray, text: str) -> np.ndarray:
    if values.ndim == 3:
        raise ValueError(
            f"value: expected a mask of numbers, got {_names(values)}; leave it empty, and assign classes to colours: "
            f"{_TABLE}"
        )
    try:
        numbers = [float(part) for part in str(text).replace(",", " ").replace(";", " ").split()]
        return np.isin(values, numbers).astype(np.uint8)
    except ValueError:
        raise ValueError("value: expected numbers of the mask, such as 5 or 1, 2; correct it in the table") from None


def _fix(many: bool) -> str:
    if many:
        return (
            "in-between values come from JPEG, smoothing or resizing (threshold the mask and save it as PNG), "
            "consecutive values are object numbers (set them to 1)"
        )
    return f"relabel the mask, change num_classes, or assign classes to its colours or gray values: {_TABLE}"


def _one_channel(pixels: np.ndarray) -> np.ndarray:
    """(H, W) where that says all: without alpha that is the same everywhere, of equal channels one; else (H, W, C)."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and (pixels[..., -1] == pixels[0, 0, -1]).all():
        pixels = pixels[..., :-1]
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    return pixels


def _check_palette(values: np.ndarray, palette: np.ndarray) -> None:
    """Numbers are classes, whatever they look like; unless black, which looks like the background, is another."""
    black = [number for number in np.unique(values) if not palette[number].any()]
    if black and 0 not in black:
        raise ValueError(
            f"expected the number 0 of the palette for the background, got {black[0]} for black; assign classes to "
            f"colours: {_TABLE}"
        )


def _foreground(colours: np.ndarray) -> np.ndarray:
    """Of (H, W, C) with two colours, those that are not the background."""
    found = _distinct(colours)
    clear = found[:, -1] == 0 if found.shape[1] in (2, 4) else np.zeros(len(found), bool)
    black = ~found[:, :3].any(axis=1) if found.shape[1] >= 3 else found[:, 0] == 0
    background = clear if clear.any() else black
    if len(found) > 2 or background.sum() != 1:
        fix = _fix(True) if len(found) > _MANY else f"assign classes to colours: {_TABLE}"
        raise ValueError(f"expected black and one other colour, got {_names(colours)}; {fix}")
    return (colours != found[background]).any(axis=-1).astype(np.uint8)


def _by_table(picture: Picture, num_classes: int, colours: Mapping[Any, int]) -> np.ndarray:
    wrong = [index for index in colours.values() if not isinstance(index, int) or not 0 <= index < num_classes]
    if wrong:
        raise ValueError(f"mask_colours: expected classes 0..{num_classes - 1}, got {listed(map(str, wrong))}")
    table = {_colour(name): index for name, index in colours.items()}
    values = picture.colours
    values = np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values
    table.setdefault((0, 0, 0), 0)
    found = [tuple(value) for value in _distinct(values).tolist()]
    left = [value for value in found if value not in table]
    if left:
        shown = listed([_name(value) for value in left], _MANY)
        raise ValueError(f"expected only the colours of mask_colours, got {shown} too; add them or correct the mask")
    indices = np.zeros(values.shape[:2], np.uint8)
    for value in found:
        indices[(values == value).all(axis=-1)] = table[value]
    return indices


def _colour(name: Any) -> tuple[float, ...]:
    with suppress(ValueError):
        return (float(name),) * 3  # a text in JSON, whose keys are no numbers
    try:
        return ImageColor.getrgb(str(name))[:3]
    except ValueError:
        fix = "write names such as 'red', '#ff0000' or gray values"
        raise ValueError(f"mask_colours: {name!r} is not a colour; {fix}") from None


def _distinct(values: np.ndarray) -> np.ndarray:
    """The values of (H, W), or the colours of (H, W, C) as (n, C), that occur, in ascending order."""
    if values.ndim == 2:
        ends = np.unique([values.min(), values.max()])
        return ends if ((values == ends[0]) | (values == ends[-1])).all() else np.unique(values)
    if values.dtype != np.uint8:
        return np.unique(values.reshape(-1, values.shape[2]), axis=0)
    places = 256 ** np.arange(values.shape[2])[::-1]
    packed = np.unique(values @ places)
    return packed[:, None] // places % 256


def _names(colours: np.ndarray) -> str:
    return listed([_name(value) for value in _distinct(colours).tolist()], _MANY)


def _name(value: Sequence[float]) -> str:
    """A colour as it can be given: a grey value or #ff0000; with alpha #ff000080."""
    if len(value) in (1, 3) and len(set(value)) == 1:
        return f"{value[0]:.6g}"
    is_colour = len(value) > 2 and all(0 <= part <= 255 and part == int(part) for part in value)
    return "#" + "".join(f"{int(part):02x}" for part in value) if is_colour else str(tuple(value))


def _shown(value: Any, palette: np.ndarray | None) -> str:
    return f"{value:.6g}" if palette is None else f"{value} ({_name(palette[value].tolist())})"

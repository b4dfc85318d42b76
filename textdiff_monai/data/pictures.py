"""Pictures that people look at: masks over images, and sheets of them with captions."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

TINTS = np.array([[255, 64, 64], [64, 160, 255], [80, 220, 100], [255, 200, 0], [220, 90, 255]])
_CELL, _MARGIN, _LINE, _LINES = 256, 10, 16, 8


def overlay(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """An image (H, W, 3), 0 to 255, with every class of a mask (H, W) tinted and outlined in its colour."""
    shown = image.astype(float)
    for label in range(1, int(mask.max(initial=0)) + 1):
        inside = mask == label
        inner = np.asarray(Image.fromarray(inside).convert("L").filter(ImageFilter.MinFilter(3))) > 0
        tint = TINTS[(label - 1) % len(TINTS)]
        shown[inside] = 0.7 * shown[inside] + 0.3 * tint
        shown[inside & ~inner] = tint
    return Image.fromarray(shown.clip(0, 255).astype(np.uint8))


def heat(values: np.ndarray) -> Image.Image:
    """Values (H, W) in [0, 1] as colours: black over red to light yellow, ever lighter, also in grey."""
    grey = Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
    return ImageOps.colorize(grey, black="#000004", mid="#bb3754", white="#fcffa4")


def fullest(mask: np.ndarray) -> int:
    """Of a mask (H, W, slices) the number of the slice of which most is marked, or of the middle one."""
    counts = (mask > 0).sum(axis=(0, 1))
    return int(counts.argmax()) if counts.any() else mask.shape[2] // 2


def strip(
    image: np.ndarray, masks: Sequence[np.ndarray], heats: Sequence[np.ndarray] = (), side: int = 160
) -> Image.Image:
    """A small picture: an image (H, W, 3), 0 to 255, then the same with each of some masks (H, W) over it, in a row.

    Args:
        image: as it is seen.
        masks: class indices.
        heats: maps (H, W) in [0, 1], that come last, as :func:`heat` shows them.
        side: the longer side of each panel, in pixels; no image is enlarged by more than a whole number.
    """
    scale = side / max(image.shape[:2])
    scale = scale if scale < 1 else float(int(scale))
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    small = np.asarray(
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BOX)
    )
    panels = [Image.fromarray(small), *(overlay(small, _reduced(mask, width, height)) for mask in masks)]
    panels += [heat(values).resize((width, height), Image.Resampling.BOX) for values in heats]
    row = Image.new("RGB", (len(panels) * (width + 2) - 2, height))
    for place, panel in enumerate(panels):
        row.paste(panel, (place * (width + 2), 0))
    return row


def _reduced(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """A mask of another size, in which nothing that is there gets lost."""
    small = np.zeros((height, width), np.uint8)
    for label in np.unique(mask[mask > 0]):
        share = np.asarray(
            Image.fromarray((mask == label).astype(np.float32)).resize((width, height), Image.Resampling.BOX)
        )
        small[share >= min(0.5, share.max())] = label
    return small


def sheet(headers: Sequence[str], rows: Sequence[Sequence[tuple[Image.Image, str]]]) -> Image.Image:
    """A table of pictures, as many in a row as there are headers, each with a text under it; none is distorted.

    Of a text that is longer than eight lines the beginning is shown.
    """
    font, bold = _font(11), _font(14)
    texts = [[textwrap.wrap(text, 40, max_lines=_LINES, placeholder=" ...") for _, text in row] for row in rows]
    heights = [_CELL + _LINE * max(map(len, row)) + 2 * _MARGIN for row in texts]
    width = len(headers) * (_CELL + _MARGIN) + _MARGIN
    page = Image.new("RGB", (width, 2 * _LINE + _MARGIN + sum(heights)), "white")
    draw = ImageDraw.Draw(page)
    for column, header in enumerate(headers):
        draw.text((_MARGIN + column * (_CELL + _MARGIN), _MARGIN), header, "black", bold)
    top = 2 * _LINE + _MARGIN
    for row, lines, height in zip(rows, texts, heights, strict=True):
        for column, ((picture, _), text) in enumerate(zip(row, lines, strict=True)):
            left = _MARGIN + column * (_CELL + _MARGIN)
            page.paste(ImageOps.pad(picture.convert("RGB"), (_CELL, _CELL), color="white"), (left, top))
            draw.multiline_text((left, top + _CELL + 4), "\n".join(text), "black", font)
        top += height
    return page


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Of matplotlib: that of Pillow has no letters beyond English."""
    import matplotlib  # which makes folders where it is imported, for nothing where no sheet is drawn

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)

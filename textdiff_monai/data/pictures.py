"""Pictures that people look at: masks over images, and sheets of them with captions."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

TINTS = np.array([[255, 64, 64], [64, 160, 255], [80, 220, 100], [255, 200, 0], [220, 90, 255]])
_CELL, _MARGIN, _LINE = 256, 10, 16


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


def sheet(headers: Sequence[str], rows: Sequence[Sequence[tuple[Image.Image, str]]]) -> Image.Image:
    """A table of pictures, as many in a row as there are headers, each with a text under it."""
    font, bold = ImageFont.load_default(12), ImageFont.load_default(15)
    texts = [[textwrap.wrap(text, 42) for _, text in row] for row in rows]
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
            page.paste(picture.convert("RGB").resize((_CELL, _CELL), Image.Resampling.BICUBIC), (left, top))
            draw.multiline_text((left, top + _CELL + 4), "\n".join(text), "black", font)
        top += height
    return page

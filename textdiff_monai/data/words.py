"""What each word of a sentence does in an image: figures, a table of them, and pictures to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from textdiff_monai.data.pictures import heat, overlay, sheet

_NO_WORD = "(no word)"


class WordEffect(NamedTuple):
    """What one word does.

    Attributes:
        word: as it is written; "" of what is no word: marks of the sentence's beginning and end.
        attention: (H, W), the share of each pixel's attention that the word gets; over all effects of a sentence they
            sum to 1.
        without: (H, W), class indices that are marked when the word is left out; None of what is no word.
    """

    word: str
    attention: np.ndarray
    without: np.ndarray | None


def word_rows(effects: Sequence[WordEffect], mask: np.ndarray) -> list[dict[str, Any]]:
    """A row of figures for each word.

    Args:
        effects: of a sentence.
        mask: (H, W), what the whole sentence marks.

    Returns:
        ``number`` in the sentence and ``word``; ``attention``, its mean share in the image, and ``attention_in_mask``,
        inside the mask; ``pixels`` that are marked without the word, and ``dice`` of that with the mask.
    """
    rows: list[dict[str, Any]] = []
    for number, effect in enumerate(effects, 1):
        row: dict[str, Any] = {"number": number if effect.word else "", "word": effect.word or _NO_WORD}
        row["attention"] = round(float(effect.attention.mean()), 4)
        row["attention_in_mask"] = round(float(effect.attention[mask > 0].mean()), 4) if mask.any() else ""
        row |= {"pixels": "", "dice": ""}
        if effect.without is not None:
            row["pixels"] = int((effect.without > 0).sum())
            row["dice"] = round(agreement(effect.without, mask), 4)
        rows.append(row)
    return rows


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two masks, class indices, over all classes but the background; 1 where nothing is marked."""
    marked = int((one > 0).sum() + (other > 0).sum())
    return 2 * int(((one == other) & (one > 0)).sum()) / marked if marked else 1.0


def word_sheet(effects: Sequence[WordEffect], image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The image with its mask, then each word's attention over it, and what the mask becomes without the word.

    Args:
        effects: of a sentence.
        image: (H, W, 3), 0 to 255.
        mask: (H, W), what the whole sentence marks.
    """
    sentence, rows = " ".join(effect.word for effect in effects).strip(), word_rows(effects, mask)
    nowhere = next(
        (f"; {row['attention']:.0%} of the attention is on no word" for row in rows if not row["number"]), ""
    )
    cells = [(overlay(image, mask), f"{int((mask > 0).sum())} pixels{nowhere}. Sentence: {sentence}")]
    grey = Image.fromarray(image.clip(0, 255).astype(np.uint8)).convert("L").convert("RGB")
    for values, row in zip(common_scale(effects), rows, strict=False):
        told = f"{row['word']} has {row['attention']:.0%}; without it {row['pixels']} pixels, Dice {row['dice']:.2f}"
        cells.append((Image.blend(grey, heat(values), 0.6), told))
    columns = -(-len(cells) // -(-len(cells) // 4))  # up to four, with rows as even as can be
    cells += [(Image.new("RGB", (1, 1), "white"), "")] * (-len(cells) % columns)
    headers = ["The mask of the sentence", "Attention to each word", "", ""][:columns]
    return sheet(headers, [cells[at : at + columns] for at in range(0, len(cells), columns)])


def common_scale(effects: Sequence[WordEffect]) -> list[np.ndarray]:
    """The maps of the words in [0, 1], where 1 is the highest value of any."""
    maps = [effect.attention for effect in effects if effect.word]
    highest = max((float(one.max()) for one in maps), default=1.0)
    return [(one / max(highest, 1e-8)).clip(0, 1) for one in maps]


def word_strip(effects: Sequence[WordEffect], side: int = 80) -> Image.Image:
    """The maps of all words side by side, small, in one scale.

    Args:
        effects: of a sentence.
        side: the longer side of each map, in pixels.
    """
    maps = [heat(values) for values in common_scale(effects)]
    scale = side / max(maps[0].size)
    width, height = (max(1, round(length * scale)) for length in maps[0].size)
    row = Image.new("RGB", (len(maps) * width, height))
    for place, one in enumerate(maps):
        row.paste(one.resize((width, height), Image.Resampling.BOX), (place * width, 0))
    return row

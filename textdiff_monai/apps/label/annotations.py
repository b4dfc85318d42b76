"""Images annotated in a viewer, and the sentences beside them, as a data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textdiff_monai.data.layouts import listed, load_images, stem_of

_logger = logging.getLogger(__name__)


def annotated_rows(
    annotated: Sequence[dict[str, Any]], sentences: Path, val_split: float = 0.2
) -> list[dict[str, str]]:
    """Rows of a data set in the CSV layout: annotated images, the last by name for validation, with their sentences.

    Args:
        annotated: items with the paths ``image`` and ``label``.
        sentences: a table with the columns ``image`` and ``text``, where there is one; rows and images are matched by
            file name, with or without its ending.
        val_split: fraction of the images for validation; training and validation get one at least.

    Raises:
        ValueError: for fewer than two annotated images.
    """
    if len(annotated) < 2:
        raise ValueError(
            f"{len(annotated)} annotated images: submit the masks of two or more, to train and to validate"
        )
    texts = {item["id"]: item["text"] for item in load_images(sentences)} if sentences.exists() else {}
    items = sorted(annotated, key=lambda item: item["image"])
    training = min(max(round(len(items) * (1 - val_split)), 1), len(items) - 1)
    rows = [
        {
            "image": item["image"],
            "mask": item["label"],
            "text": texts.get(stem_of(item["image"]), ""),
            "split": "train" if index < training else "val",
        }
        for index, item in enumerate(items)
    ]
    without = [stem_of(row["image"]) for row in rows if not row["text"]]
    if without:
        _logger.warning(f"{len(without)} of {len(rows)} images have no sentence in {sentences}: {listed(without)}")
    return rows

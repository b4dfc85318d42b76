"""The demonstration as a picture: a few test images, what is asked about them, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from textdiff_monai.apps.demo_tasks import Task
from textdiff_monai.apps.segment import segment
from textdiff_monai.data.captions import recaption
from textdiff_monai.data.files import read_rows, write_rows
from textdiff_monai.data.layouts import load_images
from textdiff_monai.data.masks import class_indices
from textdiff_monai.data.pictures import overlay, sheet
from textdiff_monai.data.readers import read_picture

Item = Mapping[str, Any]


def tell(root: Path, task: Task, count: int = 3) -> None:
    """Write ``story.png`` in a demonstration's folder: a good, a middling and a poor image, a row each.

    Where an image has several sentences, they are its columns; where it has one, that, the same with left and right
    exchanged, and another's.
    """
    items = [item for item in task.items if item["split"] == "test"]
    scores = [float(row["dice"]) for row in read_rows(root / "cases.csv")]
    by_image: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        by_image.setdefault(item["image"], []).append(index)
    ranked = sorted(by_image.values(), key=lambda own: -float(np.mean([scores[index] for index in own])))
    chosen = [ranked[place] for place in np.linspace(0, len(ranked) - 1, count + 2).astype(int)[1:-1]]
    if all(len(own) == 1 for own in chosen):
        told = [recaption(items, captions) for captions in ("own", "swapped", "other")]
        asked = [[told[column][own[0]] for column in range(len(told))] for own in chosen]
        headers = ["image", "truth", "with its sentence", "left and right exchanged", "with another sentence"]
        truths = [[_truth(items[own[0]])] for own in chosen]
    else:
        asked = [[items[index] for index in own] for own in chosen]
        headers = ["image", *[f"sentence {number}" for number in range(1, len(asked[0]) + 1)]]
        truths = [[] for _ in chosen]
    pictures = iter(_predicted(root, [item for row in asked for item in row]))
    rows = [
        [(_picture(row[0]), ""), *((truth, "") for truth in own), *((next(pictures), item["text"]) for item in row)]
        for row, own in zip(asked, truths, strict=True)
    ]
    sheet(headers, rows).save(root / "story.png")


def _predicted(root: Path, asked: Sequence[Item]) -> list[Image.Image]:
    """The image of each item with what its sentence marks."""
    table, out = root / "story.csv", root / "story"
    write_rows(table, [{"image": item["image"], "text": item["text"]} for item in asked])
    segment(str(table), out=str(out), checkpoint=str(root / "model.pt"), cache_dir=str(root / "cache"))
    return [Image.open(out / f"{item['id']}_overlay.png") for item in load_images(table)]


def _picture(item: Item) -> Image.Image:
    return Image.fromarray(read_picture(item["image"]).pixels).convert("RGB")


def _truth(item: Item) -> Image.Image:
    return overlay(np.asarray(_picture(item)), class_indices(read_picture(item["label"])))

"""What the demonstration can be about: each task has images whose targets only the sentence tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.data.captions import SYMMETRIES, rewrite
from textdiff_monai.data.files import write_rows
from textdiff_monai.data.layouts import load_datalist
from textdiff_monai.data.masks import class_indices
from textdiff_monai.data.readers import read_picture
from textdiff_monai.data.words import agreement
from textdiff_monai.phantoms.case import bound_without_text, make_case
from textdiff_monai.phantoms.phantom import write_phantom


@dataclass(frozen=True)
class Task:
    """A data set, and what is needed to show what reading is worth on it.

    Attributes:
        data: the data set.
        swapped: its test items with left and right exchanged in each sentence, and the mask of what that names.
        items: all of its items.
        description: of the images.
        question: a sentence to ask about them.
        symmetries: that training may draw.
        epochs: enough to learn it.
        bound: the best mean Dice on the test items that can be expected of a mask that does not depend on the sentence.
    """

    data: Path
    swapped: Path
    items: list[dict[str, Any]]
    description: str
    question: str
    symmetries: Sequence[str]
    epochs: int
    bound: float


def lungs(root: Path, seed: int, size: int) -> Task:
    """Chest films that ship with the bundle, three rows each: the left lung, the right lung, both."""
    data = Path(bundle_root()) / "data" / "lungs"
    items = load_datalist(data)
    masks = {(item["image"], item["text"]): item["label"] for item in items}
    rows = []
    for item in items:
        text = rewrite(item["text"], "mirror") or item["text"]
        mask = masks[item["image"], text]
        rows.append({"image": item["image"], "mask": mask, "text": text, "split": item["split"]})
    write_rows(root / "swapped" / "text.csv", rows)
    return Task(
        data=data,
        swapped=root / "swapped",
        items=items,
        description="Chest X-rays of which the sentence asks for the left lung, the right lung or both",
        question="Segment the left lung.",
        symmetries=["identity", "mirror"],
        epochs=15,
        bound=_bound_of_one_mask([item for item in items if item["split"] == "test"]),
    )


def phantom(kind: str, question: str, symmetries: Sequence[str], root: Path, seed: int, size: int) -> Task:
    """Generated images with look-alike parts, one sentence each."""
    splits: dict[str, Any] = {"train": 40, "val": 8, "test": 24}
    data = write_phantom(root / "data", kind, **splits, seed=seed, size=size)
    swapped = write_phantom(root / "swapped", kind, **splits, seed=seed, size=size, swapped=True)
    cases = [make_case(kind, (seed << 32) + sum(splits.values()) - 1 - i, size) for i in range(splits["test"])]
    return Task(
        data=data,
        swapped=swapped,
        items=load_datalist(data),
        description="Generated images with parts that look alike",
        question=question,
        symmetries=symmetries,
        epochs=30,
        bound=bound_without_text(cases),
    )


# The sides of a chest are the body's, so it is mirrored at most; tissue may be turned as well.
TASKS: Mapping[str, Callable[[Path, int, int], Task]] = {
    "lungs": lungs,
    "chest": partial(phantom, "chest", "one infected area, upper left lung", ["identity", "mirror"]),
    "nuclei": partial(phantom, "nuclei", "Segment the nuclei in the upper left.", list(SYMMETRIES)),
}


def _bound_of_one_mask(items: Sequence[Mapping[str, Any]]) -> float:
    """For each image the one of its masks that is the best answer to all of its sentences; mean Dice over the items."""
    scores = []
    for _, rows in groupby(items, key=lambda item: item["image"]):
        masks = [class_indices(read_picture(row["label"])) for row in rows]
        best = max(([agreement(guess, mask) for mask in masks] for guess in masks), key=sum)
        scores += best
    return float(np.mean(scores))

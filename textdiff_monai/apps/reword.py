"""How a head reads other words: its test split, asked in several kinds of wordings that no training has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.metrics import compute_dice  # type: ignore[attr-defined, unused-ignore]
from monai.networks.utils import one_hot
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.apps.overrides import overrides
from textdiff_monai.apps.trained import inference_config, trained
from textdiff_monai.data.checks import check_datalist
from textdiff_monai.data.files import check_writable, write_rows
from textdiff_monai.data.layouts import load_datalist
from textdiff_monai.language import kept_back
from textdiff_monai.language.reader import read
from textdiff_monai.transforms.preprocessing import preprocessing

OWN = "own"


def reword(
    dataset_dir: str | Path,
    checkpoint: str | Path,
    out: str | Path = "reworded",
    split: str = "test",
    kinds: str | None = None,
    repeats: int = 1,
    seed: int = 0,
    columns: dict | None = None,
    mask_colours: dict | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure how well a head understands other wordings: repeat a test split with several kinds of wordings.

    Captions are reworded if all of their words are understood (zones of chest films, lungs, nuclei, structures and
    lesions by name). For a kind that denies everything, an empty mask is right.

    Args:
        dataset_dir: a data set as for `check`.
        checkpoint: the model.pt of a training.
        out: folder for reworded.csv, with every text and its Dice, and kinds.csv, the summary table.
        split: the split of the data set to test.
        kinds: a file of wordings by kind; default textdiff_monai/language/rules/kept_back.txt, which shows the format.
        repeats: number of wordings of each kind for every item.
        seed: seed of the wordings.
        columns: other names for the table's columns, such as "{'image': 'file', 'text': 'report'}".
        mask_colours: classes by colour, for masks that are pictures, such as "{'red': 1, '#00ff00': 2}".
        options: options of inference.json, such as --device cpu.

    Returns:
        A row for each kind: items, mean Dice, that of the same items' own captions, and their ratio.

    Raises:
        UsageError: for options that inference.json does not have.
        DataError: listing what is wrong with the data.
        ValueError: if no caption is understood.
    """
    pixels, sections = (
        ("num_classes", "channels", "intensity_range", "plane", "neighbours"),
        kept_back.sections_of(kinds),
    )
    used = ("inferer", "device", *pixels)
    options = overrides(options, [inference_config()], reword, ("network", *used)) | {"checkpoint": str(checkpoint)}
    items = load_datalist(dataset_dir, split, columns)
    check_writable(out)
    network, infer, device, *values = trained(used, options)
    loaded = dict(zip(pixels, values, strict=True))
    classes = loaded["num_classes"]
    check_datalist(items, classes, require=[split], mask_colours=mask_colours, plane=loaded["plane"])
    asked = questions(items, sections, repeats, seed)
    if len(asked) == len(items):
        raise ValueError(f"{dataset_dir}: no caption of {split} is understood, for example that of {items[0]['image']}")
    prepare = preprocessing(mask_colours=mask_colours, **loaded)
    rows = []
    for item, mine in tqdm(_by_item(items, asked), desc="reworded", unit="image"):
        seen = prepare(dict(item))
        image, label = seen["image"].as_tensor()[None].to(device), seen["label"].as_tensor()[None]
        image = MetaTensor(image, meta={"slices": [str(item.get("slices") or "")]})
        for question in mine:
            with torch.no_grad():
                got = infer(image, network, text=[question["text"]]).as_tensor().argmax(1, keepdim=True).cpu()
            rows.append(question | {"dice": _dice(got, label * question["present"], classes)})
    write_rows(Path(out) / "reworded.csv", rows)
    table = summary(rows)
    write_rows(Path(out) / "kinds.csv", table)
    for row in table:
        print("  {kind:14s} {items:4d} items   {dice:.3f}   own {own:.3f}   {share:.2f} of it".format(**row))
    print(f"written: {out}/reworded.csv, {out}/kinds.csv")
    return table


def questions(
    items: Sequence[Mapping[str, Any]], sections: kept_back.Sections, repeats: int = 1, seed: int = 0
) -> list[dict[str, Any]]:
    """Texts to ask: for every item its own and, where it is understood, ``repeats`` of each kind that it can have."""
    rng, asked = np.random.default_rng(seed), []
    for item in items:
        asked.append({"id": item["id"], "kind": OWN, "text": item["text"], "present": True})
        meaning = read(item["text"])
        if meaning is None:
            continue
        for kind in kept_back.every_kind(sections) * repeats:
            if (told := kept_back.reword(kind, meaning, item["text"], rng, sections)) is not None:
                asked.append({"id": item["id"], "kind": kind, "text": told[0], "present": told[1]})
    return asked


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By kind: how many items, their mean Dice, that of the same items' own captions, and what share of it that is."""
    own = {row["id"]: row["dice"] for row in rows if row["kind"] == OWN}
    table = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        mine = [row for row in rows if row["kind"] == kind]
        dice, before = (float(np.mean(each)) for each in ([r["dice"] for r in mine], [own[r["id"]] for r in mine]))
        share = dice / before if before else 0.0
        table.append({"kind": kind, "items": len(mine), "dice": dice, "own": before, "share": share})
    return table


def _by_item(
    items: Sequence[Mapping[str, Any]], asked: Sequence[dict[str, Any]]
) -> list[tuple[Mapping[str, Any], list[dict[str, Any]]]]:
    return [(item, [question for question in asked if question["id"] == item["id"]]) for item in items]


def _dice(got: Tensor, label: Tensor, classes: int) -> float:
    """Mean over the classes but the background; 1 where a class is neither there nor found."""
    found, truth = (one_hot(mask.float(), classes) for mask in (got, label))
    return float(compute_dice(found, truth, include_background=False, ignore_empty=False).mean())

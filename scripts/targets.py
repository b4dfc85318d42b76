# SPDX-License-Identifier: Apache-2.0
"""What the shipped head is trained on: images, targets by name, and what is not in an image.

``python scripts/targets.py data SETS FOLDER`` makes, of the sets in the folder SETS, a data set in the CSV layout in
FOLDER, with a row for each image and target that has a mask, and two (``ABSENT``) for targets that it does not show,
with empty masks. Pictures and masks stay where they are; lungs are parted into the patient's left and right. The column
``group`` is what is drawn evenly in training: a target in a kind of image, or what an image does not show.
``figures MODEL CASES`` puts into a checkpoint what its evaluation says of each target, for ``textdiff targets``.

``scripts/targets.csv`` (``list SETS`` writes it anew) lists what is there; the pictures' hashes are compared.
What the UNet's pretraining held out is held out (``sources.csv``); sets with a test split keep it. Of the others
what was held out is the test split, so that it chooses nothing.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from lungs import LICENCES, SENTENCES, sides
from PIL import Image
from sources import TABLE as SOURCES
from sources import rows_of

from textdiff_monai.data.files import write_rows
from textdiff_monai.language.reader import target_of
from textdiff_monai.networks.recipe import add_facts

TABLE = Path(__file__).with_name("targets.csv")
ABSENT = 2
SEED = 0
# The target of sets with one kind of mask, and of the groups of open-mix.
ONE = {"breast-usg": "breast lesion", "dsb2018-stained": "nuclei", "dsb2018-fluorescence": "nuclei"}
GROUPS = {
    "ccaus": "carotid lumen",
    "faz-octa": "foveal avascular zone",
    "glomeruli": "glomeruli",
    "ich-ct": "intracranial haemorrhage",
    "kidney-ct2": "kidney stones",
    "knee-mr": "knee bones",
    "krd-wbc": "white blood cells",
    "lumbar-mr": "vertebrae",
    "ms-flair": "MS lesions",
    "ms-t2": "MS lesions",
    "nuinsseg": "nuclei",
    "ocdc": "tumour tissue",
    "rings": "prostate glands",
}
# What is absent is drawn as often as four targets: of an eye or a heart in its own pictures, else in these.
_COLOURS = defaultdict(lambda: "gray", dict.fromkeys(("fundus", "H&E", "PAS kidney", "blood smear"), "colour"))
# Sets whose tables name the target, of all that may be there: what an image has no row of, it does not show.
NAMED = ("idrid-lesions", "heart-mr-targets")


def list_targets(sets: Path) -> list[dict[str, str]]:
    """The rows of the table."""
    about = {(row["set"], row["image"]): row for row in rows_of(SOURCES)}
    return [row for name in (*ONE, *NAMED, "cxr-lung", "open-mix") for row in _present(sets, name, about)]


def _present(sets: Path, name: str, about: Mapping[tuple[str, str], Mapping[str, str]]) -> Iterator[dict[str, str]]:
    for row in rows_of(sets / name / "text.csv"):
        known, test = about.get((name, row["image"])), row["split"] == "test"
        if not row["mask"] or not (known or test) or (name == "cxr-lung" and row["license"] not in LICENCES):
            continue
        kind = known["kind"] if known else next(each["kind"] for (one, _), each in about.items() if one == name)
        split = "test" if test or (name == "open-mix" and known and known["split"] == "val") else known["split"]
        patient = (known or row).get("patient") or row.get("patient") or row.get("subject") or ""
        picture = (sets / name / "images" / row["image"]).read_bytes()
        common = {"set": name, "image": row["image"], "split": split, "kind": kind, "patient": patient}
        common["sha256"] = hashlib.sha256(picture).hexdigest()
        if name == "cxr-lung":
            for side in SENTENCES:
                mask = f"{Path(row['mask']).stem}_{side}.png"
                yield common | {"mask": mask, "target": "both lungs" if side == "both" else f"{side} lung"}
        else:
            target = row["target"] if name in NAMED else ONE.get(name) or GROUPS[row["group"]]
            yield common | {"mask": row["mask"], "target": target}


def _absent(rows: Iterable[Mapping[str, str]]) -> Iterator[dict[str, str]]:
    """Of each image some targets that it does not show: of other kinds of image, and of its own where that is known."""
    rng = np.random.default_rng(SEED)
    images: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    kinds, of_set = defaultdict(set), defaultdict(set)
    for row in rows:
        images[row["set"], row["image"]].append(row)
        kinds[target_of(row["target"])].add(row["kind"])
        of_set[row["set"]].add(row["target"])
    targets = sorted({row["target"] for row in rows})
    for (name, _), mine in images.items():
        shown = {row["target"] for row in mine}
        elsewhere = [target for target in targets if mine[0]["kind"] not in kinds[target_of(target)]]
        own = sorted(of_set[name] - shown) if name in NAMED else []
        drawn = [own[int(rng.integers(len(own)))]] if own else []
        others = rng.permutation(len(elsewhere))[: ABSENT - len(drawn)]
        for target in [*drawn, *(elsewhere[index] for index in others)]:
            yield {**mine[0], "mask": "", "target": target}


def write_data(sets: Path, folder: Path, table: Path = TABLE) -> None:
    """The data set, of the rows of the table.

    Raises:
        ValueError: for a picture that is another than the table's.
    """
    masks, rows = folder / "masks", []
    masks.mkdir(parents=True, exist_ok=True)
    listed = rows_of(table)
    own = defaultdict(set)
    for row in listed:
        own[row["target"]].add(row["kind"])
    for row in [*listed, *_absent(listed)]:
        picture = sets / row["set"] / "images" / row["image"]
        if hashlib.sha256(picture.read_bytes()).hexdigest() != row["sha256"]:
            raise ValueError(f"{picture}: is another picture than that of {table}; bring the one with that hash")
        mask = sets / row["set"] / "masks" / row["mask"]
        if not row["mask"]:
            with Image.open(picture) as image:
                mask = masks / f"empty_{image.width}x{image.height}.png"
                Image.new("L", image.size).save(mask)
        elif row["set"] == "cxr-lung":
            stem, side = row["mask"].removesuffix(".png").rsplit("_", 1)
            mask = masks / row["mask"]
            both = np.asarray(Image.open(sets / row["set"] / "masks" / f"{stem}.png").convert("L")) > 0
            Image.fromarray(sides(both)[side].astype(np.uint8) * 255).save(mask)
        target, kind = row["target"], row["kind"]
        about = {
            "image": str(picture.resolve()),
            "mask": str(mask.resolve()),
            "text": f"Segment {target}." if target == "both lungs" else f"Segment the {target}.",
            "group": f"{kind}: {target}"
            if row["mask"]
            else f"absent: {kind if kind in own[target] else _COLOURS[kind]}",
        }
        rows.append(row | about)
    write_rows(folder / "text.csv", rows)


def add_figures(model: Path, cases: Path) -> None:
    """Into a checkpoint's recipe, by target: Dice and images where it is there, and false alarms where it is not.

    Args:
        model: the checkpoint, written anew.
        cases: of its evaluation with ``--group_by target``.
    """
    rows, figures = rows_of(cases), {}
    for target in sorted({row["target"] for row in rows}):
        mine = [row for row in rows if row["target"] == target]
        there = [float(row["mean_dice_nonempty"]) for row in mine if row["mean_dice_nonempty"]]
        absent = [float(row["mean_dice"]) for row in mine if not row["mean_dice_nonempty"]]
        figures[target] = {"dice": round(float(np.mean(there)), 3), "images": len(there)}
        figures[target] |= {"absent": len(absent), "false_alarms": sum(dice == 0 for dice in absent)}
    add_facts(model, figures=figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, names in (("list", ["sets"]), ("data", ["sets", "folder"]), ("figures", ["model", "cases"])):
        words = verbs.add_parser(verb)
        for name in names:
            words.add_argument(name, type=Path)
    options = parser.parse_args()
    if options.verb == "list":
        write_rows(TABLE, list_targets(options.sets))
    elif options.verb == "data":
        write_data(options.sets, options.folder)
    else:
        add_figures(options.model, options.cases)


if __name__ == "__main__":
    main()

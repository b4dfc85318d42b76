# SPDX-License-Identifier: Apache-2.0
"""Which pictures the shipped UNet is pretrained on, and which of them are held out.

``python scripts/sources.py list SETS scripts/sources.csv`` writes one row a picture of the sets in the folder SETS,
``pack SETS PICTURES`` the pictures themselves, made small, with a table ``pictures.csv`` that ``pretrain.json`` takes.
The two generated sets are made in SETS if they are not there (``textdiff phantom KIND --train 150 --val 20 --test 0
--seed 77``).

Held out, and never trained on, are: of a set with a validation split, that split; of any other, about 15 % of every
group, at least one picture. Whole patients are held out where the table or the names tell them (``PATIENTS``), in an
order that a hash of the patient decides; where names only count, the highest numbers are, so that neighbours, which may
show the same patient, stay together. Test splits are not read at all.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image

from textdiff_monai.data.files import write_rows
from textdiff_monai.phantoms.phantom import write_phantom

TABLE = Path(__file__).with_name("sources.csv")
HELD_OUT = 0.15
SEED = 77
FREE_CXR = ("CC BY 3.0", "CC BY 4.0")
COLUMNS = ("set", "image", "sha256", "kind", "licence", "split", "patient")

# Of the sets with one kind of picture: the kind, and the licence where the table has none.
SETS = {
    "dsb2018-stained": ("H&E", "CC0 1.0"),
    "dsb2018-fluorescence": ("fluorescence", "CC0 1.0"),
    "idrid-lesions": ("fundus", ""),
    "heart-mr-targets": ("cardiac MR", ""),
    "breast-usg": ("breast ultrasound", ""),
    "cxr-lung": ("chest X-ray", ""),
    "phantom-chest": ("chest phantom", "generated"),
    "phantom-nuclei": ("nuclei phantom", "generated"),  # apart from tissue, or it would be more than half of it
}
# Of the groups of open-mix.
GROUPS = {
    "bccd": "blood smear",
    "ccaus": "carotid ultrasound",
    "faz-octa": "OCT angiography",
    "glomeruli": "PAS kidney",
    "ich-ct": "brain CT",
    "idrid": "fundus",
    "isic-uda1": "dermoscopy",
    "kidney-ct2": "abdomen CT",
    "knee-mr": "knee MR",
    "krd-wbc": "blood smear",
    "lumbar-mr": "lumbar MR",
    "ms-flair": "brain MR",
    "ms-t2": "brain MR",
    "nih-cxr": "chest X-ray",
    "nuinsseg": "H&E",
    "ocdc": "H&E",
    "rings": "H&E",
    "tcga-luad-ct": "chest CT",
}
# How a file name tells the patient; nih-cxr and tcga-luad-ct have a column.
PATIENTS = {
    "kidney-ct2": r"_(P\d+)-",
    "lumbar-mr": r"_(\d+)-",
    "ms-flair": r"_(\d{3})\d{3}\.",
    "ms-t2": r"_(\d{3})\d{2}\.",  # numbered on from ms-flair's, of the same collection: one patient has one part
    "rings": r"_(P\d+)-",
}
# One patient each, or videos of a day that may be of one: the last rows of the slide, the last videos.
NUMBERS = {"ocdc": r"-r(\d+)c", "ccaus": r"_(\d+)VAS"}
TOGETHER = {"ms-flair": "ms", "ms-t2": "ms"}


def rows_of(table: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by column."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def list_sources(sets: Path) -> list[dict[str, str]]:
    """One row a picture, with the columns ``COLUMNS``, by set and name; split is "train", or "val": held out.

    Raises:
        ValueError: if a picture of the same content is in both parts.
    """
    for kind in ("chest", "nuclei"):
        if not (sets / f"phantom-{kind}").exists():
            write_phantom(sets / f"phantom-{kind}", kind, train=150, val=20, test=0, seed=SEED)
    rows: list[dict[str, str]] = []
    for name, (kind, licence) in SETS.items():
        read = [row for row in rows_of(sets / name / "text.csv") if row["split"] in ("train", "val")]
        read = [row for row in read if name != "cxr-lung" or row["license"] in FREE_CXR]
        found = {row["image"]: row for row in read}  # some tables have several rows an image
        splits = {image: row["split"] for image, row in found.items()}
        if "val" not in splits.values():
            splits |= dict.fromkeys(_share({image: [image] for image in found}, len(found), hashed=True), "val")
        for image, row in found.items():
            patient = row.get("patient") or row.get("subject") or row.get("field_group") or ""
            rows.append(_row(sets, name, image, kind, row.get("license") or licence, splits[image], patient))
    rows += _open_mix(sets)
    _check(rows)
    return sorted(rows, key=lambda row: (row["set"], row["image"]))


def _open_mix(sets: Path) -> list[dict[str, str]]:
    found = {row["image"]: row for row in rows_of(sets / "open-mix" / "text.csv")}
    patients = {image: _patient(row) for image, row in found.items()}
    held_out: set[str] = set()
    families = defaultdict(list)
    for image, row in found.items():
        families[TOGETHER.get(row["group"], row["group"])].append(image)
    for name, images in families.items():
        units = defaultdict(list)
        for image in images:
            units[patients[image] or _number(name, image)].append(image)
        held_out |= set(_share(units, len(images), hashed=any(patients[image] for image in images)))
    return [
        _row(
            sets,
            "open-mix",
            image,
            GROUPS[row["group"]],
            row["license"],
            "val" if image in held_out else "train",
            patients[image],
        )
        for image, row in found.items()
    ]


def _share(units: Mapping[str, list[str]], total: int, hashed: bool) -> list[str]:
    """About 15 % of ``total`` pictures: whole units, in the order of their hashes or from the highest number down."""
    wanted = max(1, round(HELD_OUT * total))
    ordered = sorted(units, key=_hash if hashed else str, reverse=not hashed)
    taken: list[str] = []
    for unit in ordered:
        if len(taken) + len(units[unit]) <= wanted:
            taken += units[unit]
        elif not hashed:  # a range has no gaps
            break
    return taken or units[min(ordered, key=lambda unit: len(units[unit]))]


def _patient(row: Mapping[str, str]) -> str:
    pattern = PATIENTS.get(row["group"])
    match = re.search(pattern, row["image"]) if pattern else None
    return row["patient"] or (match.group(1) if match else "")


def _number(group: str, image: str) -> str:
    """What the name counts, padded so that it sorts; the two layers of faz-octa count together."""
    match = re.search(NUMBERS[group], image) if group in NUMBERS else None
    if match:
        return match.group(1).zfill(20)
    letter = re.search(r"_([ab])-IDRiD", image)  # two parts that each count from 1
    return (letter.group(1) if letter else "") + re.findall(r"\d+", Path(image).stem)[-1].zfill(20)


def _row(sets: Path, name: str, image: str, kind: str, licence: str, split: str, patient: str) -> dict[str, str]:
    digest = hashlib.sha256((sets / name / "images" / image).read_bytes()).hexdigest()
    return dict(zip(COLUMNS, (name, image, digest, kind, licence, split, patient), strict=True))


def _hash(name: str) -> str:
    return hashlib.sha256(f"{SEED} {name}".encode()).hexdigest()


def _check(rows: Iterable[Mapping[str, str]]) -> None:
    splits = defaultdict(set)
    for row in rows:
        splits[row["sha256"]].add(row["split"])
        if row["patient"]:
            splits[f"{row['set']} {row['kind']} {row['patient']}"].add(row["split"])
    if both := [name for name, found in splits.items() if len(found) > 1]:
        raise ValueError(f"trained on and held out at once: {both}; they must have one split")


def pack(sets: Path, folder: Path, longest: int, quality: int, table: Path) -> None:
    """The pictures of a table as WebP, at most ``longest`` pixels a side, and the table that pretraining takes."""
    rows = []
    for row in rows_of(table):
        target = Path(row["set"]) / (Path(row["image"]).stem + ".webp")
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(sets / row["set"] / "images" / row["image"]) as picture:
            picture = picture.convert("L" if picture.mode == "L" else "RGB")
            picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
            picture.save(folder / target, quality=quality)
        rows.append({"image": str(target), "kind": row["kind"], "split": row["split"]})
    write_rows(folder / "pictures.csv", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("list", help="write the table of all pictures")
    verb.add_argument("sets", type=Path)
    verb.add_argument("table", type=Path)
    verb = verbs.add_parser("pack", help="write the pictures, made small, with the table for pretrain.json")
    verb.add_argument("sets", type=Path)
    verb.add_argument("folder", type=Path)
    verb.add_argument("--longest", type=int, default=384)
    verb.add_argument("--quality", type=int, default=86)
    verb.add_argument("--table", type=Path, default=TABLE)
    options = parser.parse_args()
    if options.verb == "list":
        write_rows(options.table, list_sources(options.sets))
    else:
        pack(options.sets, options.folder, options.longest, options.quality, options.table)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The sample pictures that ship: a few of each kind that no training has seen, small, with masks and attribution.

``python scripts/samples.py SETS bundle/data/samples`` takes, of the sets in the folder SETS, the first pictures of the
test split of ``scripts/targets.csv`` that show most of their kind's targets.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from sources import rows_of
from targets import TABLE

from textdiff_monai.data.files import write_rows, written_whole

SIDE = 384  # pixels of the longer side
COUNTS = {
    "fundus": 2,
    "cardiac MR": 2,
    "breast ultrasound": 1,
    "H&E": 2,
    "OCT angiography": 1,
    "blood smear": 1,
    "knee MR": 1,
    "carotid ultrasound": 1,
}


def main(sets: Path, folder: Path) -> None:
    tested = [row for row in rows_of(TABLE) if row["split"] == "test" and row["kind"] in COUNTS]
    shown = defaultdict(list)
    for row in tested:
        shown[row["kind"], row["set"], row["image"]].append(row)
    rows = []
    with written_whole(folder) as unfinished:
        for name in ("images", "masks"):
            (unfinished / name).mkdir()
        for kind, count in COUNTS.items():
            found = sorted((each for each in shown if each[0] == kind), key=lambda each: -len(shown[each]))
            for key in found[:count]:
                rows += [_written(sets, unfinished, row) for row in shown[key]]
        write_rows(unfinished / "text.csv", rows)


def _written(sets: Path, folder: Path, row: dict[str, str]) -> dict[str, str]:
    about = next(each for each in rows_of(sets / row["set"] / "text.csv") if each["image"] == row["image"])
    image = Image.open(sets / row["set"] / "images" / row["image"])
    size = tuple(round(side * min(1, SIDE / max(image.size))) for side in image.size)
    name, target = Path(row["image"]).stem.replace(" ", "_"), row["target"].replace(" ", "-")
    image.convert("L" if image.mode == "L" else "RGB").resize(size, Image.Resampling.LANCZOS).save(
        folder / "images" / f"{name}.jpg", quality=90
    )
    mask = np.asarray(Image.open(sets / row["set"] / "masks" / row["mask"]).convert("L")) > 0
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    small.point(lambda value: 255 * (value > 127)).save(folder / "masks" / f"{name}_{target}.png")
    return {
        "image": f"{name}.jpg",
        "mask": f"{name}_{target}.png",
        "text": f"Segment the {row['target']}.",
        "split": "test",
        "kind": row["kind"],
        "target": row["target"],
        "license": about.get("license") or "CC0 1.0",
        "source": about.get("source") or "Data Science Bowl 2018, BBBC038",
        "attribution": about.get("attribution", ""),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path)
    parser.add_argument("folder", type=Path)
    main(**vars(parser.parse_args()))

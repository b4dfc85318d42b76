# SPDX-License-Identifier: Apache-2.0
"""The chest films of the demonstration: lungs whose side the sentence names.

``python scripts/lungs.py CXR_LUNG bundle/data/lungs`` takes, from a data set of chest X-rays with masks of both lungs,
the films under CC BY, makes them small, parts each mask into the patient's left and right lung, and writes them in the
CSV layout with the attribution of every row.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from sources import rows_of

from textdiff_monai.data.files import write_rows, written_whole

LICENCES = ("CC BY 3.0", "CC BY 4.0")
SIDE = 256  # pixels of the longer side
# Films of each split, each of another patient; all that the source keeps apart are for testing.
TRAIN, VAL = 12, 4
SENTENCES = {"left": "Segment the left lung.", "right": "Segment the right lung.", "both": "Segment both lungs."}


def main(source: Path, folder: Path) -> None:
    films = [row for row in rows_of(source / "text.csv") if row["license"] in LICENCES]
    kept_apart = [row for row in films if row["split"] in ("val", "test")]
    one_a_patient = list({row["patient"]: row for row in films if row["split"] == "train"}.values())
    chosen = [(row, "train") for row in one_a_patient[:TRAIN]]
    chosen += [(row, "val") for row in one_a_patient[TRAIN : TRAIN + VAL]]
    chosen += [(row, "test") for row in kept_apart]
    with written_whole(folder) as unfinished:
        for name in ("images", "masks"):
            (unfinished / name).mkdir()
        rows = [item for row, split in chosen for item in _items(source, unfinished, row, split)]
        write_rows(unfinished / "text.csv", rows)


def _items(source: Path, folder: Path, row: Mapping[str, str], split: str) -> Iterator[dict[str, str]]:
    image = Image.open(source / "images" / row["image"]).convert("L")
    lungs = Image.open(source / "masks" / row["mask"]).convert("L")
    name = Path(row["image"]).stem
    size = tuple(round(side * SIDE / max(image.size)) for side in image.size)
    image.resize(size, Image.Resampling.LANCZOS).save(folder / "images" / f"{name}.jpg", quality=90)
    for target, mask in sides(np.asarray(lungs) > 0).items():
        small = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
        small.point(lambda value: 255 * (value > 127)).save(folder / "masks" / f"{name}_{target}.png")
        yield {
            "image": f"{name}.jpg",
            "mask": f"{name}_{target}.png",
            "text": SENTENCES[target],
            "split": split,
            "patient": row["patient"],
            "license": row["license"],
            "source": row["source_url"],
            "attribution": row["attribution"],
        }


def sides(lungs: np.ndarray) -> dict[str, np.ndarray]:
    """The two largest parts of a mask (H, W); the patient's right lung lies on the left of a frontal film."""
    parts, count = ndimage.label(lungs)
    largest = 1 + np.argsort(ndimage.sum(lungs, parts, range(1, count + 1)))[::-1][:2]
    if len(largest) < 2:
        raise ValueError("expected two lungs apart from each other")
    right, left = sorted(largest, key=lambda part: ndimage.center_of_mass(parts == part)[1])
    return {"left": parts == left, "right": parts == right, "both": np.isin(parts, largest)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    main(**vars(parser.parse_args()))

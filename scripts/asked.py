# SPDX-License-Identifier: Apache-2.0
"""The README's first picture: what the shipped head marks when asked, in pictures that no training has seen.

``python scripts/asked.py bundle/docs/asked.jpg [CHECKPOINT]``; the pictures and sentences were chosen before any was
asked.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from textdiff_monai import bundle_root, load_images
from textdiff_monai.apps.segment import segment
from textdiff_monai.data.files import write_rows
from textdiff_monai.data.pictures import sheet

DATA = Path(bundle_root()) / "data"
ASKED = {
    "samples/images/IDRiD_56.jpg": ["Where is the optic nerve head?", "hard exudates", "Segment the left lung."],
    "lungs/images/*": ["Outline the patient's left lung.", "both lungs please", "Is there a white blood cell?"],
    "samples/images/10000_79.jpg": ["the right ventricle", "Ao", "Segment the kidney stones."],
    "samples/images/krd-wbc_1404.jpg": ["Mark every leukocyte.", "WBC", "carotid lumen"],
    "samples/images/0e21d7b3eea8cdbb.jpg": ["All nuclei.", "Segment the cell nuclei.", "the breast lesion"],
    "samples/images/knee-mr_10262.jpg": ["bones of the knee", "Segment the knee bones.", "MS plaques"],
}


def main(out: Path, checkpoint: str | None) -> None:
    files = {pattern: next(iter(sorted(DATA.glob(pattern)))) for pattern in ASKED}
    files["lungs/images/*"] = next(
        Path(item["image"]) for item in load_images(DATA / "lungs") if item.get("split") == "test"
    )
    rows = [{"image": str(files[name]), "text": text} for name, texts in ASKED.items() for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "asked.csv"
        write_rows(table, rows)
        segment(str(table), out=f"{folder}/out", **({"checkpoint": checkpoint} if checkpoint else {}))
        overlays = iter([Image.open(f"{folder}/out/{item['id']}_overlay.png") for item in load_images(table)])
        pictures = [
            [(Image.open(files[name]).convert("RGB"), ""), *((next(overlays), f'"{text}"') for text in texts)]
            for name, texts in ASKED.items()
        ]
        page = sheet(["picture", "asked", "in other words, or else", "for what is not there"], pictures)
    page.save(out, quality=88)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("checkpoint", nargs="?")
    main(**vars(parser.parse_args()))

# SPDX-License-Identifier: Apache-2.0
"""Where the shipped head fails: of some targets the picture with the lowest Dice, and the surest false alarms.

``python scripts/failures.py RUN/test bundle/docs/failures.jpg``, from the folder that ``evaluate.json`` reported the
targets' test split in. Which targets are shown was chosen; which of their pictures, the figures say.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from textdiff_monai.data.files import read_rows
from textdiff_monai.data.pictures import sheet

FOUND_BADLY = ("optic disc", "breast lesion", "right ventricle", "carotid lumen", "vertebrae", "glomeruli")
NOT_THERE = 6


def main(evaluated: Path, out: Path) -> None:
    cases = read_rows(evaluated / "cases.csv")
    there = [case for case in cases if case["mean_dice_nonempty"]]
    alarms = [case for case in cases if not case["mean_dice_nonempty"] and float(case["mean_dice"]) == 0]
    worst = [
        min((case for case in there if case["target"] == target), key=lambda case: float(case["mean_dice"]))
        for target in FOUND_BADLY
    ]
    surest = sorted(alarms, key=lambda case: -float(case["expected_dice"]))[:NOT_THERE]
    rows = [
        [
            *zip(
                _panels(evaluated, case), (f'"{case["text"]}"', "", f"Dice {float(case['mean_dice']):.2f}"), strict=True
            ),
            *zip(_panels(evaluated, alarm)[::2], (f'"{alarm["text"]}"', ""), strict=True),
        ]
        for case, alarm in zip(worst, surest, strict=True)
    ]
    sheet(["there", "where", "marked", "not there", "and marked"], rows).save(out, quality=80)


def _panels(evaluated: Path, case: dict[str, str]) -> list[Image.Image]:
    """Picture, truth and what is marked; of several heads a fourth follows, where they disagree."""
    strip = Image.open(evaluated / "pictures" / f"{case['id']}.webp")
    width = (strip.width + 2) // (4 if "mean_disagreement" in case else 3)
    return [strip.crop((place * width, 0, place * width + width - 2, strip.height)) for place in range(3)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("evaluated", type=Path)
    parser.add_argument("out", type=Path)
    main(**vars(parser.parse_args()))

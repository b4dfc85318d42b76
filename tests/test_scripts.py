"""What shipped weights are trained on is apart from what they are measured on, and can be had again."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textdiff_monai import bundle_root, load_datalist
from textdiff_monai.data.files import write_rows
from textdiff_monai.data.pictures import strip

SCRIPTS = Path(__file__).parents[1] / "scripts"


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_no_picture_and_no_patient_is_trained_on_and_tested_on():
    splits = defaultdict(set)
    for row in table(SCRIPTS / "targets.csv"):
        splits[row["sha256"]].add(row["split"])
        if row["patient"]:
            splits[row["set"], row["kind"], row["patient"]].add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_what_the_head_is_tested_on_the_backbone_has_not_seen():
    pretrained = {row["sha256"] for row in table(SCRIPTS / "sources.csv") if row["split"] == "train"}
    tested = {row["sha256"] for row in table(SCRIPTS / "targets.csv") if row["split"] == "test"}
    assert len(pretrained) > 2000
    assert len(tested) > 100
    assert not pretrained & tested


def test_the_pictures_that_ship_to_be_asked_were_not_trained_on():
    split = {Path(row["image"]).stem: row["split"] for row in table(SCRIPTS / "targets.csv")}
    samples = load_datalist(Path(bundle_root()) / "data" / "samples")
    films = [item for item in load_datalist(Path(bundle_root()) / "data" / "lungs") if item["split"] == "test"]
    assert {split[Path(item["image"]).stem] for item in samples} == {"test"}
    assert {split[Path(item["image"]).stem] for item in films} == {"val", "test"}


def test_failures_are_shown_alike_whether_one_head_was_evaluated_or_several(tmp_path):
    targets = ("optic disc", "breast lesion", "right ventricle", "carotid lumen", "vertebrae", "glomeruli")
    rng, pages = np.random.default_rng(0), []
    cases = [
        {"id": f"{number}", "text": target, "target": target, "mean_dice": 0, "expected_dice": 0.5}
        | {"mean_dice_nonempty": "0" if number < 6 else ""}
        for number, target in enumerate(targets * 2)
    ]
    images = rng.integers(0, 255, (12, 60, 40, 3))
    truth, found, apart = np.eye(60, 40, dtype=np.uint8), np.ones((60, 40), np.uint8), rng.random((60, 40))
    for run, heats, more in (("one", [], {}), ("several", [apart], {"mean_disagreement": 0.1})):
        (tmp_path / run / "pictures").mkdir(parents=True)
        for case, image in zip(cases, images, strict=True):
            picture = strip(image, [truth, found], heats)
            picture.save(tmp_path / run / "pictures" / f"{case['id']}.webp", lossless=True)
        write_rows(tmp_path / run / "cases.csv", [case | more for case in cases])
        command = [sys.executable, str(SCRIPTS / "failures.py"), str(tmp_path / run), str(tmp_path / f"{run}.png")]
        subprocess.run(command, check=True)
        pages.append(np.asarray(Image.open(tmp_path / f"{run}.png")))
    assert np.array_equal(*pages)


@pytest.mark.realdata
def test_the_heads_data_can_be_made_again(real_data, tmp_path):
    command = [sys.executable, str(SCRIPTS / "targets.py"), "data", str(real_data), str(tmp_path)]
    subprocess.run(command, check=True)
    items = load_datalist(tmp_path)
    assert len(items) > len(table(SCRIPTS / "targets.csv"))
    absent = [item for item in items if item["group"].startswith("absent")]
    assert len(absent) > 2000
    assert not any(np.asarray(Image.open(item["label"])).any() for item in absent[::100])
    assert all(np.asarray(Image.open(item["label"])).any() for item in items[::100] if item not in absent)

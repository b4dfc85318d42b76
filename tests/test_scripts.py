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

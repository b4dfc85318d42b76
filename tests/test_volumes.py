"""Volumes through the whole of it: check, training on slices, evaluation over volumes and slices, and back."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from textdiff_monai import SliceDice, SurfaceDistance, read_recipe
from textdiff_monai.apps.check import check
from textdiff_monai.apps.report.report import report
from textdiff_monai.apps.segment import segment

AFFINE = np.diag([-1.0, -2, 4, 1])


@pytest.fixture
def data(tmp_path):
    """Five volumes of six slices: a bright block to the left and one to the right, which the sentence tells apart."""
    folder = tmp_path / "volumes"
    rng, rows = np.random.default_rng(0), ["image,mask,text,split,value"]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number, split in enumerate(["train"] * 2 + ["val"] + ["test"] * 2):
        image, mask = rng.normal(0, 20, (40, 32, 6)).astype(np.int16), np.zeros((40, 32, 6), np.uint8)
        image[4:14, 8:20, 1:5] += 400
        image[24:34, 8:20, 1:4] += 400
        mask[4:14, 8:20, 1:5], mask[24:34, 8:20, 1:4] = 1, 2
        nib.save(nib.Nifti1Image(image, AFFINE), folder / "images" / f"{number}.nii.gz")
        turned = nib.as_closest_canonical(nib.Nifti1Image(mask, AFFINE))
        nib.save(turned, folder / "masks" / f"{number}.nii.gz")
        for value, side in ((1, "left"), (2, "right")):
            rows.append(f"{number}.nii.gz,{number}.nii.gz,the {side} is high,{split},{value}")
    (folder / "text.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("neighbours", [False, True])
def test_volumes_are_trained_on_evaluated_and_segmented(neighbours, run, tiny, data, tmp_path, capsys):
    check(data, text_encoder=tiny["text_encoder"])
    assert "2 train, 1 val, 2 test images, with 10 sentences" in capsys.readouterr().out
    options = tiny | {"dataset_dir": data, "max_epochs": 12, "val_interval": 12, "neighbours": neighbours}
    run("train.json", run_id="training", **options, slices_per_volume=4, learning_rate=0.01, symmetries=["identity"])
    recipe = read_recipe(tmp_path / "models" / "model.pt")
    assert (recipe["plane"], recipe["neighbours"]) == (None, neighbours)
    run("train.json", "evaluate.json", **options | {"neighbours": "$@trained['neighbours']"})
    report = json.loads((tmp_path / "output" / "test" / "metrics.json").read_text())
    with (tmp_path / "output" / "test" / "cases.csv").open() as file:
        cases = list(csv.DictReader(file))
    assert (report["images"], report["items"], len(cases)) == (2, 4, 4)
    assert report["mean_dice"] > 0.5
    assert 0 < report["slice_dice"] <= 1
    assert report["surface_distance_mm"] >= 0
    for name in ("mean_dice", "slice_dice", "surface_distance_mm"):
        assert report[name] == pytest.approx(np.mean([float(case[name]) for case in cases]), rel=1e-5)
    inference = {name: str(tiny[name]) for name in ("backbone", "text_encoder")}
    inference["checkpoint"] = str(tmp_path / "models" / "model.pt")
    masks = segment(data, out=tmp_path / "out", **inference)
    assert len(masks) == 10
    own = next(path for path in masks if path.name.startswith(cases[0]["id"]))
    truth = np.asarray(nib.load(data / "masks" / "3.nii.gz").dataobj)[::-1, ::-1] == 1
    found = np.asarray(nib.load(own).dataobj) > 0
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice == pytest.approx(float(cases[0]["mean_dice"]), abs=1e-4)


def test_what_training_leaves_tells_nothing_of_the_patients(run, tiny, tmp_path, capfd):
    """Sentences stand where they are meant to be read: in the cases and on the page of the report."""
    pytest.importorskip("highdicom")
    pytest.importorskip("mlflow")
    from made_dicom import SECRET, save_series

    told, folder = "Kunigunde", tmp_path / "series"
    rows = ["image,mask,text,split"]
    for number, split in enumerate(["train", "train", "val", "test"]):
        values = np.random.default_rng(number).integers(0, 400, (3, 32, 24)).astype(np.int16)
        save_series(folder / "images" / f"{number}", values)
        affine = np.array([[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
        (folder / "masks").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image((values.T > 200).astype(np.uint8), affine), folder / "masks" / f"{number}.nii.gz")
        rows.append(f"{number}/,{number}.nii.gz,the left of Mrs {told} {number} is high,{split}")
    (folder / "text.csv").write_text("\n".join(rows) + "\n")
    check(folder, text_encoder=tiny["text_encoder"])
    cache = tmp_path / "features"
    options = tiny | {"dataset_dir": folder, "max_epochs": 1, "cache_dir": cache}
    run("train.json", run_id="training", **options, tracking="mlflow")
    run("train.json", "evaluate.json", **options)
    report(tmp_path / "output")
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err
    assert told not in printed.out + printed.err
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(folder)]
    assert {".pt", ".csv", ".json", ".db", ".html"} <= {path.suffix for path in files}
    assert any(path.is_relative_to(cache) for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes() or SECRET in str(path)]
    assert {path.name for path in files if told.encode() in path.read_bytes()} == {"cases.csv", "report.html"}


def test_pictures_have_no_figures_of_slices(run, tiny, data_folder, tmp_path):
    run("train.json", run_id="training", **tiny | {"max_epochs": 1})
    run("train.json", "evaluate.json", **tiny)
    report = json.loads((tmp_path / "output" / "test" / "metrics.json").read_text())
    assert not {"slice_dice", "surface_distance_mm"} & report.keys()


def one_hot(mask, affine=None):
    both = torch.as_tensor(np.stack([1 - mask, mask]), dtype=torch.float32)
    return both if affine is None else MetaTensor(both, meta={"affine": torch.as_tensor(affine), "measured": True})


def test_dice_over_slices_counts_those_with_something():
    truth, found = (np.zeros((4, 4, 5), int) for _ in range(2))
    truth[:2, :2, 1] = found[:2, :2, 1] = 1  # alike: 1
    truth[:2, :2, 2], found[:2, :1, 2] = 1, 1  # half: 2/3
    found[0, 0, 3] = 1  # nothing there: 0
    metric = SliceDice()
    metric([one_hot(found), one_hot(found * 0)], [one_hot(truth), one_hot(truth * 0)])
    assert metric.get_buffer()[0, 0] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert metric.get_buffer()[1, 0].isnan()
    assert metric.aggregate() == pytest.approx(5 / 9)


def test_surfaces_are_as_far_apart_as_millimetres_say():
    truth, found = (np.zeros((8, 8, 8), int) for _ in range(2))
    truth[2, 1:7, 1:7], found[5, 1:7, 1:7] = 1, 1
    metric = SurfaceDistance()
    affine = np.diag([2.0, 0.5, 7, 1])
    empty = np.zeros_like(truth)
    metric(
        [one_hot(found), one_hot(empty), one_hot(found)],
        [one_hot(truth, affine), one_hot(truth, affine), one_hot(truth)],
    )
    assert metric.get_buffer()[0, 0] == pytest.approx(6)
    assert metric.get_buffer()[1:].isnan().all()
    assert metric.aggregate() == pytest.approx(6)

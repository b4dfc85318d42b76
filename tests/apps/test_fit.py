"""One command: what it chose is what ran, is told, and can be had again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import monai.bundle
import pytest
import torch

from textdiff_monai import DataError, bundle_root
from textdiff_monai.apps.choices import Choice
from textdiff_monai.apps.fit import fit
from textdiff_monai.apps.trials import Trials
from textdiff_monai.data.files import read_rows, write_rows


@pytest.fixture
def options(bert_folder, unet_folder):
    return {
        "backbone": str(unet_folder),
        "text_encoder": str(bert_folder),
        "blocks": [1, 3],
        "head": {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": [8, 8]},
        "resize": 32,
        "max_epochs": 2,
        "heads": 1,
    }


def table_of(folder, path, *splits):
    """The folder's rows of some splits, with whole paths."""
    whole = rf"{folder}/images/\1.png,{folder}/masks/\2.png"
    rows = [row for row in (folder / "text.csv").read_text().splitlines() if row.endswith((*splits, "split"))]
    path.write_text("\n".join(re.sub("^([0-9]).png,([0-9]).png", whole, row) for row in rows))
    return path


def test_what_was_chosen_is_told_repeats_the_weights_and_is_not_chosen_anew(options, data_folder, tmp_path, capsys):
    page = fit(data_folder, tmp_path / "run", minutes=0.5, **options).read_text()
    root = tmp_path / "run"
    found = json.loads((root / "fit.json").read_text())
    rows = read_rows(root / "trials" / "trials.csv")
    assert {(row["candidate"], row["fold"]) for row in rows} >= {("default", "0"), ("default", "1")}
    assert [trial["candidate"] for trial in found["trials"]] == ["default", "silent", "one step"]
    assert found["labelled"] == 4
    assert found["trials"][0]["mean_dice"] == pytest.approx(
        sum(float(row["mean_dice"]) for row in rows if row["candidate"] == "default") / 2, abs=1e-5
    )
    tested = {Path(case["image"]).name for path in root.glob("trials/*/cases.csv") for case in read_rows(path)}
    assert tested == {"0.png", "1.png", "2.png", "3.png"}  # the training rows, none of validation or test
    for choice in found["choices"]:
        assert re.sub("&#39;", "'", page).count(choice["why"]) == 1
    assert "What was chosen, and why" in page
    assert (root / "test" / "metrics.json").exists()
    assert {row["id"] for row in read_rows(root / "test" / "words.csv")} == {
        case["id"] for case in read_rows(root / "test" / "cases.csv")
    }
    assert page.count('role="toolbar"') == 4
    assert "temperature" in json.loads((root / "test" / "calibration.json").read_text())

    weights = torch.load(root / "model.pt", weights_only=True)
    files = [f"{bundle_root()}/configs/train.json", str(root / "train.json")]
    again = {name: str(tmp_path / "again") for name in ("output_dir", "ckpt_dir")}
    monai.bundle.run("training", config_file=files, **again)
    repeated = torch.load(tmp_path / "again" / "model.pt", weights_only=True)
    recipe = "recipe._extra_state"  # has the temperature, which came afterwards
    assert weights.keys() == repeated.keys()
    assert all(torch.equal(value, repeated[name]) for name, value in weights.items() if name != recipe)

    (root / "report.html").unlink()
    capsys.readouterr()
    assert fit(data_folder, root, minutes=0.5, **options).exists()
    printed = capsys.readouterr().out
    assert "Trying" not in printed
    assert "Testing 4 items of test" in printed
    with pytest.raises(ValueError, match=r"holds a fit with minutes 0.5 \(now 1\)"):
        fit(data_folder, root, minutes=1, **options)


def test_without_test_images_the_figures_are_said_to_be_too_good(options, data_folder, tmp_path):
    table = table_of(data_folder, tmp_path / "table.csv", "train", "val")
    with pytest.warns(UserWarning, match="has no test images, so those of val are measured"):
        page = fit(table, tmp_path / "run", minutes=0.01, **options | {"steps": [50], "read_text": True})
    assert "These images also chose the weights" in page.read_text()


def test_a_training_ends_in_time_and_goes_on_with_the_same_command(options, data_folder, tmp_path, capfd):
    options |= {"steps": [50], "read_text": True}
    for epochs in (1, 2):
        assert fit(data_folder, tmp_path / "run", minutes=0.01, **options).exists()
        assert len(read_rows(tmp_path / "run" / "history.csv")) == epochs
        told = "".join(capfd.readouterr())
        assert ("training stops after epoch 1 of 2" in told) == (epochs == 1)
        assert "input summary" not in told
        assert "parsing config_file" not in told
        assert "Not all config files" not in told
        assert "pace_0" not in told  # what trials write is no news


def test_trials_that_were_made_are_not_made_again(options, data_folder, tmp_path, monkeypatch):
    folder = Path(options["backbone"])
    monkeypatch.chdir(folder.parent)
    options |= {"steps": [50], "read_text": True, "backbone": folder.name}
    fit(data_folder, tmp_path / "run", minutes=0.5, **options)
    assert json.loads((tmp_path / "run" / "train.json").read_text())["backbone"] == str(folder)
    before = read_rows(tmp_path / "run" / "trials" / "trials.csv")
    for name in ("train.json", "last.pt"):
        (tmp_path / "run" / name).unlink()
    fit(data_folder, tmp_path / "run", minutes=0.5, **options)
    assert read_rows(tmp_path / "run" / "trials" / "trials.csv")[: len(before)] == before


def test_trials_of_paths_that_are_alike_or_long_have_their_own_cases(tmp_path):
    names = ["backbone /unet-1", "backbone /unet_1", "backbone " + "/folder" * 60]
    trials = Trials(tmp_path, [], {})
    trials.tables = [tmp_path / "fold_0" / "text.csv"]
    trials._try = lambda name, fold, options, epochs: _tried(trials._place(name, fold), name)
    assert trials.run({name: Choice({}, "") for name in names}, 60) == names
    assert [trials.cases(name) for name in names] == [[{"case": name}] for name in names]


def _tried(place, name):
    write_rows(place / "cases.csv", [{"case": name}])
    return {"candidate": name, "fold": 0, "epochs": 2, "steps": 4, "seconds": 0.1, "step": 0.01}


def test_what_cannot_be_fitted_is_refused_before_any_work(options, data_folder, tmp_path):
    with pytest.raises(DataError, match="no images to test with; write test"):
        fit(table_of(data_folder, tmp_path / "train.csv", "train"), tmp_path / "run", **options)
    with pytest.raises(DataError, match="no images to train on; write train"):
        fit(table_of(data_folder, tmp_path / "test.csv", "test"), tmp_path / "run", **options)
    with pytest.raises(DataError, match="does not exist"):
        fit(tmp_path / "nowhere", tmp_path / "run", **options)
    with pytest.raises(ValueError, match="--output_dir is set by fit"):
        fit(data_folder, tmp_path / "run", output_dir="elsewhere", **options)
    with pytest.raises(ValueError, match="minutes -3: expected more than 0"):
        fit(data_folder, tmp_path / "run", minutes=-3, **options)
    with pytest.raises(ValueError, match="did you mean --resize"):
        fit(data_folder, tmp_path / "run", **options, resise=3)
    with pytest.raises(FileNotFoundError, match="nowhere: is not a folder"):
        fit(data_folder, tmp_path / "run", backbones=[str(tmp_path / "nowhere")], **options)
    with pytest.raises(ValueError, match="or there is only one"):
        fit(data_folder, tmp_path / "run", num_labelled=1, start=None, **options)
    assert not (tmp_path / "run").exists()
    with pytest.raises(FileExistsError, match="contains something other than a fit"):
        fit(data_folder, tmp_path, **options)

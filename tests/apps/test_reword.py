"""``textdiff reword``: a test split asked in other words, by kinds that a file names."""

from __future__ import annotations

import csv
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from textdiff_monai import DiffusionBackbone, Recipe, TextDiff, TextEncoder
from textdiff_monai.apps.reword import questions, reword, summary
from textdiff_monai.apps.segment import segment
from textdiff_monai.language import kept_back
from textdiff_monai.networks.recipe import add_facts
from textdiff_monai.phantoms.phantom import write_phantom

PIXELS = {"channels": "RGB", "intensity_range": None, "resize": 64, "scales": None, "tile": None, "read_text": True}
HEAD = {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": [8, 8]}


@pytest.fixture
def options(unet_folder, bert_folder, tmp_path):
    torch.manual_seed(3)
    recipe = Recipe(num_classes=2, class_names=["background", "target"], **PIXELS)
    head = HEAD | {"norm": ("instance", {"affine": True})}
    network = TextDiff(DiffusionBackbone(unet_folder, (1, 3), (50,)), TextEncoder(bert_folder), 2, head, recipe=recipe)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    return {"backbone": str(unet_folder), "text_encoder": str(bert_folder)}


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_kind_gets_a_row_and_every_text_its_dice(options, tmp_path, capsys):
    data = write_phantom(tmp_path / "data", train=1, val=1, test=2, size=64)
    table = reword(data, tmp_path / "model.pt", tmp_path / "out", repeats=2, **options)
    kinds = ["own", *kept_back.kinds()]
    assert [row["kind"] for row in table] == kinds
    assert {row["items"] for row in table} == {2, 4}
    asked = rows(tmp_path / "out" / "reworded.csv")
    assert len(asked) == 2 + 4 * len(kept_back.kinds())
    assert all(0 <= float(row["dice"]) <= 1 for row in asked)
    assert [row["kind"] for row in rows(tmp_path / "out" / "kinds.csv")] == kinds
    assert "abbreviations" in capsys.readouterr().out


def test_own_kinds_come_from_a_file(options, tmp_path):
    data = write_phantom(tmp_path / "data", train=1, val=1, test=1, size=64)
    (tmp_path / "mine.txt").write_text("[plain]\nframe = {bare} {where}, says the note.\n", encoding="utf-8")
    table = reword(data, tmp_path / "model.pt", tmp_path / "out", kinds=str(tmp_path / "mine.txt"), **options)
    assert [row["kind"] for row in table] == ["own", "plain"]
    assert "says the note" in rows(tmp_path / "out" / "reworded.csv")[1]["text"]


def test_columns_and_masks_are_those_of_the_data_set(options, tmp_path):
    """Columns of other names, masks in colours, and masks of many things of which ``value`` says which are meant."""
    data = write_phantom(tmp_path / "data", train=1, val=1, test=1, size=64)
    (tmp_path / "mine.txt").write_text("[plain]\nframe = {bare} {where}, says the note.\n", encoding="utf-8")
    options |= {"kinds": str(tmp_path / "mine.txt")}
    expected = reword(data, tmp_path / "model.pt", tmp_path / "out", **options)
    header, *lines = (data / "text.csv").read_text(encoding="utf-8").splitlines()
    for name, mask, value in (("numbers", lambda inside: inside * 7 + ~inside * 2, "7"), ("red", _red, "")):
        own = shutil.copytree(data, tmp_path / name)
        table = [header.replace("text", "Befund") + ",value", *(f"{line},{value}" for line in lines)]
        (own / "text.csv").write_text("\n".join(table), encoding="utf-8")
        for path in (own / "masks").iterdir():
            Image.fromarray(mask(np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)
        colours = {"red": 1} if name == "red" else None
        given = {"columns": {"text": "Befund"}, "mask_colours": colours, **options}
        assert reword(own, tmp_path / "model.pt", tmp_path / "out", **given) == expected


def _red(inside):
    return np.stack([inside * 255, 0 * inside, 0 * inside], axis=-1)


@pytest.mark.parametrize("known", [{"plane": "coronal"}, {"neighbours": True}])
def test_a_volume_is_read_as_the_head_was_trained_and_where_the_sentence_is_about(known, options, tmp_path):
    add_facts(tmp_path / "model.pt", **known)
    rng, mask = np.random.default_rng(0), np.zeros((20, 24, 28), np.uint8)
    mask[4:12, 6:14, 8:16] = 1
    for name, values in {"v": rng.integers(0, 255, mask.shape).astype(np.int16), "m": mask}.items():
        nib.save(nib.Nifti1Image(values, np.diag([1.0, 1, 1, 1])), tmp_path / f"{name}.nii.gz")
    row = "v.nii.gz,m.nii.gz,Segment the left lung.,test,8-9"
    (tmp_path / "t.csv").write_text(f"image,mask,text,split,slices\n{row}\n")
    reword(tmp_path / "t.csv", tmp_path / "model.pt", tmp_path / "out", **options)
    (path,) = segment(tmp_path / "t.csv", out=tmp_path / "s", checkpoint=str(tmp_path / "model.pt"), **options)
    found, axis = np.asarray(nib.load(path).dataobj) > 0, 1 if "plane" in known else 2
    truth = np.zeros_like(found)
    kept = [slice(None)] * 3
    kept[axis] = slice(8, 10)
    truth[tuple(kept)] = mask[tuple(kept)] > 0
    own = float(rows(tmp_path / "out" / "reworded.csv")[0]["dice"])
    assert own == pytest.approx(2 * (found & truth).sum() / (found.sum() + truth.sum()), abs=1e-6)
    assert 0 < own < 1


def test_captions_that_nobody_understands_are_an_error_before_any_work(options, tmp_path):
    data = write_phantom(tmp_path / "data", train=1, val=1, test=1, size=64)
    table = (data / "text.csv").read_text(encoding="utf-8").replace("pulmonary", "puzzling")
    (data / "text.csv").write_text(table, encoding="utf-8")
    with pytest.raises(ValueError, match="no caption of test is understood") as caught:
        reword(data, tmp_path / "model.pt", tmp_path / "out", **options)
    assert "puzzling" not in str(caught.value)
    (data / "text.csv").write_text(table.replace(",test", ",val"), encoding="utf-8")
    with pytest.raises(ValueError, match="no item is in the split test"):
        reword(data, tmp_path / "model.pt", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_denial_asks_for_an_empty_mask():
    items = [{"id": "1", "text": "One infected area, upper left lung."}, {"id": "2", "text": "Whatever."}]
    asked = questions(items, kept_back.sections_of())
    assert [question["present"] for question in asked if question["kind"] == "absent"] == [False]
    assert [question["kind"] for question in asked if question["id"] == "2"] == ["own"]


def test_the_share_is_that_of_the_same_items_own_captions():
    table = summary(
        [
            {"id": "1", "kind": "own", "dice": 0.8},
            {"id": "2", "kind": "own", "dice": 0.2},
            {"id": "1", "kind": "lay", "dice": 0.4},
        ]
    )
    assert table[1] == {"kind": "lay", "items": 1, "dice": 0.4, "own": 0.8, "share": 0.5}

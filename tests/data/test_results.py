"""Results never take the place of other files, whatever runs into a folder, and the table keeps up."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from textdiff_monai import load_datalist
from textdiff_monai.data.files import read_rows, write_rows
from textdiff_monai.data.results import COLUMNS, Results
from textdiff_monai.data.space import Space

MASK = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
PROBABILITIES = np.stack([1 - MASK * 0.9, MASK * 0.9]).astype(np.float32)


@pytest.fixture
def image(tmp_path):
    def image(name):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(MASK).save(path)
        return str(path)

    return image


def add(results, path, text="left", name=None, mask=MASK):
    item = {"image": path, "text": text, "id": name or path.rsplit("/", 1)[1].split(".")[0]}
    return results.add(item, mask, PROBABILITIES, np.full((3, 2, 3), -0.2)).name


def test_every_result_has_its_row_and_files(tmp_path, image):
    out = tmp_path / "new" / "out"
    results = Results(out, pictures=True)
    assert not out.exists()
    assert add(results, image("a.png"), 'left, "upper"\nlobe') == "a_mask.png"
    (row,) = read_rows(out / "results.csv")
    assert row == {
        "id": "a",
        "image": image("a.png"),
        "text": 'left, "upper"\nlobe',
        "slices": "",
        "mask": "a_mask.png",
        "probability": "a_probability.png",
        "disagreement": "",
        "overlay": "a_overlay.png",
        "outlines": "",
        "words": "",
        "pixels": "3",
        "area_mm2": "",
        "volume_ml": "",
        "components": "1",
        "mean_probability": "0.9000",
        "highest_probability": "0.9000",
        "mean_disagreement": "",
        "seconds": "",
        "doubt": "",
    }
    np.testing.assert_array_equal(np.asarray(Image.open(out / row["mask"])), MASK * 255)
    np.testing.assert_array_equal(np.asarray(Image.open(out / row["probability"])), np.round(MASK * 0.9 * 255))
    assert Image.open(out / row["overlay"]).size == (3, 2)
    assert {path.name for path in out.iterdir()} == {
        *(row[kind] for kind in ("mask", "probability", "overlay")),
        "results.csv",
    }


def test_without_pictures_a_mask_has_class_indices(tmp_path, image):
    add(Results(tmp_path / "out"), image("a.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "a_mask.png")), MASK)
    assert read_rows(tmp_path / "out" / "results.csv")[0]["overlay"] == ""


def test_a_later_run_replaces_the_same_and_leaves_the_rest(tmp_path, image):
    out = tmp_path / "out"
    assert add(Results(out), image("p1/a.png"), name="a") == "a_mask.png"
    assert add(Results(out), image("p2/a.png"), name="a") == "a_2_mask.png"
    assert add(Results(out), image("p1/a.png"), "right", name="a") == "a_3_mask.png"
    assert add(Results(out), image("p2/a.png"), name="a", mask=1 - MASK) == "a_2_mask.png"
    np.testing.assert_array_equal(np.asarray(Image.open(out / "a_mask.png")), MASK)
    np.testing.assert_array_equal(np.asarray(Image.open(out / "a_2_mask.png")), 1 - MASK)
    assert add(Results(out, pictures=True), image("p1/a.png"), name="a") == "a_mask.png"
    rows = read_rows(out / "results.csv")
    assert [(row["id"], row["overlay"]) for row in rows] == [("a", "a_overlay.png"), ("a_2", ""), ("a_3", "")]


def test_files_of_others_stay(tmp_path, image):
    out = tmp_path / "out"
    out.mkdir()
    (out / "A_mask.png").write_text("drawn by hand")
    (out / "a_2_probability.nii.gz").write_text("of another tool")
    assert add(Results(out), image("a.png")) == "a_3_mask.png"
    assert (out / "A_mask.png").read_text() == "drawn by hand"


def test_the_same_asked_twice_is_answered_twice(tmp_path, image):
    for _ in range(2):
        results = Results(tmp_path / "out")
        assert [add(results, image("a.png"), name=name) for name in ("a", "a_2")] == ["a_mask.png", "a_2_mask.png"]
    assert len(read_rows(tmp_path / "out" / "results.csv")) == 2


def test_another_table_of_that_name_is_left_alone(tmp_path):
    write_rows(tmp_path / "results.csv", [{"patient": 1}])
    with pytest.raises(
        ValueError, match=r"results\.csv: is not a table of results; remove it or choose another folder"
    ):
        Results(tmp_path)


def test_a_type_that_is_not_written_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="output_type 'jpg': expected one of png, nifti"):
        Results(tmp_path, "jpg")


def test_a_volume_is_measured_and_shown_where_most_is_marked(tmp_path, image):
    mask = np.zeros((4, 5, 3), np.uint8)
    mask[1:3, 1:3, 1:] = 1
    mask[0, 0, 0] = mask[2, 3, 2] = 1
    space = Space.of_stack((5, 4, 3), np.diag([-2.0, -1, 5, 1]))
    results = Results(tmp_path / "out", pictures=True)
    item = {"image": image("a.png"), "text": "", "id": "a", "slices": "0-2", "seconds": 1.23456}
    results.add(item, mask, np.stack([1 - mask * 0.75, mask * 0.75]), np.zeros((1, 4, 5, 3)), space)
    (row,) = read_rows(results.table)
    assert (row["pixels"], row["volume_ml"], row["area_mm2"], row["components"]) == ("10", "0.1", "", "2")
    assert (row["mean_probability"], row["highest_probability"]) == ("0.7500", "0.7500")
    assert (row["slices"], row["seconds"]) == ("0-2", "1.23")
    overlay = np.asarray(Image.open(results.folder / row["overlay"]))
    np.testing.assert_array_equal((overlay != overlay[3, 0]).any(-1), mask[..., 2])


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/new"):
        with pytest.raises(OSError, match="file: is a file; choose a folder"):
            Results(tmp_path / folder)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "read_only").mkdir(mode=0o555)
    with pytest.raises(OSError, match="read_only: is not writable"):
        Results(tmp_path / "read_only" / "new")


def test_what_an_equal_run_left_is_known_again_until_its_image_changes(tmp_path, image):
    out, item = tmp_path / "out", {"image": image("a.png"), "text": "left", "id": "a"}
    add(Results(out, pictures=True), item["image"])
    again = Results(out)
    assert again.keeps(item)
    assert not again.keeps(item)  # it is one row
    assert again.masks == [out / "a_mask.png"]
    assert not Results(out).keeps(item | {"text": "right"})
    os.utime(out / "a_overlay.png", (0, 0))
    assert not Results(out).keeps(item)


@pytest.mark.parametrize("names", [["a.png"], ["a.png", "b.png"]])
def test_a_row_that_was_cut_off_takes_no_other_with_it(names, tmp_path, image):
    out = tmp_path / "out"
    for name in names:
        add(Results(out), image(name))
    table = (out / "results.csv").read_bytes()
    (out / "results.csv").write_bytes(table[:-20])  # by a full disk, or a kill
    add(Results(out), image("c.png"))
    assert [row["id"] for row in read_rows(out / "results.csv")] == [*"ab"[: len(names) - 1], "c"]


def test_the_table_is_data_once_it_has_splits(tmp_path, image):
    out = tmp_path / "out"
    add(Results(out), image("a.png"))
    write_rows(out / "results.csv", [row | {"split": "train"} for row in read_rows(out / "results.csv")])
    (item,) = load_datalist(out)
    assert (item["image"], item["label"], item["text"]) == (image("a.png"), str(out / "a_mask.png"), "left")
    assert COLUMNS[1:5] == ("image", "text", "slices", "mask")

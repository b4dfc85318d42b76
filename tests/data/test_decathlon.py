"""MONAI's data list as a dataset."""

from __future__ import annotations

import json

import pytest
from made import save_csv, save_pairs
from monai.data import load_decathlon_datalist

from textdiff_monai import DataError, load_datalist, load_images


def save_list(folder, name="dataset.json", **lists):
    (folder / name).write_text(json.dumps({"name": "made", "numTraining": 1} | lists))
    return folder / name


def entry(name, text="left"):
    return {"image": f"./images/{name}.png", "label": f"masks/{name}.png", "text": text, "fold": 0}


@pytest.fixture
def folder(tmp_path):
    return save_pairs(tmp_path)


def test_paths_are_those_that_monai_reads(folder):
    file = save_list(folder, training=[entry("b"), entry("a")], validation=[entry("c")])
    items = load_datalist(folder)
    assert load_datalist(file) == items
    assert [(item["id"], item["text"], item["split"], item["fold"]) for item in items] == [
        ("a", "left", "train", "0"),
        ("b", "left", "train", "0"),
        ("c", "left", "val", "0"),
    ]
    theirs = load_decathlon_datalist(str(file), is_segmentation=True, data_list_key="training")
    for key in ("image", "label"):
        assert {item[key] for item in items[:2]} == {str(folder / item[key]) for item in theirs}


def test_what_only_some_entries_say_is_empty_of_the_others(folder):
    save_list(folder, training=[entry("b") | {"patient": 7}, entry("a")])
    assert [item["patient"] for item in load_datalist(folder)] == ["", "7"]


def test_images_without_a_mask_are_for_segmenting(folder):
    save_list(folder, training=[entry("a")], test=["images/b.png", {"image": "images/c.png"}])
    with pytest.warns(UserWarning, match="and are left out|have no text") as told:
        assert [item["id"] for item in load_datalist(folder)] == ["a"]
    assert "2 entries have no text: dataset.json test 1, dataset.json test 2" in str(told[0].message)
    assert "2 rows have no mask and are left out" in str(told[1].message)
    with pytest.warns(UserWarning, match="have no text"):
        assert [item["id"] for item in load_images(folder, "left")] == ["a", "b", "c"]


def test_fields_go_by_other_names(folder):
    (folder / "one").mkdir()
    entries = [{"img": "../images/a.png", "seg": "../masks/a.png", "report": "x"}]
    file = save_list(folder / "one", training=entries)
    (item,) = load_datalist(file, columns={"image": "img", "mask": "seg", "text": "report"})
    assert (item["id"], item["text"]) == ("a", "x")


def test_what_is_wrong_is_named_by_list_and_number(folder):
    save_list(folder, training=[entry("a"), {**entry("b"), "image": ["1.png", "2.png"]}, entry("no")])
    with pytest.raises(DataError) as caught:
        load_datalist(folder)
    assert caught.value.problems[0] == "dataset.json training 2: image is not a string; write one path or sentence"
    assert "dataset.json training 3: image './images/no.png' does not exist" in caught.value.problems[1]


@pytest.mark.parametrize("content", ["[]", "{", '{"training": {}}', '{"train it": []}'])
def test_another_json_is_no_data_list(folder, content):
    (folder / "x.json").write_text(content)
    with pytest.raises(DataError, match=r"x\.json: is not (JSON|a data list)"):
        load_datalist(folder / "x.json")


def test_a_table_beside_other_json_files_is_taken(folder):
    save_list(folder, training=[entry("a")])
    save_list(folder, "labels.json")
    assert [item["id"] for item in load_datalist(save_csv(folder, "b.png,b.png,x,train"))] == ["b"]

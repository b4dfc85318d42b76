"""What the MONAI Label server stands on, as far as it runs without it: its folder, the annotated data, models kept."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from textdiff_monai import bundle_root, load_datalist
from textdiff_monai.apps.label.annotations import annotated_rows, submitted_masks
from textdiff_monai.apps.label.server import MODEL, serve, set_up, stand_in_for_torchvision
from textdiff_monai.data.files import exchange, write_rows
from textdiff_monai.data.problems import DataError


def test_the_app_folder_has_its_own_head_and_configurations_and_links_the_encoders(tmp_path):
    app = set_up(tmp_path / "app", bundle_root())
    models = app / "model" / MODEL / "models"
    assert not (models / "model.pt").is_symlink()
    assert {path.name for path in models.iterdir() if path.is_symlink()} == {"diffusion_unet", "text_encoder"}
    assert (models / "diffusion_unet" / "config.json").is_file()
    assert (models.parent / "configs" / "inference.json").is_file()
    assert "app_class" in (app / "main.py").read_text()


def test_an_app_folder_is_set_up_once(tmp_path):
    set_up(tmp_path / "app", bundle_root())
    with pytest.raises(FileExistsError, match="exists"):
        set_up(tmp_path / "app", bundle_root())


def test_a_folder_that_is_no_bundle_is_an_error_that_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"configs/inference.json does not exist; give the folder of a bundle"):
        set_up(tmp_path / "app", tmp_path)
    assert not list(tmp_path.iterdir())


def test_studies_that_do_not_exist_are_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a folder of images"):
        serve(str(tmp_path / "nowhere"))


def test_without_monai_label_it_says_where_to_read_how(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"bundle/docs/label\.md"):
        serve(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_torchvision_is_stood_in_for_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("torchvision", "torchvision.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    stand_in_for_torchvision()
    from torchvision.utils import make_grid, save_image

    for function in (make_grid, save_image):
        with pytest.raises(ModuleNotFoundError, match="torchvision is not installed"):
            function(None)


def items_in(folder, count):
    folder.mkdir()
    for index in range(count):
        (folder / f"{index}.png").touch()
    return [{"image": str(folder / f"{i}.png"), "label": str(folder / f"{i}.png")} for i in reversed(range(count))]


@pytest.mark.parametrize(
    ("count", "val_split", "training"), [(2, 0.2, 1), (2, 0.9, 1), (5, 0.2, 4), (10, 0.3, 7), (3, 0, 2), (3, 1, 1)]
)
def test_both_splits_get_images(tmp_path, count, val_split, training):
    rows = annotated_rows(items_in(tmp_path / "data", count), tmp_path / "text.csv", val_split)
    assert [row["split"] for row in rows] == ["train"] * training + ["val"] * (count - training)
    assert [row["image"] for row in rows] == sorted(row["image"] for row in rows)


def test_sentences_are_matched_by_file_name_and_pass_unchanged(tmp_path, caplog):
    odd = '$__import__("os").abort(), "left"\nlung'
    write_rows(tmp_path / "text.csv", [{"image": "0.png", "text": odd}, {"image": "2", "text": "@network"}])
    rows = annotated_rows(items_in(tmp_path / "data", 3), tmp_path / "text.csv")
    assert [row["text"] for row in rows] == [odd, "", "@network"]
    assert "1 of 3 masks have no sentence" in caplog.text
    masks = [{**row, "mask": row["image"].replace("data", "masks")} for row in rows]
    items_in(tmp_path / "masks", 3)
    write_rows(tmp_path / "run" / "data.csv", masks)
    assert [item["text"] for item in load_datalist(tmp_path / "run" / "data.csv")] == [odd, "", "@network"]


class Datastore:
    """As much of MONAI Label's as is asked: two images, of which one has a mask of a second target."""

    def datalist(self):
        return [{"image": f"/d/{name}.png", "label": f"/d/labels/final/{name}.png"} for name in "ba"]

    def list_images(self):
        return ["a", "b", "c"]

    def get_labeled_images(self):
        return ["a", "b"]

    def get_label_info(self, image, tag):
        return {"SeriesInstanceUID": "1.2"}

    def get_labels_by_image_id(self, image):
        return {"a": {"final": "a", "disc": "a", "original": "a"}, "b": {"final": "b"}}.get(image, {})

    def get_image_uri(self, image):
        return f"/d/{image}.png"

    def get_label_uri(self, image, tag):
        return f"/d/labels/{tag}/{image}.png"


def test_an_image_with_several_masks_is_an_item_for_each_sentence(tmp_path, caplog):
    sentences = [("a.png", "the lesion", ""), ("a", "the disc", "disc"), ("a", "the cup", "cup"), ("b", "it", "final")]
    sentences.append(("b", "the same in other words", ""))
    write_rows(tmp_path / "text.csv", [dict(zip(("image", "text", "tag"), row, strict=True)) for row in sentences])
    rows = annotated_rows(submitted_masks(Datastore()), tmp_path / "text.csv")
    assert [(row["image"], row["mask"], row["text"], row["split"]) for row in rows] == [
        ("/d/a.png", "/d/labels/disc/a.png", "the disc", "train"),
        ("/d/a.png", "/d/labels/final/a.png", "the lesion", "train"),
        ("/d/b.png", "/d/labels/final/b.png", "it", "val"),
        ("/d/b.png", "/d/labels/final/b.png", "the same in other words", "val"),
    ]
    assert "1 masks have several sentences, which must mean the same: b" in caplog.text


def test_a_series_with_several_segmentations_of_others_is_left_out(caplog):
    class Archive(Datastore):
        def get_labeled_images(self):
            return ["b", "a", "b", "a"]

        def get_label_info(self, image, tag):
            return {"RetrieveURL": "http://archive/1.2"} if image == "b" else {}

    assert {item["image"] for item in submitted_masks(Archive())} == {"/d/a.png"}  # which was submitted
    assert (
        "1 series have several DICOM SEGs in the archive and are left out; submit the mask to train on" in caplog.text
    )


def test_sentences_may_be_about_some_of_a_volumes_slices(tmp_path, caplog):
    table = [("0", "the left", "0-5", ""), ("0", "the right", "6-9", "2"), ("1", "the left", "", "")]
    names = ("image", "text", "slices", "value")
    write_rows(tmp_path / "text.csv", [dict(zip(names, row, strict=True)) for row in table])
    rows = annotated_rows(items_in(tmp_path / "data", 2), tmp_path / "text.csv")
    assert [(row["text"], row["slices"], row["value"], row["split"]) for row in rows] == [
        ("the left", "0-5", "", "train"),
        ("the right", "6-9", "2", "train"),
        ("the left", "", "", "val"),
    ]
    assert not caplog.text


def test_too_few_annotations_and_a_table_without_images_are_errors(tmp_path):
    with pytest.raises(ValueError, match="submit masks of two or more"):
        annotated_rows(items_in(tmp_path / "data", 1), tmp_path / "text.csv")
    (tmp_path / "text.csv").write_text("name,text\n0,left\n")
    with pytest.raises(DataError, match="no column image"):
        annotated_rows(items_in(tmp_path / "more", 2), tmp_path / "text.csv")


def test_the_model_before_is_kept(tmp_path):
    (tmp_path / "model.pt").write_text("old")
    (tmp_path / "new.pt").write_text("new")
    kept = exchange(tmp_path / "new.pt", tmp_path / "model.pt")
    assert (kept.read_text(), (tmp_path / "model.pt").read_text()) == ("old", "new")
    assert kept.name.startswith("model_until_")
    assert {path.name for path in tmp_path.iterdir()} == {kept.name, "model.pt", "new.pt"}

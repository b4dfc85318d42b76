# SPDX-License-Identifier: Apache-2.0
"""What users see of the data list: both layouts, and one error that names all that is wrong."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import openpyxl
import pytest
from PIL import Image

from textdiff_monai import DataError, check_datalist, load_datalist, read_array

Row = Sequence[Any]


def save_image(path: Path, seed: int = 0, size: tuple[int, int] = (6, 4)) -> str:
    """An RGB picture of (width, height); another seed is another picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return str(path)


def save_mask(path: Path, values: Sequence[int] = (0, 255), size: tuple[int, int] = (6, 4)) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, np.uint8), (size[1], size[0]))).save(path)
    return str(path)


def save_csv(folder: Path, *lines: str, header: str = "image,mask,text,split", encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.csv").write_text("\n".join([header, *lines]) + "\n", encoding=encoding)
    return folder


def save_xlsx(path: Path, *rows: Row, header: Row = ("Image", "Description")) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    for row in (header, *rows):
        book.worksheets[0].append(list(row))
    book.save(path)


def save_lvit(root: Path, name: str = "Train", stems: Sequence[str] = ("a", "b")) -> Path:
    """One split folder of the LViT layout; return it."""
    folder = root / f"{name}_Folder"
    for seed, stem in enumerate(stems):
        save_image(folder / "img" / f"{stem}.png", seed + 10 * len(name))
        save_mask(folder / "labelcol" / f"{stem}.png")
    save_xlsx(folder / f"{name}_text.xlsx", *((f"{stem}.png", f"Caption of {stem}.") for stem in stems))
    return folder


def problems_of_loading(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        load_datalist(path)
    return caught.value.problems


def problems_of_checking(items: Sequence[dict[str, str]], **options: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        check_datalist(items, progress=False, **options)
    return caught.value.problems


@pytest.fixture
def item(tmp_path: Path) -> dict[str, str]:
    """A sound item."""
    image, mask = save_image(tmp_path / "one.png"), save_mask(tmp_path / "one_mask.png")
    return {"image": image, "label": mask, "text": "", "id": "one", "split": "train"}


@pytest.fixture
def csv_dir(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a", "b", "c")):
        save_image(tmp_path / "images" / f"{name}.png", seed)
        save_mask(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def test_csv_items_are_ordered_by_split_then_id_and_looked_up_beside_the_table(csv_dir: Path) -> None:
    absolute = csv_dir / "masks" / "c.png"
    rows = ('c.png,c.png,"Two areas, left.",test', f"images/b.png,{absolute},,train", "a.png,a.png,One.,Validation")
    items = load_datalist(save_csv(csv_dir, *rows))
    assert [(item["id"], item["split"], item["text"]) for item in items] == [
        ("b", "train", ""),
        ("a", "val", "One."),
        ("c", "test", "Two areas, left."),
    ]
    assert items[0]["image"] == str(csv_dir / "images" / "b.png")
    assert items[0]["label"] == str(absolute)
    check_datalist(items, progress=False, require=("train", "val", "test"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_is_read_with_and_without_bom_extra_columns_and_blank_lines(csv_dir: Path, encoding: str) -> None:
    header = "Image,mask,text,split,age"
    folder = save_csv(csv_dir, "a.png,a.png,Größe.,train,7", "", header=header, encoding=encoding)
    assert [item["text"] for item in load_datalist(folder / "text.csv")] == ["Größe."]


@pytest.mark.parametrize(("split", "ids"), [("train", ["a"]), ("valid", ["b"]), ("test", [])])
def test_split_filters_the_items(csv_dir: Path, split: str, ids: list[str]) -> None:
    folder = save_csv(csv_dir, "b.png,b.png,,val", "a.png,a.png,,train")
    assert [item["id"] for item in load_datalist(folder, split)] == ids


def test_asking_for_an_unknown_split_is_an_error(csv_dir: Path) -> None:
    with pytest.raises(DataError, match=r"'dev' is unknown.*train, val, test"):
        load_datalist(save_csv(csv_dir, "a.png,a.png,,train"), "dev")


def test_all_problems_of_a_csv_come_in_one_error_with_their_rows(csv_dir: Path) -> None:
    rows = ("a.png,,,train", "no.png,a.png,,train", "a.png,no.png,,dev", "b.png,b.png,One, two.,train")
    problems = problems_of_loading(save_csv(csv_dir, *rows, "b.png,b.png,,train", "b.png,a.png,,train"))
    expected = (
        "row 2: the mask is empty",
        "row 3: image 'no.png' does not exist",
        "row 4: mask 'no.png' does not exist",
        "row 4: split 'dev' is unknown",
        "row 5: more cells than the header",
        "row 7: 'b' of train is in row 6 too",
    )
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(f"text.csv {start}")


def test_csv_name_that_finds_the_image_for_a_mask_is_an_error(csv_dir: Path) -> None:
    save_image(csv_dir / "d.png")
    save_mask(csv_dir / "masks" / "d.png")
    (problem,) = problems_of_loading(save_csv(csv_dir, "d.png,d.png,,train"))
    assert "image and mask are both" in problem


def test_missing_columns_are_named_with_those_found(csv_dir: Path) -> None:
    (problem,) = problems_of_loading(save_csv(csv_dir, header="image;mask,split"))
    assert "no column image, mask, text" in problem
    assert "image;mask | split" in problem


def test_table_in_another_encoding_is_reported(csv_dir: Path) -> None:
    (problem,) = problems_of_loading(save_csv(csv_dir, "a.png,a.png,Größe.,train", encoding="latin-1"))
    assert "text.csv: cannot be read" in problem


@pytest.mark.parametrize(("tables", "reason"), [((), "has 0 CSV files"), (("a.csv", "b.csv"), "has 2 CSV files")])
def test_folder_without_one_layout_is_an_error(tmp_path: Path, tables: Sequence[str], reason: str) -> None:
    for table in tables:
        (tmp_path / table).touch()
    (problem,) = problems_of_loading(tmp_path)
    assert reason in problem


def test_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "does not exist" in problems_of_loading(tmp_path / "nowhere")[0]


def test_lvit_folders_are_read_and_absent_splits_left_out(tmp_path: Path) -> None:
    save_lvit(tmp_path, "Test", ["d", "c"])
    save_lvit(tmp_path, "Train", ["b", "a.1"])
    items = load_datalist(tmp_path)
    assert [(item["id"], item["split"]) for item in items] == [
        ("a.1", "train"),
        ("b", "train"),
        ("c", "test"),
        ("d", "test"),
    ]
    assert items[0]["text"] == "Caption of a.1."
    assert items[0]["label"] == str(tmp_path / "Train_Folder" / "labelcol" / "a.1.png")
    check_datalist(items, progress=False)


@pytest.mark.parametrize("in_table", ["x.png", "mask_x.png", "x", "x.jpg"])
@pytest.mark.parametrize("mask", ["x.png", "mask_x.png"])
@pytest.mark.parametrize("image", ["x.tif", "x.JPG"])
def test_lvit_names_match_across_extensions_and_mask_prefix(
    tmp_path: Path, image: str, mask: str, in_table: str
) -> None:
    folder = tmp_path / "Val_Folder"
    save_image(folder / "img" / image)
    save_mask(folder / "labelcol" / mask)
    (folder / "img" / "._x.png").touch()
    save_xlsx(folder / "Val_text.xlsx", ("One area.", 1, in_table), header=("Description", "Note", "Image"))
    (item,) = load_datalist(tmp_path)
    assert (Path(item["image"]).name, Path(item["label"]).name) == (image, mask)
    assert (item["id"], item["text"], item["split"]) == ("x", "One area.", "val")


def test_all_problems_of_lvit_folders_come_in_one_error(tmp_path: Path) -> None:
    folder = save_lvit(tmp_path, "Train", ["a", "b", "c", "d", "e"])
    (folder / "labelcol" / "a.png").unlink()
    save_image(folder / "img" / "b.jpg")
    save_mask(folder / "labelcol" / "mask_c.png")
    save_mask(folder / "labelcol" / "z.png")
    rows = (("a", "A."), ("b", "B."), ("c", "C."), ("d", None), ("e", "E."), ("mask_e.png", "E."))
    save_xlsx(folder / "Train_text.xlsx", *rows)
    (tmp_path / "Val_Folder" / "img").mkdir(parents=True)
    save_lvit(tmp_path, "Test")
    save_xlsx(tmp_path / "Test_Folder" / "Test_text.xlsx", header=("Image", "Caption"))
    problems = problems_of_loading(tmp_path)
    expected = (
        ("a.png: has no mask", "labelcol"),
        ("b.jpg: has 2 image files (b.jpg, b.png)", "img"),
        ("c.png: has 2 masks (c.png, mask_c.png)", "labelcol"),
        ("d.png: has no caption", "Train_text.xlsx"),
        ("e.png: has 2 captions (row 6, row 7)", "Train_text.xlsx"),
        ("z.png: is a mask without an image", "img"),
        ("labelcol: is missing", "Val_Folder"),
        ("Val_text.xlsx: is missing", "Val_Folder"),
        ("Test_text.xlsx: no column description", "image | caption"),
    )
    assert len(problems) == len(expected)
    for problem, parts in zip(problems, expected, strict=True):
        assert all(part in problem for part in parts), problem


def test_damaged_workbook_is_reported(tmp_path: Path) -> None:
    (save_lvit(tmp_path) / "Train_text.xlsx").write_bytes(b"version https://example.org/spec/v1")
    (problem,) = problems_of_loading(tmp_path)
    assert "Train_text.xlsx: cannot be read" in problem


def test_captions_without_an_image_are_a_warning_that_names_the_first_ten(tmp_path: Path) -> None:
    folder = save_lvit(tmp_path, "Train", ["a"])
    save_xlsx(folder / "Train_text.xlsx", ("a.png", "A."), *((f"lost{n:02}.png", "Text.") for n in range(12)))
    with pytest.warns(UserWarning, match=r"12 captions have no image.*lost00.*lost09 and 2 more"):
        assert len(load_datalist(tmp_path)) == 1


def test_error_message_counts_all_and_prints_fifty() -> None:
    lines = str(DataError("here", [f"file{n}: bad; mend it" for n in range(53)])).splitlines()
    assert lines[:2] == ["53 problems in here:", "- file0: bad; mend it"]
    assert lines[-2:] == ["- file49: bad; mend it", "... and 3 more"]
    assert str(DataError("here", ["x: bad"])) == "1 problem in here:\n- x: bad"


def test_pictures_and_nifti_are_read_in_the_same_orientation(tmp_path: Path) -> None:
    picture = read_array(save_mask(tmp_path / "m.png", range(24)))
    assert picture.shape == (4, 6)
    assert read_array(save_image(tmp_path / "i.tif")).shape == (4, 6, 3)
    for name, shape in (("m.nii", (6, 4)), ("m.nii.gz", (6, 4, 1))):
        nib.save(nib.Nifti1Image(picture.T.reshape(shape), np.eye(4)), tmp_path / name)
        np.testing.assert_array_equal(read_array(tmp_path / name), picture)


def test_bilevel_picture_is_read_as_numbers(tmp_path: Path) -> None:
    Image.fromarray(np.eye(3, dtype=bool)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_array(tmp_path / "m.png"), np.eye(3, dtype=np.uint8))


def test_several_pages_or_slices_are_not_one_picture(tmp_path: Path) -> None:
    page = Image.new("L", (6, 4))
    page.save(tmp_path / "i.tif", save_all=True, append_images=[page])
    nib.save(nib.Nifti1Image(np.zeros((6, 4, 2), np.uint8), np.eye(4)), tmp_path / "i.nii.gz")
    for name in ("i.tif", "i.nii.gz"):
        with pytest.raises(ValueError, match="expected one"):
            read_array(tmp_path / name)


@pytest.mark.parametrize(
    ("values", "num_classes"), [((0, 1), 2), ((0, 255), 2), ((0,), 2), ((255,), 2), ((0, 1, 2), 3), ((2,), 3)]
)
def test_masks_of_the_classes_pass(item: dict[str, str], values: Sequence[int], num_classes: int) -> None:
    save_mask(Path(item["label"]), values)
    check_datalist([item], num_classes, progress=False)


@pytest.mark.parametrize(
    ("values", "num_classes", "message"),
    [
        ((0, 1, 2), 2, "expected 0 and one other value, got 0, 1, 2; relabel"),
        ((0, 255), 3, "expected integers 0..2, got 0, 255; relabel"),
        (range(24), 2, "got 0, 1, 2, 3, 4, 5, 6, 7 and 16 more; this looks like JPEG or antialiasing"),
    ],
)
def test_masks_of_other_values_are_reported(
    item: dict[str, str], values: Sequence[int], num_classes: int, message: str
) -> None:
    save_mask(Path(item["label"]), values)
    (problem,) = problems_of_checking([item], num_classes=num_classes)
    assert problem.startswith(f"{item['label']}: ")
    assert message in problem


def test_nan_in_a_mask_is_reported(item: dict[str, str], tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((6, 4), np.nan, np.float32), np.eye(4)), tmp_path / "m.nii")
    assert "got nan" in problems_of_checking([{**item, "label": str(tmp_path / "m.nii")}])[0]


def test_mask_channels_must_be_equal(item: dict[str, str]) -> None:
    mask = np.zeros((4, 6, 3), np.uint8)
    mask[1] = 255
    Image.fromarray(mask).save(item["label"])
    check_datalist([item], progress=False)
    mask[2, :, 0] = 255
    Image.fromarray(mask).save(item["label"])
    assert "got 3 that differ" in problems_of_checking([item])[0]


def test_sizes_and_unreadable_files_are_reported_together(item: dict[str, str], tmp_path: Path) -> None:
    save_mask(Path(item["label"]), size=(4, 6))
    (tmp_path / "cut.png").write_bytes(Path(item["image"]).read_bytes()[:60])
    broken = {**item, "image": str(tmp_path / "cut.png"), "label": str(tmp_path / "none.png"), "id": "cut"}
    size, image, mask = problems_of_checking([item, broken])
    assert size.startswith(item["label"])
    assert "expected 6 x 4 pixels" in size
    assert "got 4 x 6" in size
    assert image.startswith(broken["image"])
    assert "image cannot be read" in image
    assert mask.startswith(broken["label"])
    assert "FileNotFoundError" in mask


def test_unlabelled_images_pass(item: dict[str, str]) -> None:
    check_datalist([{**item, "label": ""}, {"image": item["image"], "split": "train"}], progress=False)


def test_image_in_two_splits_is_found_by_path_and_reported_once(item: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    other = {**item, "image": str(tmp_path / "sub" / ".." / "one.png"), "split": "test"}
    (problem,) = problems_of_checking([item, other])
    assert problem.startswith(f"{other['image']}: is in test, and by its path in train as {item['image']}")


def test_image_in_two_splits_is_found_by_content(item: dict[str, str], tmp_path: Path) -> None:
    copy = {**item, "image": save_image(tmp_path / "copy.png"), "id": "copy"}
    check_datalist([item, copy], progress=False)
    assert "by its content in train" in problems_of_checking([item, {**copy, "split": "val"}])[0]


def test_name_in_two_splits_is_an_error_in_the_lvit_layout_only(tmp_path: Path) -> None:
    save_lvit(tmp_path / "lvit", "Train", ["a"])
    save_lvit(tmp_path / "lvit", "Test", ["a"])
    (problem,) = problems_of_checking(load_datalist(tmp_path / "lvit"))
    assert "by its name in train" in problem
    items = [
        {"image": save_image(tmp_path / split / "a.png", len(split)), "split": split} for split in ("train", "val")
    ]
    check_datalist(items, progress=False)


def test_empty_list_and_empty_required_split_are_errors(item: dict[str, str]) -> None:
    assert "holds no items" in problems_of_checking([])[0]
    (problem,) = problems_of_checking([item], require=("train", "val"))
    assert "no item is of the split val, only of: train (1); put val in the split column" in problem


def test_progress_bar_goes_to_stderr_and_can_be_off(item: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    check_datalist([item], progress=False)
    assert capfd.readouterr() == ("", "")
    check_datalist([item])
    out, err = capfd.readouterr()
    assert not out
    assert "1/1" in err


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore:.*captions have no image")
@pytest.mark.skipif("TEXTDIFF_DATA" not in os.environ, reason="TEXTDIFF_DATA names no folder of datasets")
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("monuseg", (24, 6, 10)),
        ("cxr-infection", (24, 6, 10)),
        ("cxr-lung", (114, 20, 40)),
        ("dsb2018-stained", (67, 12, 20)),
        ("dsb2018-fluorescence", (557, 0, 0)),
    ],
)
def test_published_datasets_pass(name: str, counts: tuple[int, int, int]) -> None:
    items = load_datalist(Path(os.environ["TEXTDIFF_DATA"]) / name)
    found = Counter(item["split"] for item in items)
    assert (found["train"], found["val"], found["test"]) == counts
    check_datalist(items, progress=False)

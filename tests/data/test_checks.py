"""What is found wrong with the files of a data list, all at once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from made import save_image, save_lvit, save_mask
from PIL import Image

from textdiff_monai import DataError, check_datalist, load_datalist, read_array


def problems_of_checking(items: Sequence[dict[str, str]], **options: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        check_datalist(items, progress=False, **options)
    return caught.value.problems


@pytest.fixture
def item(tmp_path: Path) -> dict[str, str]:
    """A sound item."""
    image, mask = save_image(tmp_path / "one.png"), save_mask(tmp_path / "one_mask.png")
    return {"image": image, "label": mask, "text": "", "id": "one", "split": "train"}


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

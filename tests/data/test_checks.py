"""What is found wrong with the files of a data list, all at once."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from made import save_image, save_lvit, save_mask
from PIL import Image

from textdiff_monai import DataError, check_datalist, class_indices, load_datalist, read_picture
from textdiff_monai.data import readers


def problems_of_checking(items: Sequence[dict[str, str]], **options: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        check_datalist(items, progress=False, **options)
    return caught.value.problems


@pytest.fixture
def item(tmp_path: Path) -> dict[str, str]:
    """A sound item."""
    image, mask = save_image(tmp_path / "one.png"), save_mask(tmp_path / "one_mask.png")
    return {"image": image, "label": mask, "text": "", "id": "one", "split": "train"}


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
    assert problem.startswith(f"{other['image']}: is in test, but has the path of {item['image']} in train")


def test_image_in_two_splits_is_found_by_content(item: dict[str, str], tmp_path: Path) -> None:
    copy = {**item, "image": save_image(tmp_path / "copy.png"), "id": "copy"}
    check_datalist([item, copy], progress=False)
    assert "but has the content of" in problems_of_checking([item, {**copy, "split": "val"}])[0]


def test_empty_pictures_are_not_taken_for_one(tmp_path: Path) -> None:
    items = [{"image": str(tmp_path / f"{split}.png"), "split": split} for split in ("train", "val")]
    for each in items:
        Image.new("RGB", (8, 8), "white").save(each["image"])
    with pytest.warns(UserWarning, match="2 images have the same value in every pixel"):
        check_datalist(items, progress=False)


def test_name_in_two_splits_is_an_error_in_the_lvit_layout_only(tmp_path: Path) -> None:
    save_lvit(tmp_path / "lvit", "Train", ["a"])
    save_lvit(tmp_path / "lvit", "Test", ["a"])
    (problem,) = problems_of_checking(load_datalist(tmp_path / "lvit"))
    assert "but has the name of" in problem
    items = [
        {"image": save_image(tmp_path / split / "a.png", len(split)), "split": split} for split in ("train", "val")
    ]
    check_datalist(items, progress=False)


def test_empty_list_and_empty_required_split_are_errors(item: dict[str, str]) -> None:
    assert "has no items" in problems_of_checking([])[0]
    assert problems_of_checking([], require=["train"]) == [
        "data list: no item is in the split train; put train in the split column of some rows, or add Train_Folder"
    ]
    (problem,) = problems_of_checking([item], require=("train", "val"))
    assert "no item is in the split val, only in: train (1); put val in the split column" in problem


def test_progress_bar_goes_to_stderr_and_can_be_off(item: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    check_datalist([item], progress=False)
    assert capfd.readouterr() == ("", "")
    check_datalist([item])
    out, err = capfd.readouterr()
    assert not out
    assert "1/1" in err


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> str:
    nib.save(nib.Nifti1Image(array, affine), path)
    return str(path)


LPS = np.diag([-2.0, -2.0, 3.0, 1.0])
SLICE = np.random.default_rng(0).integers(0, 99, (6, 4, 1)).astype(np.int16)
INSIDE = (SLICE > 50).astype(np.uint8)


def reoriented(codes: str, array: np.ndarray, affine: np.ndarray = LPS) -> tuple[np.ndarray, np.ndarray]:
    turns = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes))
    turned = nib.Nifti1Image(array, affine).as_reoriented(turns)
    return np.asarray(turned.dataobj), turned.affine


@pytest.mark.parametrize("codes", ["LPS", "RPS", "ARI", "PLS"])
def test_image_and_mask_whose_affines_differ_in_order_and_direction_lie_together(tmp_path: Path, codes: str) -> None:
    image = save_nifti(tmp_path / "image.nii", SLICE, LPS)
    mask = save_nifti(tmp_path / "mask.nii", *reoriented(codes, INSIDE))
    check_datalist([{"image": image, "label": mask}], progress=False)
    assert np.array_equal(class_indices(read_picture(mask)), read_picture(image).pixels > 50)


@pytest.mark.parametrize(("shift", "apart"), [(0.0, False), (0.9, False), (1.1, True), (40.0, True)])
def test_a_mask_that_lies_elsewhere_is_named(tmp_path: Path, shift: float, apart: bool) -> None:
    affine = LPS.copy()
    affine[2, 3] = shift
    image, mask = save_nifti(tmp_path / "i.nii", SLICE, LPS), save_nifti(tmp_path / "m.nii", INSIDE, affine)
    items = [{"image": image, "label": mask}]
    if not apart:
        return check_datalist(items, progress=False)
    (problem,) = problems_of_checking(items)
    assert (
        problem
        == f"{mask}: its affine places it {shift:.4g} mm away from {image}; save it with the affine of its image"
    )


def test_a_mask_without_an_affine_is_refused_where_its_image_is_turned(tmp_path: Path) -> None:
    mask = save_mask(tmp_path / "mask.png")
    straight = save_nifti(tmp_path / "a.nii", SLICE, LPS)
    turned = save_nifti(tmp_path / "b.nii", *reoriented("RAS", SLICE))
    check_datalist([{"image": straight, "label": mask}], progress=False)
    (problem,) = problems_of_checking([{"image": turned, "label": mask}])
    assert problem.startswith(f"{mask}: of this mask and {turned}, only one has an affine that turns it; ")


def test_what_reads_but_hardly_serves_is_warned_of(tmp_path: Path) -> None:
    even = tmp_path / "even.png"
    Image.new("L", (6, 4), 7).save(even)
    masks = [save_mask(tmp_path / f"{value}.png", [0, value]) for value in (1, 255, 2)]
    with pytest.warns(UserWarning, match=r"1 images have the same value in every pixel: .*even\.png"):
        check_datalist([{"image": str(even), "label": masks[0]}], progress=False)
    images = [save_image(tmp_path / f"i{seed}.png", seed) for seed in range(3)]
    items = [{"image": image, "label": mask} for image, mask in zip(images, masks, strict=True)]
    with pytest.warns(UserWarning, match=r"masks have different foreground values.*1 \(1 images\), 255 .*, 2 "):
        check_datalist(items, progress=False)
    with pytest.warns(UserWarning, match=r"upside down if they were converted from pictures: .*eye\.nii"):
        check_datalist([{"image": save_nifti(tmp_path / "eye.nii", SLICE, np.eye(4))}], progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_datalist(items[:2], progress=False)


def test_classes_that_no_training_mask_has_are_warned_of(tmp_path: Path) -> None:
    masks = [save_mask(tmp_path / f"{n}.png", values) for n, values in enumerate([[0, 1], [0, 1, 2]])]
    items = [
        {"image": save_image(tmp_path / f"i{n}.png", n), "label": mask, "split": split}
        for n, (mask, split) in enumerate(zip(masks, ("train", "val"), strict=True))
    ]
    with pytest.warns(UserWarning, match="no training mask has the class 2, 3"):
        check_datalist(items, 4, progress=False)
    with pytest.warns(UserWarning, match="^no mask has the class 3"):
        check_datalist(items[1:], 4, progress=False)
    empty = {"image": items[0]["image"], "label": save_mask(tmp_path / "empty.png", [0]), "split": "train"}
    with pytest.warns(UserWarning, match="no training mask has the class 1"):
        check_datalist([empty], progress=False)
    check_datalist([empty | {"text": "absent"}, items[0]], progress=False)  # an empty mask among others is an item


def test_an_image_of_several_rows_is_opened_once(item: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    found = readers.format_of
    monkeypatch.setattr(readers, "format_of", lambda path: opened.append(Path(path).name) or found(path))
    check_datalist([item | {"text": text} for text in ("left", "right")], progress=False)
    assert sorted(opened) == ["one.png", "one_mask.png"]


def test_pixels_tell_an_image_again_that_was_saved_in_another_format(tmp_path: Path) -> None:
    image = save_image(tmp_path / "a.png")
    Image.open(image).save(tmp_path / "b.tif")
    items = [{"image": image, "split": "train"}, {"image": str(tmp_path / "b.tif"), "split": "test"}]
    (problem,) = problems_of_checking(items)
    assert "b.tif: is in test, but has the content of" in problem


def test_files_that_are_no_numbers_or_no_picture_are_told_with_the_reason(tmp_path: Path) -> None:
    nan = save_nifti(tmp_path / "nan.nii", np.full((6, 4), np.nan, np.float32), LPS)
    image = save_image(tmp_path / "i.png")
    problems = problems_of_checking([{"image": image, "label": nan}, {"image": nan}])
    assert problems == [
        f"{nan}: this mask: 24 of 24 values are not numbers (NaN or infinite); replace them",
        f"{nan}: this image: 24 of 24 values are not numbers (NaN or infinite); replace them",
    ]


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
        ("idrid-lesions", (191, 50, 83)),
        ("heart-mr-targets", (71, 15, 40)),
        ("breast-usg", (153, 39, 40)),
    ],
)
def test_published_datasets_pass(name: str, counts: tuple[int, int, int]) -> None:
    items = load_datalist(Path(os.environ["TEXTDIFF_DATA"]) / name)
    found = Counter(item["split"] for item in items)
    assert (found["train"], found["val"], found["test"]) == counts
    check_datalist(items, progress=False)


@pytest.mark.parametrize("column", ["patient", "Subject"])
def test_a_patient_in_two_splits_is_warned_of_and_not_named(tmp_path, column):
    rows = [f"image,mask,text,split,{column}"]
    for number, (split, who) in enumerate([("train", "Doe"), ("train", "Doe"), ("test", "Doe"), ("test", "Roe")]):
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            pixels = np.full((4, 4), 0 if kind == "masks" else number, np.uint8)
            pixels[1, 1] = 255
            Image.fromarray(pixels).save(tmp_path / kind / f"{number}.png")
        rows.append(f"{number}.png,{number}.png,left,{split},{who}")
    (tmp_path / "text.csv").write_text("\n".join(rows))
    with pytest.warns(UserWarning, match=r"1 patients have images in several splits, such as .*2\.png") as caught:
        check_datalist(load_datalist(tmp_path), progress=False)
    assert not any("Doe" in str(warning.message) for warning in caught)

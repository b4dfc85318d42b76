"""LViT's layout: every counterpart found or missed, captions optional."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import save_image, save_lvit, save_mask, save_xlsx

from textdiff_monai import DataError, check_datalist, load_datalist, load_images


def problems_of(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        load_datalist(path)
    return caught.value.problems


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
    rows = (("a", "A."), ("b", "B."), ("c", "C."), ("d", "D."), ("e", "E."))
    save_xlsx(folder / "Train_text.xlsx", *rows)
    (tmp_path / "Val_Folder" / "img").mkdir(parents=True)
    save_lvit(tmp_path, "Test")
    save_xlsx(tmp_path / "Test_Folder" / "Test_text.xlsx", header=("Image", "Caption"))
    problems = problems_of(tmp_path)
    expected = (
        ("a.png: has no mask", "labelcol"),
        ("b.jpg: has 2 image files (b.jpg, b.png)", "img"),
        ("c.png: has 2 masks (c.png, mask_c.png)", "labelcol"),
        ("z.png: is a mask without an image", "img"),
        ("labelcol: is missing", "Val_Folder"),
        ("Test_text.xlsx: no column description", "image | caption"),
    )
    assert len(problems) == len(expected)
    for problem, parts in zip(problems, expected, strict=True):
        assert all(part in problem for part in parts), problem


def test_captions_without_an_image_are_a_warning_that_names_the_first_ten(tmp_path: Path) -> None:
    folder = save_lvit(tmp_path, "Train", ["a"])
    save_xlsx(folder / "Train_text.xlsx", ("a.png", "A."), *((f"lost{n:02}.png", "Text.") for n in range(12)))
    with pytest.warns(UserWarning, match=r"12 captions have no image.*'lost00', .*'lost09' and 2 more"):
        assert len(load_datalist(tmp_path)) == 1


def test_texts_may_be_csv_or_missing_and_images_without_one_are_warned_of(tmp_path: Path) -> None:
    save_lvit(tmp_path, "Train", ["a", "b"])
    train, test = tmp_path / "Train_Folder", save_lvit(tmp_path, "Test", ["c"])
    (train / "Train_text.xlsx").unlink()
    (train / "Train_text.csv").write_text('Image;Description\nmask_a.png;"Left, upper."\nb;\n')
    (test / "Test_text.xlsx").unlink()
    with pytest.warns(UserWarning, match="have no sentence") as told:
        items = load_datalist(tmp_path)
    assert [(item["id"], item["text"]) for item in items] == [("a", "Left, upper."), ("b", ""), ("c", "")]
    assert [str(one.message) for one in told] == [
        f"2 rows have no sentence, and are read with an empty one: {train}/img/b.png, {test}/img/c.png"
    ]


def test_several_captions_of_an_image_are_items_and_repeated_ones_one(tmp_path: Path) -> None:
    folder = save_lvit(tmp_path, "Train", ["a"])
    save_xlsx(folder / "Train_text.xlsx", ("a.png", "Left."), ("mask_a.png", "On the left."), ("a", "Left."))
    assert [(item["id"], item["text"]) for item in load_datalist(tmp_path)] == [("a", "Left."), ("a_2", "On the left.")]


def test_images_are_segmented_with_their_captions(tmp_path: Path) -> None:
    save_lvit(tmp_path, "Train", ["a"])
    assert [(item["id"], item["text"], item["split"]) for item in load_images(tmp_path)] == [
        ("a", "Caption of a.", "train")
    ]


def test_a_sentence_in_the_place_of_a_name_is_not_repeated(tmp_path: Path) -> None:
    folder = save_lvit(tmp_path, "Train", ["a"])
    save_xlsx(folder / "Train_text.xlsx", ("a", "A."), ("A secret lesion on the left.", "b.png"))
    with pytest.warns(UserWarning, match="1 captions have no image and are left out: \\(a text of 28 characters"):
        load_datalist(tmp_path)

"""What an item is: an image and a sentence, named apart from all others, drawn with the rest of its image."""

from __future__ import annotations

import unicodedata
import warnings

import pytest
from made import save_csv, save_image, save_mask, save_pairs

from textdiff_monai import DataError, check_datalist, draw_labelled, load_datalist, load_images
from textdiff_monai.data.items import with_ids


def problems_of(folder):
    with pytest.raises(DataError) as caught:
        load_datalist(folder)
    return caught.value.problems


def test_rows_of_one_image_with_their_sentences_and_masks_are_items(tmp_path):
    save_pairs(tmp_path, ["a", "b", "a_2"])
    save_mask(tmp_path / "masks" / "empty.png", [0])
    rows = ["b.png,b.png,disc,train", "a.png,b.png,right,train", "a.png,a.png,left,train", "a.png,empty.png,none,train"]
    items = load_datalist(save_csv(tmp_path, *rows, "a_2.png,a_2.png,left,val"))
    assert [(item["id"], item["text"], item["split"]) for item in items] == [
        ("a", "right", "train"),
        ("a_3", "left", "train"),
        ("a_4", "none", "train"),
        ("b", "disc", "train"),
        ("a_2", "left", "val"),
    ]
    assert items[1]["label"] == str(tmp_path / "masks" / "a.png")
    check_datalist(items, progress=False)


def test_one_mask_may_have_several_wordings(tmp_path):
    save_pairs(tmp_path)
    items = load_datalist(save_csv(tmp_path, "a.png,a.png,left lung,train", "a.png,a.png,the lung on the left,train"))
    assert len(items) == 2


@pytest.mark.parametrize("text", ["left lung", " Left  lung", '"left\nlung"'])
def test_the_same_image_and_sentence_with_another_mask_is_an_error(tmp_path, text):
    save_pairs(tmp_path)
    (problem,) = problems_of(save_csv(tmp_path, "a.png,a.png,left lung,train", f"a.png,b.png,{text},train"))
    assert problem.startswith("text.csv row 3: has the image and sentence of text.csv row 2 but another mask; ")


def test_a_repeated_row_is_left_out_and_said(tmp_path):
    save_pairs(tmp_path)
    row = "a.png,a.png,left,train"
    with pytest.warns(
        UserWarning, match="1 rows repeat the image, sentence and mask of other rows and are left out: text.csv row 4"
    ):
        items = load_datalist(save_csv(tmp_path, row, "b.png,b.png,left,train", row))
    assert [item["id"] for item in items] == ["a", "b"]


def test_rows_without_a_mask_are_left_out_and_said_unless_all_are(tmp_path):
    save_pairs(tmp_path)
    with pytest.warns(UserWarning, match="1 rows have no mask and are left out: text.csv row 2"):
        assert len(load_datalist(save_csv(tmp_path, "a.png,,left,train", "b.png,b.png,left,train"))) == 1
    assert "the mask is empty" in problems_of(save_csv(tmp_path, "a.png,,left,train"))[0]


def test_rows_without_a_sentence_are_said(tmp_path):
    """``nan`` is what pandas writes for an empty cell."""
    save_pairs(tmp_path)
    with pytest.warns(UserWarning, match="2 rows have no sentence.*: text.csv row 2, text.csv row 3"):
        items = load_datalist(save_csv(tmp_path, "a.png,a.png,,train", "b.png,b.png,nan,train"))
    assert [item["text"] for item in items] == ["", ""]


def test_further_columns_travel_with_the_item_and_never_take_the_place_of_its_own(tmp_path):
    save_pairs(tmp_path)
    folder = save_csv(
        tmp_path, "a.png,a.png,left,train,disc,7,x,3", header="image,mask,text,split,Target,label,id,slice"
    )
    (item,) = load_datalist(folder)
    assert item == {
        "image": str(tmp_path / "images" / "a.png"),
        "label": str(tmp_path / "masks" / "a.png"),
        "text": "left",
        "id": "a",
        "split": "train",
        "target": "disc",
    }


def test_an_error_repeats_no_sentence_that_stands_where_a_file_should(tmp_path):
    save_pairs(tmp_path)
    rows = ["a.png,The patient has an opacity.,a.png,train", "a.png,a.png,train,A large lesion in her left lung."]
    problems = problems_of(save_csv(tmp_path, *rows))
    assert problems == [
        "text.csv row 2: mask (a text of 27 characters) does not exist; write the name of a file there",
        "text.csv row 3: split (a text of 32 characters) is unknown; use one of train, val, test",
    ]


@pytest.mark.parametrize("name", ["images\\a.png", "a.png", "images/a.png", ".\\images\\a.png"])
def test_paths_are_found_in_the_styles_of_windows_and_unix(tmp_path, name):
    save_pairs(tmp_path)
    (item,) = load_datalist(save_csv(tmp_path, f"{name},{name.replace('images', 'masks')},x,train"))
    assert item["id"] == "a"
    assert load_images(tmp_path)[0]["id"] == "a"


def test_files_are_found_by_names_that_differ_in_case_accents_or_ending(tmp_path):
    for name in ("IMG_1.PNG", unicodedata.normalize("NFD", "lésion.png"), "7.png"):
        save_image(tmp_path / "images" / name)
        save_mask(tmp_path / "masks" / name)
    rows = ["img_1.png,IMG_1.png,x,train", unicodedata.normalize("NFC", "lésion.png,Lésion.PNG,x,train"), "7,7,x,train"]
    items = load_datalist(save_csv(tmp_path, *rows))
    assert [item["id"] for item in items] == ["7", "IMG_1", unicodedata.normalize("NFD", "lésion")]
    save_image(tmp_path / "images" / "7.jpg")
    (problem,) = problems_of(tmp_path)
    assert problem.startswith(
        f"text.csv row 4: image '7' could be any of {tmp_path}/images/7.jpg, {tmp_path}/images/7.png; "
    )


def test_one_file_is_one_image_however_its_path_is_written(tmp_path):
    save_pairs(tmp_path)
    rows = ["a.png,a.png,left,train", "images/../images/a.png,b.png,left,train"]
    assert "has the image and sentence of text.csv row 2" in problems_of(save_csv(tmp_path, *rows))[0]


def ids(*images):
    return [item["id"] for item in with_ids([{"image": image} for image in images])]


def test_a_mask_may_be_one_of_several_series_but_never_its_own_image(tmp_path):
    save_image(tmp_path / "a.png")
    (tmp_path / "both").mkdir()
    (item,) = load_datalist(save_csv(tmp_path, "a.png,both#2,left,train"))
    assert item["label"] == f"{tmp_path}/both#2"
    (problem,) = problems_of(save_csv(tmp_path, "both#2,both#2,left,train"))
    assert "image and mask are both" in problem


def test_ids_are_the_stems_as_long_as_these_differ():
    assert ids("/d/a.png", "/d/sub/b.c.nii.gz", "/d/IMG 1.PNG") == ["a", "b.c", "IMG 1"]
    assert ids() == []


def test_images_of_one_stem_are_told_apart_by_folders_or_endings():
    assert ids("/d/p1/image.png", "/d/p2/image.png", "/d/image.jpg") == ["p1_image", "p2_image", "image"]
    assert ids("/d/x/1/a.png", "/d/y/1/a.png", "/d/y/2/b.png") == ["x_1_a", "y_1_a", "b"]
    assert ids("/d/a.png", "/d/a.jpg") == ["a_png", "a_jpg"]
    assert ids("/d/p1/a.png", "/d/p1/a.jpg", "/d/p2/a.png") == ["p1_a_png", "p1_a_jpg", "p2_a_png"]


def test_ids_leave_room_for_what_results_add_to_them():
    long = "ü" * 120
    first, second = ids(f"/d/{long}1.png", f"/d/{long}2.png")
    assert len(first.encode()) == 200
    assert second == f"{first}_2"


def test_ids_differ_by_more_than_case_and_from_those_made_of_others():
    for images in (
        ["/d/a.png", "/d/s/A.png"],
        ["/d/p1/a.png", "/d/p2/a.png", "/d/p1_a.png"],
        ["/d/a.png", "/d/a.png", "/d/a_2.png", "/d/a.png", "/d/A_3.png"],
        ["/d/a.png", "/d/a_png.png", "/d/a.jpg"],
    ):
        found = ids(*images)
        assert len({name.casefold() for name in found}) == len(images), found


def test_linked_folders_are_followed_and_loops_end(tmp_path):
    save_image(tmp_path / "elsewhere" / "a.png")
    save_image(tmp_path / "data" / "b.png")
    save_image(tmp_path / "data" / ".hidden" / "c.png")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    assert [item["id"] for item in load_images(tmp_path / "data")] == ["b", "a"]


def rows_of_images(*counts):
    return [{"image": f"{i}.png", "text": str(n)} for i, count in enumerate(counts) for n in range(count)]


def test_drawing_counts_images_and_takes_all_their_rows():
    items = rows_of_images(1, 3, 2, 4, 1)
    for seed in range(5):
        smaller, larger = (draw_labelled(items, count, seed) for count in (2, 3))
        assert len({item["image"] for item in smaller}) == 2
        assert larger[: len(smaller)] == smaller
        for image in {item["image"] for item in larger}:
            assert [i for i in larger if i["image"] == image] == [i for i in items if i["image"] == image]
    assert draw_labelled(items) == items


def test_drawing_counts_rows_when_told():
    items = rows_of_images(3, 3)
    assert len(draw_labelled(items, 4, unit="rows")) == 4
    with pytest.raises(ValueError, match="num_labelled is 7, but the training split has only 6 rows"):
        draw_labelled(items, 7, unit="rows")
    with pytest.raises(ValueError, match="num_labelled is 3, but the training split has only 2 images"):
        draw_labelled(items, 3)
    with pytest.raises(ValueError, match="expected 'images' or 'rows'"):
        draw_labelled(items, 1, unit="masks")


def test_images_to_segment_need_one_column(tmp_path):
    save_pairs(tmp_path)
    folder = save_csv(tmp_path, "a.png", "b.png", header="image")
    assert [(item["id"], item["text"]) for item in load_images(folder, "left")] == [("a", "left"), ("b", "left")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = load_images(save_csv(tmp_path, "a.png,x", "a.png,y", "a.png,", header="image,text"), "left")
    assert [(item["id"], item["text"]) for item in both] == [("a", "x"), ("a_2", "y"), ("a_3", "left")]


def test_a_column_of_sentences_that_is_named_has_to_be_there(tmp_path):
    folder = save_csv(tmp_path, "a.png,left", header="image,report")
    save_image(folder / "images" / "a.png")
    assert load_images(folder, columns={"text": "report"})[0]["text"] == "left"
    with pytest.raises(DataError, match="no column reprot in the first row"):
        load_images(folder, "right", columns={"text": "reprot"})


def test_a_split_of_images_to_learn_from_is_taken_where_there_are_splits(tmp_path):
    save_pairs(tmp_path)
    folder = save_csv(tmp_path, "a.png,Training", "b.png,test", header="image,split")
    assert [item["id"] for item in load_images(folder, split="train")] == ["a"]
    assert [item["id"] for item in load_images(folder)] == ["a", "b"]
    assert len(load_images(tmp_path / "images", split="train")) == 3


def test_images_that_are_not_there_are_named_before_any_work(tmp_path):
    save_pairs(tmp_path)
    with pytest.raises(DataError, match=r"row 3: image 'no\.png' does not exist"):
        load_images(save_csv(tmp_path, "a.png", "no.png", header="image"))
    with pytest.raises(DataError, match="does not exist; give an image, a folder of images"):
        load_images(tmp_path / "nowhere.png")
    (tmp_path / "new").mkdir()
    with pytest.raises(DataError, match="has no images"):
        load_images(tmp_path / "new")

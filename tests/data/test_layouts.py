"""What users see of the data list, whatever the layout, and one error that names all that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from made import save_csv, save_image, save_mask, save_pairs, save_xlsx

from textdiff_monai import DataError, check_datalist, load_datalist, load_images


def problems_of(path: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        load_datalist(path)
    return caught.value.problems


@pytest.fixture
def csv_dir(tmp_path: Path) -> Path:
    return save_pairs(tmp_path)


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


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".xlsx"])
def test_a_folder_or_its_table_may_be_given_whatever_the_format(csv_dir: Path, suffix: str) -> None:
    cells = [["image", "mask", "text", "split"], ["a.png", "a.png", "Größe.", "train"]]
    if suffix == ".xlsx":
        save_xlsx(csv_dir / "t.xlsx", *cells[1:], header=cells[0])
    else:
        (csv_dir / f"t{suffix}").write_text("\n".join("\t".join(row) for row in cells), encoding="utf-8")
    for source in (csv_dir, csv_dir / f"t{suffix}"):
        assert [item["text"] for item in load_datalist(source)] == ["Größe."]
        assert [item["text"] for item in load_images(source)] == ["Größe."]


def test_columns_go_by_the_names_that_are_given(csv_dir: Path) -> None:
    folder = save_csv(csv_dir, "a.png,a.png,One.,train", header="file,mask,Befund,split")
    names = {"image": "file", "text": "befund"}
    assert [item["text"] for item in load_datalist(folder, columns=names)] == ["One."]
    assert [item["text"] for item in load_images(folder, columns=names)] == ["One."]
    with pytest.raises(DataError, match="columns: picture is not one of image, mask, text, split"):
        load_datalist(folder, columns={"picture": "file"})


def test_a_column_of_other_wordings_goes_by_the_name_that_is_given(csv_dir: Path) -> None:
    save_csv(csv_dir, "a.png,a.png,Left lung.,Hazy.,train", header="image,mask,text,report,split")
    (item,) = load_datalist(csv_dir, columns={"text": "report", "text_2": "text"})
    assert (item["text"], item["text_2"]) == ("Hazy.", "Left lung.")
    with pytest.raises(DataError, match="no column finding in the first row"):
        load_datalist(csv_dir, columns={"text_2": "finding"})


@pytest.mark.parametrize(("split", "ids"), [("train", ["a"]), ("valid", ["b"]), ("test", [])])
def test_split_filters_the_items(csv_dir: Path, split: str, ids: list[str]) -> None:
    folder = save_csv(csv_dir, "b.png,b.png,,val", "a.png,a.png,,train")
    assert [item["id"] for item in load_datalist(folder, split)] == ids


def test_asking_for_an_unknown_split_is_an_error(csv_dir: Path) -> None:
    with pytest.raises(DataError, match=r"'dev' is unknown.*train, val, test"):
        load_datalist(save_csv(csv_dir, "a.png,a.png,,train"), "dev")


def test_all_problems_of_a_csv_come_in_one_error_with_their_rows(csv_dir: Path) -> None:
    rows = (",a.png,,train", "no.png,a.png,,train", "a.png,no.png,,dev", "b.png,b.png,One, two.,train")
    problems = problems_of(save_csv(csv_dir, *rows, "b.png,b.png,,train", "b.png,a.png,,train"))
    expected = (
        "row 5: more cells than the header",
        "row 2: the image is empty",
        "row 3: image 'no.png' does not exist",
        "row 4: split 'dev' is unknown",
        "row 4: mask 'no.png' does not exist",
        "row 7: has the image and sentence of text.csv row 6 but another mask",
    )
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(f"text.csv {start}")


def test_csv_name_that_finds_the_image_for_a_mask_is_an_error(csv_dir: Path) -> None:
    save_image(csv_dir / "d.png")
    save_mask(csv_dir / "masks" / "d.png")
    (problem,) = problems_of(save_csv(csv_dir, "d.png,d.png,,train"))
    assert "image and mask are both" in problem


@pytest.mark.parametrize(
    ("tables", "reason"), [((), "has no table"), (("a.csv", "b.xlsx"), "has 2 tables (a.csv, b.xlsx)")]
)
def test_folder_without_one_layout_is_an_error(tmp_path: Path, tables: Sequence[str], reason: str) -> None:
    for table in tables:
        (tmp_path / table).touch()
    (problem,) = problems_of(tmp_path)
    assert reason in problem


def test_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "does not exist" in problems_of(tmp_path / "nowhere")[0]


def test_error_message_counts_all_and_prints_fifty() -> None:
    lines = str(DataError("here", [f"file{n}: bad; mend it" for n in range(53)])).splitlines()
    assert lines[:2] == ["53 problems in here:", "- file0: bad; mend it"]
    assert lines[-2:] == ["- file49: bad; mend it", "... and 3 more"]
    assert str(DataError("here", ["x: bad"])) == "1 problem in here:\n- x: bad"

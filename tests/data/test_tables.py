"""Tables as Excel and Windows write them: read, or refused in a line that repeats no sentence."""

from __future__ import annotations

import codecs
from pathlib import Path

import openpyxl
import pytest
from made import save_csv, save_xlsx

from textdiff_monai.data.tables import read_table, tables_in

TEXT = "Opacité à gauche, 3 cm"
COLUMNS = ("image", "mask", "text", "split")


def rows_of(path: Path, required: tuple[str, ...] = COLUMNS, **options) -> list[dict[str, str]]:
    problems: list[str] = []
    rows = read_table(path, required, problems, **options)
    assert problems == []
    return [row.cells for row in rows]


def problems_of(path: Path, required: tuple[str, ...] = COLUMNS, **options) -> list[str]:
    problems: list[str] = []
    read_table(path, required, problems, **options)
    return problems


def written(path: Path, content: str, encoding: str = "utf-8", newline: str = "\n") -> Path:
    path.write_bytes(content.replace("\n", newline).encode(encoding))
    return path


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["t.csv", "t.TSV"])
def test_separators_encodings_and_line_ends(tmp_path, name, separator, encoding, newline):
    lines = [["image", "mask", "text", "split"], ["a.png", "a.png", f'"{TEXT};\t,"', "train"], [""] * 4]
    path = written(tmp_path / name, "\n".join(map(separator.join, lines)), encoding, newline)
    assert rows_of(path) == [{"image": "a.png", "mask": "a.png", "text": f"{TEXT};\t,", "split": "train"}]


def test_windows_1252_is_read_and_said(tmp_path):
    path = written(tmp_path / "t.csv", f'image,mask,text,split\na.png,a.png,"{TEXT}",train\n', "cp1252")
    with pytest.warns(UserWarning, match=r"t\.csv: is not UTF-8 and was read as Windows-1252"):
        assert rows_of(path)[0]["text"] == TEXT


def test_bytes_of_no_encoding_are_refused_without_a_byte_of_them(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"image,mask,text,split\na,b,secret \x81\x8d,train\n")
    (problem,) = problems_of(tmp_path / "t.csv")
    assert problem == f"{tmp_path}/t.csv: is neither UTF-8, UTF-16 nor Windows-1252; save it as UTF-8"


def test_the_line_that_tells_excel_the_separator_is_no_header(tmp_path):
    path = written(tmp_path / "t.csv", "sep=;\r\nimage;mask;text;split\r\na.png;b.png;left, right;val\r\n")
    assert rows_of(path)[0]["text"] == "left, right"


def test_quoted_line_breaks_and_doubled_quotes_belong_to_the_text(tmp_path):
    folder = save_csv(tmp_path, 'a.png,a.png,"two\nlines, ""here""",train', 'b.png,b.png,5" wide,val')
    assert [row["text"] for row in rows_of(folder / "text.csv")] == ['two\nlines, "here"', '5" wide']


@pytest.mark.parametrize("line", ['b.png,b.png,"secret text,train', 'b.png,b.png,"secret" text,train'])
def test_a_quote_that_would_swallow_rows_is_refused_with_its_row(tmp_path, line):
    folder = save_csv(tmp_path, "a.png,a.png,x,train", line, "c.png,c.png,secret,train")
    (problem,) = problems_of(folder / "text.csv")
    assert "cannot be read from row 3 on" in problem
    assert "double quote" in problem
    assert "secret" not in problem


def test_headers_in_any_case_with_blanks_and_columns_in_any_order(tmp_path):
    folder = save_csv(tmp_path, "train,x,a.png,7,m.png", header=" Split ,TEXT,Image  , patient  age ,Mask")
    expected = {"split": "train", "text": "x", "image": "a.png", "patient age": "7", "mask": "m.png"}
    assert rows_of(folder / "text.csv") == [expected]


def test_short_rows_are_filled_and_long_ones_refused(tmp_path):
    folder = save_csv(tmp_path, "a.png,a.png", "b.png,b.png,One, two.,train", "c.png,c.png,x,train,,")
    rows, problems = [], []
    rows = read_table(folder / "text.csv", COLUMNS, problems)
    assert [row.cells["split"] for row in rows] == ["", "train"]
    assert problems == ["text.csv row 3: more cells than the header; put texts with separators in double quotes"]


def test_columns_go_by_other_names(tmp_path):
    folder = save_csv(tmp_path, "a.png,7,x", header="Datei,image,Befund")
    assert rows_of(folder / "text.csv", ("image", "text"), columns={"image": "datei", "text": " Befund "}) == [
        {"image": "a.png", "": "7", "text": "x"}
    ]


def test_columns_may_be_named_as_they_stand_in_the_file(tmp_path):
    folder = save_csv(tmp_path, "a.png,x", header="File  Name,text")
    for name in ("File  Name", "file name"):
        (row,) = rows_of(folder / "text.csv", ("image", "text"), columns={"image": name})
        assert row == {"image": "a.png", "text": "x"}
    save_xlsx(tmp_path / "t.xlsx", ("a.png", "x"), header=("File\nName", "text"))
    assert rows_of(tmp_path / "t.xlsx", ("image", "text"), columns={"image": "File\nName"})[0]["image"] == "a.png"


def test_one_column_is_not_taken_for_two(tmp_path):
    folder = save_csv(tmp_path, "a.png,x", header="image,report")
    columns = {"text": "report", "text_2": "Report"}
    (problem,) = problems_of(folder / "text.csv", ("image", "text", "text_2"), columns=columns)
    assert problem.endswith("the same column is given for text, text_2; give each its own in --columns")


def test_missing_columns_are_named_with_those_found_and_a_way(tmp_path):
    folder = save_csv(tmp_path, header="file;Maske;text;split")
    (problem,) = problems_of(folder / "text.csv")
    assert problem == (
        f"{tmp_path}/text.csv: no column image, mask in the first row, which is: file | maske | text | split; rename "
        "columns, or name them with --columns \"{'image': 'NAME', 'mask': 'NAME'}\""
    )


def test_a_table_without_a_header_is_told_without_its_sentences(tmp_path):
    (tmp_path / "t.csv").write_text("a.png,a.png,secret lesion,train\n")
    (problem,) = problems_of(tmp_path / "t.csv")
    assert "names a file; add a header row above it" in problem
    assert "secret" not in problem


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    (problem,) = problems_of(save_csv(tmp_path, header="image,mask,text,Text,split") / "text.csv")
    assert "several columns are called text; rename all but one" in problem


def test_workbooks_are_read_whatever_their_name(tmp_path):
    save_xlsx(tmp_path / "t.xlsx", ("a.png", 7, TEXT, "train"), header=("Image ", "Mask", "text", "split"))
    (tmp_path / "t.csv").write_bytes((tmp_path / "t.xlsx").read_bytes())
    for name in ("t.xlsx", "t.csv"):
        assert rows_of(tmp_path / name) == [{"image": "a.png", "mask": "7", "text": TEXT, "split": "train"}]


def test_the_sheet_that_has_the_columns_is_taken(tmp_path):
    book = openpyxl.Workbook()
    book.worksheets[0].append(["notes"])
    for row in (["image", "text"], ["a.png", "x"]):
        book.create_sheet("data") if len(book.worksheets) == 1 else None
        book.worksheets[1].append(row)
    book.save(tmp_path / "t.xlsx")
    assert rows_of(tmp_path / "t.xlsx", ("image",)) == [{"image": "a.png", "text": "x"}]


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("t.xlsx", b"version https://example.org/spec/v1", "is not a workbook"),
        ("t.xlsx", b"PK\x03\x04 damaged", "cannot be read"),
        ("t.csv", b"\xd0\xcf\x11\xe0 old", "is a workbook in the old format; save it as .xlsx or CSV"),
        ("t.csv", codecs.BOM_UTF16_LE + b"a", "is neither UTF-8, UTF-16 nor Windows-1252"),
        ("t.csv", b"", "no column image, mask, text, split in the first row, which is: empty"),
    ],
)
def test_damaged_tables_are_reported(tmp_path, name, data, what):
    (tmp_path / name).write_bytes(data)
    (problem,) = problems_of(tmp_path / name)
    assert problem.startswith(f"{tmp_path}/{name}: ")
    assert what in problem


def test_a_table_that_is_not_there_is_reported(tmp_path):
    assert "cannot be read (No such file or directory)" in problems_of(tmp_path / "t.csv")[0]


def test_hidden_tables_and_locks_are_none(tmp_path):
    for name in ("b.TSV", "a.xlsx", "._a.csv", "~$a.xlsx", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in tables_in(tmp_path)] == ["a.xlsx", "b.TSV"]

"""Tables as people have them: CSV, TSV and Excel workbooks, in the encodings and separators that Excel writes."""

from __future__ import annotations

import codecs
import csv
import io
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import openpyxl  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.data.names import is_picture

TABLES = (".csv", ".tsv", ".xlsx")
_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}  # which begins as UTF-16's does
_BOMS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # how workbooks begin, those of Excel since 2007 and before


class Row(NamedTuple):
    """One row of a data set, before its files are looked up.

    Attributes:
        where: the file and the row, for errors.
        folder: that its paths are relative to.
        cells: by column name in lower case; an empty cell, or ``nan``, which pandas writes for one, is "".
    """

    where: str
    folder: Path
    cells: dict[str, str]


def tables_in(folder: Path) -> list[Path]:
    """The tables that lie in a folder, less hidden ones and the locks that Excel leaves."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in TABLES)
    return sorted(path for path in found if not path.name.startswith((".", "~$")) and path.is_file())


def read_table(
    path: Path, required: Sequence[str], problems: list[str], columns: Mapping[str, str] | None = None
) -> list[Row]:
    """The rows of a table that are not blank; none, and a problem, if it cannot be read or lacks a column.

    Args:
        path: ``.csv`` or ``.tsv``, separated by comma, semicolon or tab, in UTF-8, UTF-16 or Windows-1252; ``.xlsx``.
        required: columns that must be there, in any case and order.
        problems: gets what is wrong.
        columns: other names that the table has for columns: ``{"image": "file"}``.
    """
    named = {ours: _plain(theirs) for ours, theirs in (columns or {}).items()}
    wanted = {column: named.get(column, column) for column in required}
    try:
        cells = _read_cells(path, list(wanted.values()))
    except Exception as error:  # a damaged workbook fails in many ways, and what it says may quote the cells
        problems.append(f"{path}: {_reason(error)}")
        return []
    header = [_plain(name) for name in (cells[0] if cells else [])]
    if problem := _header_problem(header, wanted):
        problems.append(f"{path}: {problem}")
        return []
    ours = {theirs: column for column, theirs in named.items()}
    header = [ours.get(name, "" if name in named else name) for name in header]
    rows = list[Row]()
    for number, row in enumerate(cells[1:], 2):
        where = f"{path.name} row {number}"
        if any(row[len(header) :]):  # shifted cells would only lead to misleading problems
            problems.append(f"{where}: more cells than the header; put texts with separators in double quotes")
        elif any(row):
            row += [""] * (len(header) - len(row))
            row = ["" if cell.lower() == "nan" else cell for cell in row]
            rows.append(Row(where, path.parent, dict(zip(header, row, strict=False))))
    return rows


def _plain(name: str) -> str:
    """A column's name whatever its case, blanks and line breaks."""
    return " ".join(name.lower().split())


def _header_problem(header: Sequence[str], wanted: Mapping[str, str]) -> str:
    if shared := [name for name, count in Counter(wanted.values()).items() if count > 1]:
        ours = [column for column, name in wanted.items() if name in shared]
        return f"the same column is given for {', '.join(ours)}; give each its own in --columns"
    if twice := [name for name in wanted.values() if header.count(name) > 1]:
        return f"several columns are called {', '.join(twice)}; rename all but one"
    missing = [column for column, name in wanted.items() if name not in header]
    if not missing:
        return ""
    what = f"no column {', '.join(wanted[column] for column in missing)} in the first row"
    if any(is_picture(name) for name in header):
        return f"{what}, which names a file; add a header row above it"
    found = " | ".join(name if len(name) <= 30 else f"{name[:15]}..." for name in header[:40]) or "empty"
    options = ", ".join(f"'{column}': 'NAME'" for column in missing)
    return f'{what}, which is: {found}; rename columns, or name them with --columns "{{{options}}}"'


def _read_cells(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Every row as stripped texts, the header first; the file's beginning, not its name, tells a workbook."""
    data = path.read_bytes()
    if data.startswith(_OLE):
        raise ValueError("is a workbook in the old format; save it as .xlsx or CSV")
    if data.startswith(_ZIP):
        return _read_workbook(data, columns)
    if path.suffix.lower() == ".xlsx":
        raise ValueError("is not a workbook; save it again as .xlsx")
    text = _decoded(data, path)
    separators = ",;\t"
    if text[:4].lower() == "sep=":  # a line that tells Excel which it is
        separators, text = text[4], text.partition("\n")[2]
    rows = list[list[str]]()
    try:
        for row in csv.reader(io.StringIO(text, newline=None), delimiter=_best(separators, text, columns), strict=True):
            rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        raise ValueError(
            f"cannot be read from row {len(rows) + 1} on ({error}): a double quote there is not closed, or is inside "
            "a quoted text, where it must be doubled"
        ) from None
    return rows


def _best(separators: str, text: str, columns: Sequence[str]) -> str:
    """The separator that finds most of the columns in the header, or most cells."""

    def score(separator: str) -> tuple[int, int]:
        header = next(csv.reader(io.StringIO(text, newline=None), delimiter=separator), [])
        return len(set(columns) & set(map(_plain, header))), len(header)

    return max(separators, key=score)


def _read_workbook(data: bytes, columns: Sequence[str]) -> list[list[str]]:
    """The first sheet that has the columns, else the first."""
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    sheets = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # some writers store a wrong size, which would hide cells
        rows = sheet.iter_rows(values_only=True)
        sheets.append([["" if cell is None else str(cell).strip() for cell in row] for row in rows])
        if sheets[-1] and set(columns) <= set(map(_plain, sheets[-1][0])):
            return sheets[-1]
    return sheets[0]


def _decoded(data: bytes, path: Path) -> str:
    for bom, encoding in _BOMS.items():
        if data.startswith(bom):
            return data.decode(encoding)
    if b"\0" in data[:2]:  # UTF-16 without its mark: a table begins with letters that have an empty half
        return data.decode("utf-16-le" if data[1] == 0 else "utf-16-be")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp1252")
        warnings.warn(f"{path}: is not UTF-8 and was read as Windows-1252; save it as UTF-8 to be sure", stacklevel=2)
        return text


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "is neither UTF-8, UTF-16 nor Windows-1252; save it as UTF-8"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    return str(error) if type(error) is ValueError else f"cannot be read ({type(error).__name__}); save it again"

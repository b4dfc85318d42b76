"""MONAI's data list, a JSON file as the Medical Segmentation Decathlon has it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

from textdiff_monai.data.items import SPLIT_NAMES
from textdiff_monai.data.problems import DataError, listed
from textdiff_monai.data.tables import Row

_KEYS = {"image": "image", "mask": "label", "text": "text"}


def data_lists_in(folder: Path) -> list[Path]:
    """The data lists that lie in a folder, among other JSON files."""
    return [path for path in sorted(folder.glob("*.json")) if b'"training"' in path.read_bytes()]


def data_list_rows(file: Path, problems: list[str], columns: Mapping[str, str] | None = None) -> list[Row]:
    """The entries of the lists ``training``, ``validation`` and ``test`` as rows with image, mask, text and split.

    Paths are relative to the file's folder, as :func:`monai.data.load_decathlon_datalist` reads them. An entry that is
    a path alone (as in the Decathlon's test lists) is an image without a mask. Entries without a text are warned of.
    What only some entries have is "" of the others.

    Args:
        file: the data list.
        problems: gets entries that name no file or several.
        columns: names of the entries' fields, where they are not image, label and text.

    Raises:
        DataError: for a file that is no data list.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise DataError(file, [f"{file}: is not JSON ({type(error).__name__}); save it again as UTF-8"]) from None
    lists = (
        {key: entries for key, entries in content.items() if key in SPLIT_NAMES} if isinstance(content, dict) else {}
    )
    if not lists or not all(isinstance(entries, list) for entries in lists.values()):
        raise DataError(file, [f"{file}: is not a data list; it needs the lists training, validation and test"])
    rows, silent = list[Row](), list[str]()
    for key, entries in lists.items():
        for number, entry in enumerate(entries, 1):
            where = f"{file.name} {key} {number}"
            fields = entry if isinstance(entry, dict) else {"image": entry}
            read = {column: fields.get(name, "") for column, name in (_KEYS | dict(columns or {})).items()}
            if wrong := [column for column, value in read.items() if not isinstance(value, str)]:
                problems.append(f"{where}: {listed(wrong)} is not a string; write one path or sentence")
                continue
            more = {name: str(value) for name, value in fields.items() if isinstance(value, str | int | float)}
            rows.append(Row(where, file.parent, more | read | {"split": key}))
            silent += [] if read["text"] else [where]
    if silent:
        warnings.warn(f"{file}: {len(silent)} entries have no text: {listed(silent)}", stacklevel=4)
    every = {name: "" for row in rows for name in row.cells}  # a batch has the same fields of all its items
    return [row._replace(cells=every | row.cells) for row in rows]

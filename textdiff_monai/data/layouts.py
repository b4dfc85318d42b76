"""Datasets in their layouts as MONAI data lists, and anything with pictures or volumes as images to segment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textdiff_monai.data.decathlon import data_list_rows, data_lists_in
from textdiff_monai.data.dicom.series import scans_in
from textdiff_monai.data.items import SPLIT_NAMES, SPLITS, images_to_read, labelled_items, with_ids
from textdiff_monai.data.lvit import is_lvit, lvit_rows
from textdiff_monai.data.names import files_in, is_dicom, is_picture, series_of
from textdiff_monai.data.problems import DataError, listed
from textdiff_monai.data.results import is_results
from textdiff_monai.data.tables import TABLES, Row, read_table, tables_in

_COLUMNS = ("image", "mask", "text", "split")
_TO_SEGMENT = "an image, a folder of images, a table or a dataset"
FURTHER_TEXT = re.compile(r"text_\d+")  # columns of other wordings


def load_datalist(
    dataset_dir: str | Path, split: str | None = None, columns: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Read names and captions of a dataset in any layout; the files are opened by :func:`check_datalist`.

    A table: CSV, TSV or XLSX with the columns ``image``, ``mask``, ``text`` and ``split``, given itself or as the only
    one of a folder. Paths in it are relative to its folder or to ``images/`` and ``masks/`` there, or absolute. A
    caption may be empty. ``split`` is train, val (or validation) or test. Several rows may have the same image, with a
    sentence and a mask each: they are items of their own.

    MONAI's data list: a JSON file with ``training``, ``validation`` and ``test``, given itself or as the only one of a
    folder without a table; see :func:`monai.data.load_decathlon_datalist`. Each entry has ``image``, ``label`` and
    ``text``.

    LViT's layout: see :func:`~textdiff_monai.data.lvit.lvit_rows`.

    Args:
        dataset_dir: the folder, or the file.
        split: return only this split; the whole dataset must be in order all the same.
        columns: names that the file has instead of those above, by those: ``{"image": "file"}``; further wordings too:
            ``{"text": "report", "text_2": "summary"}``.

    Returns:
        Items with the keys ``image``, ``label`` (paths), ``text``, ``id`` (the image's file stem, made unique in the
        dataset), ``split``, and further columns of the table under their names; in the order train, val, test and in
        each by image, then as they stand.

    Raises:
        DataError: listing everything that is missing, unknown, without its counterpart, or has two masks for the same
            image and sentence. Rows without a mask or without a sentence and repeated ones are warned of, and in
            the LViT layout captions without an image.
    """
    root, problems = Path(dataset_dir), list[str]()
    if split is not None and split not in SPLIT_NAMES:
        raise DataError(root, [f"{root}: split {split!r} is unknown; use one of {', '.join(SPLITS)}"])
    items = labelled_items(_rows(root, _COLUMNS, problems, columns), problems)
    if problems:
        raise DataError(root, problems)
    items.sort(key=lambda item: (list(SPLITS).index(item["split"]), item["image"]))
    return [item for item in with_ids(items) if split is None or item["split"] == SPLIT_NAMES[split]]


def load_images(
    source: str | Path,
    text: str | Sequence[str] = "",
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    out: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Images to segment, with their sentences, or to learn from; no masks are needed.

    Args:
        source: an image or a volume, a folder of them (and folders, linked ones too, but those of results), where DICOM
            series are taken together, a table with the column ``image`` and, if wanted, ``text``, or a dataset as
            :func:`load_datalist` takes it.
        text: the sentence, or several, for every image that has none of its own.
        split: of a source that has splits, return only this one.
        columns: as in :func:`load_datalist`.
        out: the folder that results will be written into.

    Returns:
        Items with the keys ``image``, ``text``, ``id`` and ``split`` where there is one, in the order of the table or
        of the names.

    Raises:
        DataError: for a source that does not exist or has no images, or a table without the column ``image``.
        ValueError: for results among the images.
    """
    root, problems = Path(source), list[str]()
    if not series_of(root)[0].exists():
        raise DataError(root, [f"{root}: does not exist; give {_TO_SEGMENT}"])
    if series_of(root)[1] or (root.is_file() and (is_picture(root) or is_dicom(root))):
        rows = [Row(str(root), Path(), {"image": str(root)})]
    elif root.is_dir() and not _has_layout(root):
        rows = [Row(path, Path(), {"image": path}) for path in scans_in(files_in(root, is_results))]
    else:
        rows = _rows(root, ("image",), problems, columns)
    items = images_to_read(rows, problems)
    if problems:
        raise DataError(root, problems)
    if split is not None and any("split" in item for item in items):
        items = [item for item in items if item.get("split") == SPLIT_NAMES[split]]
    if not items:
        raise DataError(root, [f"{root}: has no images; give {_TO_SEGMENT}"])
    images = {series_of(item["image"])[0] for item in items}
    folders = {series_of(root)[0], *(image if image.is_dir() else image.parent for image in images)}
    if out is not None and os.path.isdir(out) and any(folder.samefile(out) for folder in folders):
        what = "contains the images, and the next run would read the results table as input"
        raise ValueError(f"{out}: {what}; choose another folder for results")
    texts = [text] if isinstance(text, str) else list(text) or [""]
    return with_ids(item | {"text": one} for item in items for one in ([item["text"]] if item["text"] else texts))


def _has_layout(folder: Path) -> bool:
    return is_lvit(folder) or bool(tables_in(folder) or data_lists_in(folder))


def _rows(root: Path, required: tuple[str, ...], problems: list[str], columns: Mapping[str, str] | None) -> list[Row]:
    columns = {name.strip().lower(): str(theirs) for name, theirs in (columns or {}).items()}
    texts = tuple(name for name in columns if name == "text" or FURTHER_TEXT.fullmatch(name))
    if unknown := sorted(columns.keys() - set(_COLUMNS) - set(texts)):
        known = f"{', '.join(_COLUMNS)}, text_2"
        raise DataError(root, [f"columns: {listed(unknown)} is not one of {known}; write 'image': 'NAME'"])
    if not root.exists():
        raise DataError(root, [f"{root}: does not exist; give a table, or a folder with one"])
    if is_lvit(root):
        return lvit_rows(root, problems, columns)
    files = [root] if root.is_file() else tables_in(root) or data_lists_in(root)
    if len(files) != 1:
        found = f"has {len(files)} tables ({listed(file.name for file in files)})" if files else "has no table"
        fix = f"give a table ({', '.join(TABLES)}), a data list (.json), a folder with just one, or LViT's layout"
        raise DataError(root, [f"{root}: {found}; {fix}"])
    if files[0].suffix.lower() == ".json":
        return data_list_rows(files[0], problems, columns)
    return read_table(files[0], required + texts, problems, columns)

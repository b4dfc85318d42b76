# SPDX-License-Identifier: Apache-2.0
"""Turn a dataset folder into a MONAI data list, and check all its files before any work is spent."""

from __future__ import annotations

import csv
import os
import random
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

import openpyxl  # type: ignore[import-untyped, unused-ignore]

SPLITS = {"train": "Train_Folder", "val": "Val_Folder", "test": "Test_Folder"}
_SPLIT_NAMES = {**{split: split for split in SPLITS}, "valid": "val", "validation": "val"}
NIFTI = (".nii.gz", ".nii")
_ENDINGS = (*NIFTI, ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm")


class DataError(ValueError):
    """All that is wrong with a dataset: ``problems`` holds every ``<file>: <what>; <fix>``, the message 50 at most."""

    def __init__(self, where: str | Path, problems: Sequence[str], shown: int = 50) -> None:
        self.problems = list(problems)
        lines = [f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in {where}:"]
        lines += [f"- {problem}" for problem in problems[:shown]]
        lines += [f"... and {len(problems) - shown} more"] if len(problems) > shown else []
        super().__init__("\n".join(lines))


def load_datalist(dataset_dir: str | Path, split: str | None = None) -> list[dict[str, str]]:
    """Read names and captions of a dataset in either layout; the files are opened by :func:`check_datalist`.

    CSV layout: a table with the columns ``image``, ``mask``, ``text`` and ``split``, given itself or as the only
    ``*.csv`` of a folder. Paths in it are relative to its folder or to ``images/`` and ``masks/`` there, or absolute.
    A caption may be empty. ``split`` is train, val (or valid, validation) or test.

    LViT layout (Li et al., IEEE TMI 2023), taken if any of its ``{Train,Val,Test}_Folder`` is there: each holds
    ``img/``, ``labelcol/`` and ``{Train,Val,Test}_text.xlsx`` with the columns ``Image`` and ``Description``. Masks
    and table rows are named like the image, with any extension, with or without ``mask_`` before it (QaTa-COV19).

    Args:
        dataset_dir: the folder, or the CSV file.
        split: return only this split; the whole dataset must be in order all the same.

    Returns:
        Items with the keys ``image``, ``label`` (paths), ``text``, ``id`` (the image's file stem) and ``split``,
        in the order train, val, test and by ``id`` in each.

    Raises:
        DataError: listing everything that is missing, unknown, without its counterpart, or claimed twice in a split.
            Only captions without an image are no error in the LViT layout; a warning names them.
    """
    root = Path(dataset_dir)
    problems: list[str] = []
    if split is not None and split not in _SPLIT_NAMES:
        raise DataError(root, [f"{root}: split {split!r} is unknown; ask for one of {', '.join(SPLITS)}"])
    tables = [root] if root.is_file() else sorted(root.glob("*.csv"))
    if any((root / folder).is_dir() for folder in SPLITS.values()):
        items = _load_lvit(root, problems)
    elif len(tables) == 1:
        items = _load_csv(tables[0], problems)
    else:
        found = f"has {len(tables)} CSV files and no Train_Folder or the like" if root.exists() else "does not exist"
        raise DataError(root, [f"{root}: {found}; give a CSV file, a folder with exactly one, or an LViT folder"])
    if problems:
        raise DataError(root, problems)
    items.sort(key=lambda item: (list(SPLITS).index(item["split"]), item["id"]))
    return [item for item in items if split is None or item["split"] == _SPLIT_NAMES[split]]


def draw_labelled(
    items: Sequence[Mapping[str, str]], count: int | None = None, seed: int = 0
) -> list[Mapping[str, str]]:
    """``count`` of the items at random, the same for the same seed; None takes all.

    Smaller counts with the same seed give subsets of larger ones, so that they can be compared.
    """
    if count is None:
        return list(items)
    if not 0 < count <= len(items):
        raise ValueError(f"{count} labelled images asked for, of {len(items)} in the training split")
    return random.Random(seed).sample(list(items), len(items))[:count]


def load_images(source: str | Path, text: str = "") -> list[dict[str, str]]:
    """Images to segment, with their sentences; no masks are needed.

    Args:
        source: an image, a folder of images, a CSV file with the columns ``image`` and, if wanted, ``text``, or a data
            set as :func:`load_datalist` takes it.
        text: the sentence for every image that has none of its own.

    Returns:
        Items with the keys ``image``, ``text`` and ``id``, in the order of the table or of the names.

    Raises:
        DataError: for a source that does not exist or has no images, or a table without the column ``image``.
    """
    root = Path(source)
    tables = sorted(root.glob("*.csv")) if root.is_dir() else [root] if root.suffix.lower() == ".csv" else []
    if any((root / folder).is_dir() for folder in SPLITS.values()):
        found = [(Path(item["image"]), item["text"]) for item in load_datalist(root)]
    elif tables:
        problems: list[str] = []
        rows = _read_table(tables[0], ["image"], problems)
        if rows is None:
            raise DataError(root, problems)
        places = [_places(tables[0].parent, row["image"], "images") for _, row in rows]
        found = [
            (next(filter(Path.is_file, at), at[0]), row.get("text", ""))
            for at, (_, row) in zip(places, rows, strict=True)
        ]
    else:
        paths = sorted(root.rglob("*")) if root.is_dir() else [root]
        found = [(path, "") for path in paths if is_picture(path)]
    if not found or not root.exists():
        what = "has no images" if root.exists() else "does not exist"
        raise DataError(root, [f"{root}: {what}; give an image, a folder of images, a CSV file or a data set"])
    return [{"image": str(path), "text": own or text, "id": stem_of(path.name)} for path, own in found]


def is_picture(path: Path) -> bool:
    """Whether the name is that of an image file that can be read; hidden files are none."""
    return path.name.lower().endswith(_ENDINGS) and not path.name.startswith(".")


def _load_csv(table: Path, problems: list[str]) -> list[dict[str, str]]:
    items: list[dict[str, str]] = []
    first_rows: dict[tuple[str, str], int] = {}
    for number, row in _read_table(table, ("image", "mask", "text", "split"), problems) or []:
        where, files = f"{table.name} row {number}", {}
        if row[""]:  # shifted cells would only lead to misleading problems
            problems.append(f"{where}: more cells than the header has; put captions with commas in double quotes")
            continue
        for column in ("image", "mask"):
            places = _places(table.parent, row[column], f"{column}s")
            found = [place for place in places if os.path.isfile(place)]  # False for odd names too
            if found:
                files[column] = found[0]
            elif row[column]:
                looked = " or ".join(dict.fromkeys(map(str, places)))
                problems.append(f"{where}: {column} {row[column]!r} does not exist; put it at {looked}")
            else:
                problems.append(f"{where}: the {column} is empty; name its file or delete the row")
        split = _SPLIT_NAMES.get(row["split"].lower(), "")
        if not split:
            problems.append(f"{where}: split {row['split']!r} is unknown; write one of {', '.join(SPLITS)}")
        if len(files) < 2 or not split:
            continue
        if files["image"].samefile(files["mask"]):
            problems.append(f"{where}: image and mask are both {files['image']}; name the mask with its folder")
        items.append(_item(files["image"], files["mask"], row["text"], split))
        first = first_rows.setdefault((split, items[-1]["id"]), number)
        if first != number:
            problems.append(f"{where}: {items[-1]['id']!r} of {split} is in row {first} too; delete or rename one")
    return items


def _places(folder: Path, name: str, subfolder: str) -> list[Path]:
    """Where a file that a table names may lie."""
    return [folder / name, folder / subfolder / name]


def _load_lvit(root: Path, problems: list[str]) -> list[dict[str, str]]:
    items: list[dict[str, str]] = []
    for split, folder in SPLITS.items():
        images_at, masks_at = root / folder / "img", root / folder / "labelcol"
        table = root / folder / folder.replace("_Folder", "_text.xlsx")
        missing = [path for path in (images_at, masks_at, table) if not path.exists()]
        if missing:
            if (root / folder).is_dir():
                problems += [f"{path}: is missing; add it, or remove {folder}" for path in missing]
            continue
        masks, captions = _files_by_stem(masks_at), dict[str, dict[str, str]]()
        rows = _read_table(table, ("image", "description"), problems)
        for number, row in rows or []:
            if row["description"]:
                captions.setdefault(stem_of(row["image"]), {})[f"row {number}"] = row["description"]
        for stem, images in _files_by_stem(images_at).items():
            own_masks, own_captions = ({**d.pop(stem, {}), **d.pop(f"mask_{stem}", {})} for d in (masks, captions))
            image, mask, text = (next(iter(own.values()), "") for own in (images, own_masks, own_captions))
            claims = [("image file", images, images_at), ("mask", own_masks, masks_at)]
            claims += [("caption", own_captions, table)] if rows is not None else []
            for noun, own, place in claims:
                if len(own) != 1:
                    count = f"{len(own)} {noun}s ({listed(own)})" if own else f"no {noun}"
                    problems.append(f"{image}: has {count}; it needs exactly one in {place}")
            items.append(_item(Path(image), Path(mask), text, split))
        for mask in (path for paths in masks.values() for path in paths.values()):
            problems.append(f"{mask}: is a mask without an image; add the image to {images_at} or remove the mask")
        if captions:
            names = listed([stem or next(iter(rows_of)) for stem, rows_of in captions.items()])
            warnings.warn(f"{table}: {len(captions)} captions have no image and are left out: {names}", stacklevel=3)
    return items


def _item(image: Path, mask: Path, text: str, split: str) -> dict[str, str]:
    return {"image": str(image), "label": str(mask), "text": text, "id": stem_of(image.name), "split": split}


def stem_of(name: str) -> str:
    """The file name less a known ending: a table may leave that out, and other dots belong to the name."""
    name = PurePath(name).name
    return next((name[: -len(ending)] for ending in _ENDINGS if name.lower().endswith(ending)), name)


def _files_by_stem(folder: Path) -> dict[str, dict[str, str]]:
    files: dict[str, dict[str, str]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.lower().endswith(_ENDINGS) and not path.name.startswith("."):  # "._x.png" is left by macOS
            files.setdefault(stem_of(path.name), {})[path.name] = str(path)
    return files


def listed(names: Iterable[str], shown: int = 10) -> str:
    names = list(names)
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _read_table(path: Path, columns: Sequence[str], problems: list[str]) -> list[tuple[int, dict[str, str]]] | None:
    """Rows as (row number, cell by lower-case header, cells beyond the header under ""); None if it is unusable."""
    try:
        if path.suffix.lower() == ".xlsx":
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # some writers store a wrong size, which would hide cells
            cells = list(sheet.iter_rows(values_only=True))
            book.close()
        else:
            with path.open(newline="", encoding="utf-8-sig") as file:
                cells = list(csv.reader(file))
    except Exception as error:  # a damaged workbook fails in many ways
        problems.append(f"{path}: cannot be read ({error!r}); save it again, a CSV as UTF-8")
        return None
    table = [["" if cell is None else str(cell).strip() for cell in row] for row in cells] or [[]]
    header = [name.lower() for name in table[0]]
    missing = [column for column in columns if column not in header]
    if missing:
        problems.append(f"{path}: no column {', '.join(missing)} in the first row ({' | '.join(header)}); add it there")
        return None
    rows = [(number, row) for number, row in enumerate(table[1:], 2) if any(row)]
    empty, end = dict.fromkeys(header, ""), len(header)  # a row may be shorter than the header
    return [(number, {**empty, **dict(zip(header, row, strict=False)), "": "".join(row[end:])}) for number, row in rows]

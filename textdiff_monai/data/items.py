"""Items: an image and a sentence, with the mask that the two have. What is trained on, evaluated and segmented."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from textdiff_monai.data.names import Listings, series_of, stem_of
from textdiff_monai.data.problems import listed, quoted
from textdiff_monai.data.tables import Row
from textdiff_monai.language.lexicon import PATIENT

SPLITS = {"train": "Train_Folder", "val": "Val_Folder", "test": "Test_Folder"}
SPLIT_NAMES = {**{split: split for split in SPLITS}, "valid": "val", "validation": "val"}
SPLIT_NAMES |= {"training": "train", "testing": "test"}
_LONGEST = 200  # bytes of a name, of 255 that file systems allow: results add to it
_KEYS = ("image", "label", "text", "id", "split", "mask", "slice")  # which items have of their own


def labelled_items(rows: Sequence[Row], problems: list[str]) -> list[dict[str, str]]:
    """Items with ``image``, ``label``, ``text`` and ``split``, and what else the rows say, in their order.

    Rows without a mask are left out with a warning, as long as others have one. So are those that repeat an image, a
    sentence and a mask; the same image and sentence with another mask is a problem, wherever one reads the two. Rows
    without a sentence are warned of too.
    """
    items, first = list[dict[str, str]](), dict[tuple[str, ...], Row]()
    unlabelled, repeated, silent = list[str](), list[str](), list[str]()
    some, files = any(row.cells["mask"] for row in rows), Listings()
    for row in rows:
        image, split = _file(row, "image", files, problems), SPLIT_NAMES.get(row.cells["split"].lower(), "")
        if not split:
            problem = f"split {quoted(row.cells['split'])} is unknown; use one of {', '.join(SPLITS)}"
            problems.append(f"{row.where}: {problem}")
        if some and not row.cells["mask"]:
            unlabelled.append(row.where)
            continue
        mask = _file(row, "mask", files, problems)
        if not (image and mask and split):
            continue
        if image == mask or (os.path.exists(image) and os.path.exists(mask) and os.path.samefile(image, mask)):
            problems.append(f"{row.where}: image and mask are both {image}; name the mask with its folder")
        words = " ".join(row.cells["text"].lower().split())
        before = first.setdefault((split, image, words, row.cells.get("slices", "")), row)
        if before is row:
            items.append({"image": image, "label": mask, "text": row.cells["text"], "split": split} | _more(row))
            silent += [] if words else [row.where]
        elif _file(before, "mask", files, []) == mask and before.cells.get("value") == row.cells.get("value"):
            repeated.append(row.where)
        else:
            problems.append(
                f"{row.where}: has the image and sentence of {before.where} but another mask; say in the sentences "
                "what each mask shows, or merge the masks"
            )
    for wheres, what in (
        (unlabelled, "have no mask and are left out"),
        (repeated, "repeat the image, sentence and mask of other rows and are left out"),
        (silent, "have no sentence, and are read with an empty one"),
    ):
        if wheres:
            warnings.warn(f"{len(wheres)} rows {what}: {listed(wheres)}", stacklevel=3)
    return items


def images_to_read(rows: Sequence[Row], problems: list[str]) -> list[dict[str, str]]:
    """Items with ``image``, ``text``, where the rows have one ``split``, and what else they say, in their order."""
    items, files = [], Listings()
    for row in rows:
        image, text = _file(row, "image", files, problems), row.cells.get("text", "")
        split = SPLIT_NAMES.get(row.cells.get("split", "").lower(), "")
        if image:
            items.append({"image": image, "text": text} | ({"split": split} if split else {}) | _more(row))
    return items


def _more(row: Row) -> dict[str, str]:
    """What a row says in columns of its own."""
    return {name: cell for name, cell in row.cells.items() if name and name not in _KEYS}


def _file(row: Row, column: str, files: Listings, problems: list[str]) -> str:
    """The file that a row names, beside its table or in ``images/`` or ``masks/`` there; "" with a problem if none."""
    name = row.cells[column]
    if not name:
        problems.append(f"{row.where}: the {column} is empty; enter its file or delete the row")
        return ""
    names = [name, PureWindowsPath(name).as_posix()] if "\\" in name else [name]
    places = [Path(os.path.normpath(row.folder / folder / each)) for each in names for folder in ("", f"{column}s")]
    # False for odd names too; a folder may be a DICOM series.
    exact = next((place for place in places if os.path.isfile(place) or os.path.isdir(series_of(place)[0])), None)
    found = [exact] if exact else list(dict.fromkeys(file for place in places for file in files.like(place)))
    if len(found) == 1:
        return str(found[0])
    what, fix = "does not exist", f"put it at {' or '.join(dict.fromkeys(map(str, places[-2:])))}"
    if found:
        what, fix = f"could be any of {listed(map(str, found))}", "write which one"
    elif quoted(name) != repr(name):
        fix = "write the name of a file there"
    problems.append(f"{row.where}: {column} {quoted(name)} {what}; {fix}")
    return ""


def with_ids(items: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """The items, each with an ``id`` that no other of them has and that can name a file.

    It is the stem of the image's file; where several images have the same, with as many folders before it as tell them
    apart, and with its ending where that alone does; and with a number from an image's second item on. Upper and lower
    case do not tell names apart, as on many file systems.
    """
    named: list[dict[str, Any]] = [dict(item) for item in items]
    names = _names_of(list(dict.fromkeys(item["image"] for item in named)))
    taken, used = {name.casefold() for name in names.values()}, set[str]()
    for item in named:
        item["id"] = name = names[item["image"]]
        number = 2
        while item["id"] in used or (item["id"] != name and item["id"].casefold() in taken):
            item["id"] = f"{name}_{number}"
            number += 1
        used.add(item["id"])
    return named


def _names_of(images: Sequence[str]) -> dict[str, str]:
    paths = {image: PurePath(os.path.abspath(image)) for image in images}
    top = PurePath(os.path.commonpath([path.parent for path in paths.values()])) if paths else PurePath()
    clashes: dict[str, list[str]] = {}
    for image in images:
        clashes.setdefault(stem_of(image).casefold(), []).append(image)
    names, taken = {image: stem_of(image) for image in images}, set[str]()
    for same in clashes.values():
        if len(same) > 1:
            names |= _told_apart({image: paths[image].relative_to(top) for image in same})
    for image, whole in names.items():  # what is told apart by folders may be another's stem
        name = names[image] = whole.encode()[:_LONGEST].decode(errors="ignore")
        number = 2
        while names[image].casefold() in taken:
            names[image] = f"{name}_{number}"
            number += 1
        taken.add(names[image].casefold())
    return names


def _told_apart(paths: Mapping[str, PurePath]) -> dict[str, str]:
    deepest = max(len(path.parts) for path in paths.values())
    for depth in range(2, deepest + 1):
        names = {image: "_".join([*path.parts[-depth:-1], stem_of(path)]) for image, path in paths.items()}
        if len({name.casefold() for name in names.values()}) == len(names):
            return names
    return {image: "_".join(path.parts).replace(".", "_") for image, path in paths.items()}


def patient_of(item: Mapping[str, Any]) -> str:
    """Whose image it is, by a column ``patient`` or ``subject``; "" where nothing says so."""
    return next((str(item[name]) for name in PATIENT if item.get(name)), "")


def draw_labelled(
    items: Sequence[Mapping[str, Any]], count: int | None = None, seed: int = 0, unit: str = "images"
) -> list[Mapping[str, Any]]:
    """Items of ``count`` images at random, all of an image's rows, the same for the same seed; None takes all.

    Smaller counts with the same seed give subsets of larger ones, so that they can be compared.

    Args:
        items: of the training split.
        count: of images, or of items.
        seed: of the choice.
        unit: what is counted: "images", or "rows" for items whatever their images.
    """
    if unit not in ("images", "rows"):
        raise ValueError(f"count is {unit!r}: expected 'images' or 'rows'")
    if count is None:
        return list(items)
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for index, item in enumerate(items):
        groups.setdefault(item["image"] if unit == "images" else index, []).append(item)
    if not 0 < count <= len(groups):
        raise ValueError(f"num_labelled is {count}, but the training split has only {len(groups)} {unit}")
    return [item for group in random.Random(seed).sample(list(groups.values()), len(groups))[:count] for item in group]

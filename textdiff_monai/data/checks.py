"""Opening every file of a data list before any work is spent, and saying all that is wrong at once."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.data.alignment import apart
from textdiff_monai.data.items import SPLITS, patient_of
from textdiff_monai.data.masks import class_indices, open_mask
from textdiff_monai.data.names import stem_of
from textdiff_monai.data.problems import DataError, listed
from textdiff_monai.data.readers import open_scan
from textdiff_monai.data.scan import Picture, Scan, slice_numbers


@dataclass
class _Found:
    """What an image and its masks gave: problems, what the image is known by, and what is worth a warning."""

    problems: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    even: bool = False
    identity: bool = False
    classes: set[int] = field(default_factory=set)
    values: set[str] = field(default_factory=set)


def check_datalist(
    items: Sequence[Mapping[str, Any]],
    num_classes: int = 2,
    progress: bool = True,
    require: Sequence[str] = (),
    mask_colours: Mapping[Any, int] | None = None,
    plane: str | None = None,
) -> None:
    """Open every file of a data list, so that no later work can stop on one of them.

    Warned of are images of one value everywhere or with the identity as affine, classes that no mask has (no training
    mask, if there are such), foregrounds of differing values where there is one class, and patients (by a column
    ``patient`` or ``subject``) with images in several splits.

    Args:
        items: as from :func:`load_datalist`; one without a ``label`` is an unlabelled image.
        num_classes: with 2, masks hold 0 and one other value (1 or 255); with more, 0..num_classes-1.
        progress: show a progress bar on stderr.
        require: splits that must hold at least one item.
        mask_colours: classes by colour, for masks that are pictures; see :func:`~textdiff_monai.class_indices`.
        plane: that volumes are cut along.

    Raises:
        DataError: listing unreadable files, masks unlike their image in size or place, masks with other values or
            colours, images in two splits (by path, content or, in the LViT layout, name), and splits without items.
    """
    problems = _missing_splits(items, require)
    if not items and not problems:
        problems.append("data list: has no items; add images, or choose another split")
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in items:  # an image is opened once, however many rows it has
        groups.setdefault((item["image"], item.get("split", "")), []).append(item)
    seen: dict[tuple[str, str], Mapping[str, Any]] = {}
    even, identity, values, classes = list[str](), list[str](), Counter[str](), dict[str, set[int]]()
    with ThreadPoolExecutor(4) as pool, tqdm(None, "Checking data", len(items), disable=not progress) as bar:
        checks = pool.map(lambda group: (group, _check_image(group, num_classes, mask_colours, plane)), groups.values())
        for group, found in checks:
            bar.update(len(group))
            item = group[0]
            problems += found.problems
            even += [item["image"]] if found.even else []
            identity += [item["image"]] if found.identity else []
            values.update(found.values)
            if any(member.get("label") for member in group):
                classes.setdefault(item.get("split", ""), set()).update(found.classes)
            firsts = [(reason, seen.setdefault((reason, key), item)) for reason, key in found.keys.items()]
            leaks = [(reason, first) for reason, first in firsts if first.get("split") != item.get("split")]
            for reason, first in leaks[:1]:
                there = f"is in {item.get('split')}, but has the {reason} of {first['image']} in {first.get('split')}"
                problems.append(f"{item['image']}: {there}; keep it in one split")
    if problems:
        raise DataError("the data list", problems)
    has = classes.get("train", set[int]().union(*classes.values()))
    if classes and (lacking := set(range(1, num_classes)) - has):
        where = "training mask" if "train" in classes else "mask"
        warnings.warn(f"no {where} has the class {listed(map(str, sorted(lacking)))}", stacklevel=2)
    if even:
        warnings.warn(f"{len(even)} images have the same value in every pixel: {listed(even)}", stacklevel=2)
    if identity:
        what = (
            "images have the identity as affine and are read that way: upside down if they were converted from pictures"
        )
        warnings.warn(f"{len(identity)} {what}: {listed(identity)}", stacklevel=2)
    if num_classes == 2 and mask_colours is None and len(values) > 1 and set(values) != {"1", "255"}:
        shown = listed(f"{value} ({count} images)" for value, count in values.most_common())
        warnings.warn(f"masks have different foreground values, all read as one class: {shown}", stacklevel=2)
    if shared := _shared_patients(items):
        warnings.warn(f"{len(shared)} patients have images in several splits, such as {listed(shared)}", stacklevel=2)


def check_column(items: Sequence[Mapping[str, Any]], group_by: str | None) -> None:
    """Whether all items have a column that they can be grouped by; None asks for none.

    Raises:
        ValueError: naming those that there are.
    """
    for item in items if group_by is not None else ():
        columns = [name for name in item if name not in ("image", "label")]
        if group_by not in columns:
            raise ValueError(f"group_by: the table has no column {group_by!r}; it has {listed(columns)}")


def readable(
    items: Sequence[Mapping[str, Any]], plane: str | None = None
) -> tuple[list[tuple[list[Mapping[str, Any]], int]], list[str]]:
    """Items by image, each with the number of its slices; and what is wrong with the others, which are left out.

    Of pictures the pixels are read, of volumes what describes them.
    """
    groups, left, problems = (
        dict[str, list[Mapping[str, Any]]](),
        list[tuple[list[Mapping[str, Any]], int]](),
        list[str](),
    )
    for item in items:
        groups.setdefault(item["image"], []).append(item)
    for image, own in groups.items():
        before = len(problems)
        scan = _opened(Path(image), "image", problems, partial(open_scan, image, plane))
        if scan is not None:
            problems += _slices_problems(own, len(scan), Path(image))
        if scan is not None and len(problems) == before:
            left.append((own, len(scan)))
    return left, problems


def _shared_patients(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """An image of each patient who is in several splits; who it is stays in the table."""
    first, shared = dict[str, Mapping[str, Any]](), dict[str, str]()
    for item in items:
        if (patient := patient_of(item)) and first.setdefault(patient, item).get("split") != item.get("split"):
            shared.setdefault(patient, str(item["image"]))
    return list(shared.values())


def _missing_splits(items: Sequence[Mapping[str, Any]], require: Sequence[str]) -> list[str]:
    counts, problems = Counter(item.get("split", "no split") for item in items), []
    for split in require:
        if not counts[split]:
            got = ", ".join(f"{name} ({count})" for name, count in counts.items())
            fix = f"put {split} in the split column of some rows, or add {SPLITS.get(split, split)}"
            problems.append(f"data list: no item is in the split {split}{f', only in: {got}' if got else ''}; {fix}")
    return problems


def _check_image(
    items: Sequence[Mapping[str, Any]], num_classes: int, mask_colours: Mapping[Any, int] | None, plane: str | None
) -> _Found:
    """An image and its items' masks; ``keys`` say by what it is the same image as another: path, name or content."""
    path, found = Path(items[0]["image"]), _Found()
    found.keys["path"] = str(path.resolve())
    if path.parent.name == "img" and path.parent.parent.name in SPLITS.values():
        found.keys["name"] = stem_of(path.name)
    scan, image = _read(path, "image", found.problems, partial(open_scan, path, plane))
    if image is not None:
        pixels = np.ascontiguousarray(image.pixels)
        found.even = bool((pixels == pixels.flat[0]).all())
        if not found.even:  # nothing is known of one empty picture by another
            found.keys["content"] = f"{pixels.shape} {pixels.dtype} {hashlib.sha256(pixels.data).hexdigest()}"
        found.identity = image.space is not None and image.space.known and np.array_equal(image.space.affine, np.eye(4))
        found.problems += _slices_problems(items, len(scan or ()), path)
    for label, value in dict.fromkeys((str(item.get("label") or ""), str(item.get("value") or "")) for item in items):
        if not label:
            continue
        mask = _read(
            Path(label), "mask", found.problems, partial(open_mask, label, scan, plane, str(path), value or None)
        )[1]
        if mask is None:
            continue
        if image is not None and (problem := apart(image, mask, path)):
            found.problems.append(f"{label}: {problem}")
        try:
            indices = class_indices(mask, num_classes, mask_colours, value or None)
            found.classes |= {index for index in range(1, num_classes) if (indices == index).any()}
            if indices.any() and mask.pixels.size == indices.size and not value:
                found.values.add(str(mask.pixels.flat[indices.argmax()]))
        except ValueError as error:
            found.problems.append(f"{label}: {error}")
    return found


def _slices_problems(items: Sequence[Mapping[str, Any]], count: int, path: Path) -> list[str]:
    """What is wrong with the slices that rows ask for."""
    problems = []
    for text in dict.fromkeys(str(item.get("slices") or "") for item in items):
        try:
            slice_numbers(text, count)
        except ValueError as error:
            problems.append(f"{path}: {error}; correct the slices")
    return problems


def _read(
    path: Path, noun: str, problems: list[str], opening: Callable[[], Scan]
) -> tuple[Scan | None, Picture | None]:
    found: list[Picture] = []

    def reading() -> Scan:
        scan = opening()
        found.append(scan.stack() if scan.is_stack else scan[0])
        return scan

    scan = _opened(path, noun, problems, reading)
    return scan, found[0] if scan is not None else None


def _opened(path: Path, noun: str, problems: list[str], opening: Callable[[], Scan]) -> Scan | None:
    try:
        return opening()
    except ValueError as error:
        problems.append(f"{path}: this {noun}: {error}")
    except Exception as error:  # Pillow and nibabel raise many kinds
        problems.append(f"{path}: this {noun} cannot be read ({error!r}); replace it or remove it from the table")
    return None

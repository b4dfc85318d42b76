"""Volumes as the slices that a network of pictures learns from."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from textdiff_monai.data.masks import classes_of
from textdiff_monai.data.readers import open_scan
from textdiff_monai.data.scan import slice_numbers


def slices_of(
    items: Sequence[Mapping[str, Any]],
    plane: str | None = None,
    per_volume: int | None = None,
    seed: int = 0,
    num_classes: int = 2,
    mask_colours: Mapping[Any, int] | None = None,
) -> list[Mapping[str, Any]]:
    """The items, those that are volumes as one item for each slice: with its number as ``slice``.

    Args:
        items: with ``image`` and ``label``; ``slices``, such as "10-20", says which the sentence is about.
        plane: that volumes are cut along, "axial", "coronal" or "sagittal"; None: as they were acquired.
        per_volume: so many slices of a volume, half of them with its target where there are as many, drawn at random
            and the same in every epoch, so that their features are computed once; None takes all.
        seed: of the choice.
        num_classes: of the masks.
        mask_colours: classes by colour, as of :func:`~textdiff_monai.class_indices`.

    Returns:
        New items in the order of the old; what cannot be opened stays as it is, for :func:`check_datalist` to tell.
    """
    found = list[Mapping[str, Any]]()
    for item in items:
        try:
            scan = open_scan(item["image"], plane)
            numbers: Iterable[int] = slice_numbers(str(item.get("slices") or ""), len(scan))
        except Exception:  # of many kinds, and told by the check
            found.append(item)
            continue
        if not scan.is_stack:
            found.append(item)
            continue
        if per_volume is not None:
            try:
                classes = classes_of(item, scan, plane, num_classes, mask_colours)
            except Exception:
                found.append(item)
                continue
            marked = set(np.flatnonzero(classes.any(axis=(0, 1))).tolist())
            numbers = _drawn(list(numbers), marked, per_volume, random.Random(f"{seed} {item.get('id')}"))
        found += [{**item, "slice": number, "id": f"{item['id']}_{number}"} for number in numbers]
    return found


def has_volumes(items: Sequence[Mapping[str, Any]], plane: str | None = None) -> bool:
    """Whether any of the images is one; what cannot be opened is none."""
    for image in dict.fromkeys(item["image"] for item in items):
        with contextlib.suppress(Exception):  # of many kinds, and told by the check
            if open_scan(image, plane).is_stack:
                return True
    return False


def _drawn(numbers: list[int], marked: set[int], count: int, chance: random.Random) -> list[int]:
    """So many, half of them marked, or as many as there are."""
    drawn = chance.sample(numbers, len(numbers))
    with_target, without = ([one for one in drawn if (one in marked) == has] for has in (True, False))
    half = max(count - count // 2, count - len(without))
    some = with_target[:half]
    return sorted(some + without[: count - len(some)])

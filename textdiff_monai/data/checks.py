"""Opening every file of a data list before any work is spent, and saying all that is wrong at once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.data.items import SPLITS
from textdiff_monai.data.names import NIFTI, stem_of
from textdiff_monai.data.problems import DataError, listed


def read_array(path: str | Path) -> np.ndarray:
    """Read a picture as (H, W[, C]), or a 2D NIfTI file of shape (W, H) or (W, H, 1) as (H, W).

    Raises:
        ValueError: if the file holds several pages or slices; Pillow and nibabel raise their own on damaged files.
    """
    if str(path).lower().endswith(NIFTI):
        array = np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined, unused-ignore]
        if array.size != np.prod(array.shape[:2]):
            raise ValueError(f"expected one 2D slice, got shape {array.shape}")
        return array.reshape(array.shape[:2]).T
    with Image.open(path) as picture:
        if getattr(picture, "n_frames", 1) != 1:
            raise ValueError("expected one picture, got several pages")
        array = np.asarray(picture)
    return array.astype(np.uint8) if array.dtype == bool else array


def check_datalist(
    items: Sequence[Mapping[str, str]], num_classes: int = 2, progress: bool = True, require: Sequence[str] = ()
) -> None:
    """Open every file of a data list, so that no later work can stop on one of them.

    Args:
        items: as from :func:`load_datalist`; one without a ``label`` is an unlabelled image.
        num_classes: with 2, masks hold 0 and one other value (1 or 255); with more, 0..num_classes-1.
        progress: show a progress bar on stderr.
        require: splits that must hold at least one item.

    Raises:
        DataError: listing unreadable files, masks unlike their image in size, masks with other values or differing
            channels, images in two splits (by path, content or, in the LViT layout, name), and splits without items.
    """
    problems = [] if items else ["data list: holds no items; add images, or ask for another split"]
    seen: dict[tuple[str, str], Mapping[str, str]] = {}
    with ThreadPoolExecutor(4) as pool:
        checks = pool.map(lambda item: (item, *_check_item(item, num_classes)), items)
        for item, found, keys in tqdm(checks, "Checking data", len(items), disable=not progress):
            problems += found
            firsts = [(reason, seen.setdefault((reason, key), item)) for reason, key in keys.items()]
            leaks = [(reason, first) for reason, first in firsts if first.get("split") != item.get("split")]
            for reason, first in leaks[:1]:
                there = f"is in {item.get('split')}, and by its {reason} in {first.get('split')} as {first['image']}"
                problems.append(f"{item['image']}: {there}; keep it in one split")
    counts = Counter(item.get("split", "no split") for item in items)
    for split in require:
        if not counts[split]:
            got = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none"
            fix = f"put {split} in the split column of some rows, or add {SPLITS.get(split, split)}"
            problems.append(f"data list: no item is of the split {split}, only of: {got}; {fix}")
    if problems:
        raise DataError("the data list", problems)


def _check_item(item: Mapping[str, str], num_classes: int) -> tuple[list[str], dict[str, str]]:
    """One item's problems, and by what it is the same image as another: {"path" | "name" | "content": key}."""
    problems: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    image, label = Path(item["image"]), item.get("label", "")
    keys = {"path": str(image.resolve())}
    if image.parent.name == "img" and image.parent.parent.name in SPLITS.values():
        keys["name"] = stem_of(image.name)
    for noun, path in (("image", str(image)), ("mask", label)):
        try:
            arrays.update({noun: read_array(path)} if path else {})
        except Exception as error:  # Pillow and nibabel raise many kinds
            problems.append(f"{path}: this {noun} cannot be read ({error!r}); replace it or take it off the list")
    if "image" in arrays:
        keys["content"] = hashlib.sha256(image.read_bytes()).hexdigest()
    if len(arrays) == 2 and arrays["image"].shape[:2] != arrays["mask"].shape[:2]:
        (height, width), (mask_height, mask_width) = (array.shape[:2] for array in arrays.values())
        sizes = f"expected {width} x {height} pixels like {image}, got {mask_width} x {mask_height}"
        problems.append(f"{label}: {sizes}; pair it with its own image or resize it without smoothing")
    if "mask" in arrays:
        problems += [f"{label}: {problem}" for problem in _mask_problems(arrays["mask"], num_classes)]
    return problems, keys


def _mask_problems(mask: np.ndarray, num_classes: int) -> list[str]:
    if mask.ndim > 2 and np.any(mask != mask[..., :1]):
        return [f"expected one channel or equal ones, got {mask.shape[2]} that differ; save it as a gray picture"]
    values = np.unique(mask)
    if num_classes == 2:
        expected, good = "0 and one other value", np.count_nonzero(values) <= 1 and np.isfinite(values).all()
    else:
        expected, good = f"integers 0..{num_classes - 1}", np.isin(values, range(num_classes)).all()
    fix = "relabel the mask or change num_classes"
    if len(values) > max(8, num_classes):
        fix = "this looks like JPEG or antialiasing (threshold it, save as PNG) or like object numbers (set them to 1)"
    return [] if good else [f"expected {expected}, got {listed([f'{value:.6g}' for value in values], 8)}; {fix}"]

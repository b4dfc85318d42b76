"""LViT's layout (Li et al., IEEE TMI 2023), in which QaTa-COV19 and MoNuSeg are published."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from textdiff_monai.data.items import SPLITS
from textdiff_monai.data.names import is_picture, stem_of
from textdiff_monai.data.problems import listed, quoted
from textdiff_monai.data.tables import TABLES, Row, read_table

_COLUMNS = {"image": "Image", "text": "Description"}


def is_lvit(root: Path) -> bool:
    """Whether a folder holds one of ``{Train,Val,Test}_Folder``."""
    return any((root / folder).is_dir() for folder in SPLITS.values())


def lvit_rows(root: Path, problems: list[str], columns: Mapping[str, str] | None = None) -> list[Row]:
    """Rows with image, mask, text and split of a folder in LViT's layout.

    Each of ``{Train,Val,Test}_Folder`` holds ``img/``, ``labelcol/`` and ``{Train,Val,Test}_text.xlsx`` (or ``.csv``,
    ``.tsv``) with the columns ``Image`` and ``Description``. Masks and table rows are named like the image, with any
    ending, with or without ``mask_`` before it (QaTa-COV19). An image with several captions has as many rows, one
    without a caption has an empty one. Captions without an image are warned of.
    """
    rows = list[Row]()
    for split, folder in SPLITS.items():
        images_at, masks_at = root / folder / "img", root / folder / "labelcol"
        missing = [path for path in (images_at, masks_at) if not path.is_dir()]
        if missing:
            if (root / folder).is_dir():
                problems += [f"{path}: is missing; add it, or remove {folder}" for path in missing]
            continue
        masks, captions = _files_by_stem(masks_at), _captions(root / folder, problems, columns)
        for stem, images in _files_by_stem(images_at).items():
            own = masks.pop(stem, []) + masks.pop(f"mask_{stem}", [])
            for noun, files, place in (("image file", images, images_at), ("mask", own, masks_at)):
                if len(files) != 1:
                    names = listed(path.name for path in files)
                    count = f"{len(files)} {noun}s ({names})" if files else f"no {noun}"
                    problems.append(f"{images[0]}: has {count}; it needs exactly one in {place}")
            texts = {text: None for name in (stem, f"mask_{stem}") for text in captions.pop(name, [])}
            cells = {"image": str(images[0]), "mask": str(next(iter(own), "")), "split": split}
            if own:
                rows += [Row(str(images[0]), root, cells | {"text": text}) for text in texts or [""]]
        for mask in (path for paths in masks.values() for path in paths):
            problems.append(f"{mask}: is a mask without an image; add the image to {images_at} or remove the mask")
        if captions:
            what = f"{len(captions)} captions have no image and are left out"
            warnings.warn(f"{root / folder}: {what}: {listed(map(quoted, captions))}", stacklevel=3)
    return rows


def _captions(folder: Path, problems: list[str], columns: Mapping[str, str] | None) -> dict[str, list[str]]:
    """Captions by the stem of the image; a split without a table has none."""
    name = folder.name.replace("_Folder", "_text")
    tables = [folder / (name + ending) for ending in reversed(TABLES) if (folder / (name + ending)).is_file()]
    captions: dict[str, list[str]] = {}
    for row in read_table(tables[0], ("image", "text"), problems, _COLUMNS | dict(columns or {})) if tables else []:
        if row.cells["text"]:
            captions.setdefault(stem_of(row.cells["image"]), []).append(row.cells["text"])
    return captions


def _files_by_stem(folder: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if is_picture(path):
            files.setdefault(stem_of(path), []).append(path)
    return files

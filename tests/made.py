"""Tiny files and tables that the tests of data make for themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
from PIL import Image

Row = Sequence[Any]


def save_image(path: Path, seed: int = 0, size: tuple[int, int] = (6, 4)) -> str:
    """An RGB picture of (width, height); another seed is another picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return str(path)


def save_mask(path: Path, values: Sequence[int] = (0, 255), size: tuple[int, int] = (6, 4)) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(values, np.uint8), (size[1], size[0]))).save(path)
    return str(path)


def save_csv(folder: Path, *lines: str, header: str = "image,mask,text,split", encoding: str = "utf-8") -> Path:
    """A folder with a table ``text.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.csv").write_text("\n".join([header, *lines]) + "\n", encoding=encoding)
    return folder


def save_xlsx(path: Path, *rows: Row, header: Row = ("Image", "Description")) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    for row in (header, *rows):
        book.worksheets[0].append(list(row))
    book.save(path)


def save_lvit(root: Path, name: str = "Train", stems: Sequence[str] = ("a", "b")) -> Path:
    """One split folder of the LViT layout; return it."""
    folder = root / f"{name}_Folder"
    for seed, stem in enumerate(stems):
        save_image(folder / "img" / f"{stem}.png", seed + 10 * len(name))
        save_mask(folder / "labelcol" / f"{stem}.png")
    save_xlsx(folder / f"{name}_text.xlsx", *((f"{stem}.png", f"Caption of {stem}.") for stem in stems))
    return folder


def save_pairs(folder: Path, names: Sequence[str] = ("a", "b", "c")) -> Path:
    """A folder with ``images`` and ``masks`` of these names."""
    for seed, name in enumerate(names):
        save_image(folder / "images" / f"{name}.png", seed)
        save_mask(folder / "masks" / f"{name}.png", [0] * (seed + 1) + [255])
    return folder

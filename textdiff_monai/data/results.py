"""A folder of results: files that never take the place of others, and a table that says what each is of."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from textdiff_monai.data.files import read_rows, write_rows
from textdiff_monai.data.pictures import overlay
from textdiff_monai.data.writers import PngWriter, writer_for

COLUMNS = ("id", "image", "text", "mask", "probability", "overlay", "doubt")
_RESULT = re.compile(r"(.+)_(?:mask|probability|overlay)\.(?:png|nii\.gz)", re.DOTALL)


class Results:
    """Masks of images and sentences in a folder, with a row of ``results.csv`` each.

    Files are named by the ``id`` of the item, and with a number where the folder holds files of that name for another
    image or sentence, or of anybody else. What was written for the same image and sentence before is replaced. The
    table can be used as data: its images are absolute paths, its files lie beside it.

    Args:
        folder: made when the first result comes.
        ending: of masks and probabilities, ".png" or ".nii.gz"; None takes that of the source's kind.
        pictures: write probabilities and overlays too, and masks of two classes so that they can be looked at: in a
            PNG the foreground is 255.

    Attributes:
        masks: paths of those that were written, in their order.

    Raises:
        ValueError: for another ending, or a ``results.csv`` in the folder that is something else.
    """

    def __init__(self, folder: str | Path, ending: str | None = None, pictures: bool = False) -> None:
        self.folder, self.ending, self.pictures = Path(folder), ending, pictures
        self.table, self.masks = self.folder / "results.csv", list[Path]()
        writer_for(Path(), ending)
        if self.table.exists() and not self.table.read_bytes().startswith(",".join(COLUMNS).encode()):
            raise ValueError(f"{self.table}: is no table of results; remove it or choose another folder")
        rows = read_rows(self.table)
        self._rows = {row["id"]: row for row in rows}
        self._before: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            self._before.setdefault((row["image"], row["text"]), []).append(row["id"])
        files = os.listdir(self.folder) if self.folder.is_dir() else []
        self._taken = {found[1].casefold() for file in files if (found := _RESULT.fullmatch(file))}

    def add(self, item: Mapping[str, Any], mask: np.ndarray, probabilities: np.ndarray, image: np.ndarray) -> Path:
        """Write what was found for an item.

        Args:
            item: with ``image`` (its path), ``text`` and ``id``; ``doubt`` says why the text may not be understood.
            mask: class indices (H, W), uint8, as the image is seen.
            probabilities: (classes, H, W) float32.
            image: (H, W, 3), 0 to 255, to draw the overlay on.

        Returns:
            The mask's path.
        """
        source, text = Path(os.path.abspath(item["image"])), str(item.get("text") or "")
        name, writer = self._name(str(source), text, str(item["id"])), writer_for(source, self.ending)
        row = dict.fromkeys(COLUMNS, "") | {"id": name, "image": str(source), "text": text}
        row["doubt"] = str(item.get("doubt") or "")
        row["mask"] = f"{name}_mask{writer.ending}"
        self.folder.mkdir(parents=True, exist_ok=True)
        bright = self.pictures and isinstance(writer, PngWriter) and len(probabilities) == 2
        writer.write(self.folder / row["mask"], mask * np.uint8(255) if bright else mask, source)
        if self.pictures:
            row |= {"probability": f"{name}_probability{writer.ending}", "overlay": f"{name}_overlay.png"}
            writer.write(self.folder / row["probability"], (1 - probabilities[0]).clip(0, 1), source)
            overlay(image, mask).save(self.folder / row["overlay"])
        self._tell(row)
        self.masks.append(self.folder / row["mask"])
        return self.masks[-1]

    def _name(self, source: str, text: str, name: str) -> str:
        """The name of earlier results for the same image and sentence, or one that nobody has."""
        if before := self._before.get((source, text)):
            return before.pop(0)
        number, new = 2, name
        while new.casefold() in self._taken:
            new, number = f"{name}_{number}", number + 1
        self._taken.add(new.casefold())
        return new

    def _tell(self, row: dict[str, Any]) -> None:
        before = self._rows.get(row["id"])
        self._rows[row["id"]] = row
        if before is not None and before != row:
            write_rows(self.table, list(self._rows.values()))
        elif before is None:
            new = not self.table.exists()
            with self.table.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS)
                if new:
                    writer.writeheader()
                writer.writerow(row)

"""A folder of results: files that never take the place of others, and a table that says what each is of."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.data.files import check_writable, read_rows, write_rows
from textdiff_monai.data.names import series_of
from textdiff_monai.data.outlines import write_outlines
from textdiff_monai.data.output import writer_for
from textdiff_monai.data.pictures import fullest, overlay
from textdiff_monai.data.slides.found import Found
from textdiff_monai.data.space import Space
from textdiff_monai.data.words import WordEffect, word_rows, word_sheet
from textdiff_monai.data.writers import Origin, PngWriter

COLUMNS = (
    *("id", "image", "text", "slices", "mask", "probability", "disagreement", "overlay", "outlines", "words"),
    *("pixels", "area_mm2", "volume_ml", "components", "mean_probability", "highest_probability", "mean_disagreement"),
    *("seconds", "doubt"),
)
_TABLE = "results.csv"
_FILES = ("mask", "probability", "disagreement", "overlay", "outlines", "words")
_RESULT = re.compile(
    r"(.+)_(?:mask|probability|disagreement|overlay|words)\.(?:png|csv|nii\.gz|dcm|geojson|ome\.tif)", re.DOTALL
)


def is_results(folder: Path) -> bool:
    """Whether a folder is one that :class:`Results` has written into."""
    table = folder / _TABLE
    return table.is_file() and table.read_bytes().startswith(",".join(COLUMNS).encode())


class Results:
    """Masks of images and sentences in a folder, with a row of ``results.csv`` each.

    Files are named by the ``id`` of the item, and with a number where the folder holds files of that name for another
    image or sentence, or of anybody else. What was written for the same image and sentence before is replaced. The
    table can be used as data: its images are absolute paths, its files lie beside it.

    Args:
        folder: made when the first result comes.
        output_type: of the masks, a name in ``textdiff_monai.data.output.WRITERS``; None: that of the image.
        pictures: write probabilities and overlays too, and masks of two classes so that they can be looked at: in a
            PNG the foreground is 255.
        class_names: background included.

    Attributes:
        masks: paths of those that were written, in their order.

    Raises:
        ValueError: for another type, or a ``results.csv`` in the folder that is something else.
        OSError: for a folder that cannot be written into.
    """

    def __init__(
        self,
        folder: str | Path,
        output_type: str | None = None,
        pictures: bool = False,
        class_names: Sequence[str] = ("background", "target"),
    ) -> None:
        self.folder, self.output_type, self.pictures = Path(folder), output_type, pictures
        self.table, self.masks, self.class_names = self.folder / _TABLE, list[Path](), tuple(class_names)
        writer_for(Origin(Path()), output_type)
        check_writable(self.folder)
        if self.table.exists() and not is_results(self.folder):
            raise ValueError(f"{self.table}: is not a table of results; remove it or choose another folder")
        rows = [row for row in read_rows(self.table) if None not in row.values()]
        if self.table.exists() and not self.table.read_bytes().endswith(b"\n"):  # cut off: the next would go on in it
            write_rows(self.table, rows) if rows else self.table.unlink()
        self._rows = {row["id"]: row for row in rows}
        self._before: dict[tuple[str, ...], list[str]] = {}
        for row in rows:
            self._before.setdefault((row["image"], row["text"], row["slices"]), []).append(row["id"])
        files = os.listdir(self.folder) if self.folder.is_dir() else []
        self._taken = {found[1].casefold() for file in files if (found := _RESULT.fullmatch(file))}

    def add(
        self,
        item: Mapping[str, Any],
        mask: np.ndarray,
        probabilities: np.ndarray,
        image: np.ndarray,
        space: Space | None = None,
        words: Sequence[WordEffect] = (),
        disagreement: np.ndarray | None = None,
    ) -> Path:
        """Write what was found for an item.

        Args:
            item: with ``image`` (its path), ``text`` and ``id``; ``slices`` that the text is about, ``seconds`` that it
                took, and ``doubt``, which says why the text may not be understood, where there are.
            mask: class indices (H, W), of a volume (H, W, slices), uint8, as the image is seen.
            probabilities: (classes, H, W) or (classes, H, W, slices) float32.
            image: (1 or 3, H, W) or (1 or 3, H, W, slices) in [-1, 1], to draw the overlay on.
            space: how the image lies.
            words: what each word of the text does, of a volume in the slice of which most is marked: a picture and,
                beside it, a table.
            disagreement: of several heads, like the mask, in [0, 1].

        Returns:
            The mask's path.
        """
        told = {name: str(item.get(name) or "") for name in ("text", "slices", "doubt")}
        of = Origin(Path(os.path.abspath(item["image"])), space, told["text"], self.class_names)
        name, writer = self._name((str(of.image), told["text"], told["slices"]), str(item["id"])), None
        writer = writer_for(of, self.output_type)
        row = dict.fromkeys(COLUMNS, "") | {"id": name, "image": str(of.image)} | told
        row["mask"] = f"{name}_mask{writer.ending}"
        foreground = 1 - probabilities[0]
        row |= figures(mask, foreground, space)
        if disagreement is not None and mask.any():
            row["mean_disagreement"] = f"{disagreement[mask > 0].mean():.4f}"
        if "seconds" in item:
            row["seconds"] = f"{item['seconds']:.3g}"
        self.folder.mkdir(parents=True, exist_ok=True)
        bright = self.pictures and isinstance(writer, PngWriter) and len(probabilities) == 2
        writer.write(self.folder / row["mask"], mask * np.uint8(255) if bright else mask, of)
        if self.pictures:
            grey = writer if writer.grey else writer_for(of)
            row |= {"probability": f"{name}_probability{grey.ending}", "overlay": f"{name}_overlay.png"}
            grey.write(self.folder / row["probability"], foreground.clip(0, 1), of)
            if disagreement is not None:
                row["disagreement"] = f"{name}_disagreement{grey.ending}"
                grey.write(self.folder / row["disagreement"], disagreement, of)
            overlay(*_shown(image, mask)).save(self.folder / row["overlay"])
        if words:
            row["words"] = f"{name}_words.png"
            shown, marked = _shown(image, mask)
            word_sheet(words, shown, marked).save(self.folder / row["words"])
            write_rows(self.folder / f"{name}_words.csv", word_rows(words, marked))
        self._tell(row)
        self.masks.append(self.folder / row["mask"])
        return self.masks[-1]

    def add_slide(
        self, item: Mapping[str, Any], found: Found, thumbnail: np.ndarray, mpp: tuple[float, float] | None
    ) -> Path:
        """Write what was found on a slide: a pyramidal OME-TIFF, outlines, and the whole to look at.

        Args:
            item: as of :meth:`add`.
            found: the mask.
            thumbnail: (h, w, 3), uint8, of the whole slide.
            mpp: micrometres between rows and columns, where they are known.
        """
        told = {name: str(item.get(name) or "") for name in ("text", "slices", "doubt")}
        of = Origin(Path(os.path.abspath(item["image"])), None, told["text"], self.class_names)
        name = self._name((str(of.image), told["text"], told["slices"]), str(item["id"]))
        row = dict.fromkeys(COLUMNS, "") | {"id": name, "image": str(of.image)} | told | found.figures(mpp)
        row |= {"mask": f"{name}_mask.ome.tif", "outlines": f"{name}_mask.geojson", "overlay": f"{name}_overlay.png"}
        row["seconds"] = f"{item['seconds']:.3g}"
        sizes = {} if mpp is None else {"PhysicalSizeY": mpp[0], "PhysicalSizeX": mpp[1]}
        units = {f"{size}Unit": "µm" for size in sizes}
        small = found.mosaic.save(self.folder / row["mask"], sizes | units)
        write_outlines(self.folder / row["outlines"], found.outlines(of.names))
        shown = Image.fromarray(thumbnail).resize(small.shape[::-1])
        overlay(np.asarray(shown), small).save(self.folder / row["overlay"])
        self._tell(row)
        self.masks.append(self.folder / row["mask"])
        return self.masks[-1]

    def keeps(self, item: Mapping[str, Any], since: float = 0.0) -> bool:
        """Whether the folder has an item's files, not older than its image and a time; they are then its results."""
        source = os.path.abspath(item["image"])
        key = (source, str(item.get("text") or ""), str(item.get("slices") or ""))
        oldest = max(since, series_of(source)[0].stat().st_mtime)
        for name in self._before.get(key, []):
            row = self._rows[name]
            files = [self.folder / row[kind] for kind in _FILES if row[kind]]
            if all(file.is_file() and file.stat().st_mtime >= oldest for file in files):
                self._before[key].remove(name)
                self.masks.append(files[0])
                return True
        return False

    def _name(self, key: tuple[str, ...], name: str) -> str:
        """The name of earlier results for the same image and sentence, or one that nobody has."""
        if before := self._before.get(key):
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


def figures(mask: np.ndarray, probability: np.ndarray, space: Space | None) -> dict[str, str]:
    """How much is marked, of whatever class, and how surely; areas and volumes where millimetres are known.

    Args:
        mask: (H, W) or (H, W, slices).
        probability: that a pixel is not background, of the same shape.
        space: how the image lies.
    """
    inside = mask > 0
    count = int(inside.sum())
    found = {"pixels": str(count), "components": str(ndimage.label(inside)[1])}
    found["mean_probability"] = f"{probability[inside].mean():.4f}" if count else ""
    found["highest_probability"] = f"{probability.max():.4f}"
    if space is not None and space.measured:
        rows, columns, slices = space.spacing
        if space.index is None:
            found["volume_ml"] = f"{count * rows * columns * slices / 1000:.6g}"
        else:
            found["area_mm2"] = f"{count * rows * columns:.6g}"
    return found


def _shown(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3), 0 to 255, and its mask: of a volume the slice of which most is marked, or the middle one."""
    if mask.ndim == 3:
        number = fullest(mask)
        image, mask = image[..., number], mask[..., number]
    return np.broadcast_to(image.transpose(1, 2, 0) * 127.5 + 127.5, (*mask.shape, 3)), mask

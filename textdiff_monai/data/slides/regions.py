"""Regions of slides: those that somebody drew, and those that were found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage  # type: ignore[import-untyped, unused-ignore]

Polygon = Sequence[Sequence[Sequence[float]]]


class Region(NamedTuple):
    """Polygons, each a ring and its holes, in pixels; and the sentence about what they enclose."""

    text: str
    polygons: list[Polygon]

    def mask(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Which pixels of a window lie inside (height, width), bool."""
        inside = np.zeros((height, width), bool)
        for rings in self.polygons:
            picture = Image.new("1", (width, height))
            draw = ImageDraw.Draw(picture)
            for number, ring in enumerate(rings):
                # Pillow fills pixels by their numbers; here a pixel's centre is half a pixel further.
                draw.polygon([(x - left - 0.5, y - top - 0.5) for x, y, *_ in ring], fill=int(not number))
            inside |= np.asarray(picture)
        return inside


def read_regions(path: str | Path) -> list[Region]:
    """The regions of a GeoJSON file as QuPath writes it: by sentence, which is the annotation's name.

    Raises:
        ValueError: for a file that is no GeoJSON of polygons.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        features = content["features"] if isinstance(content, Mapping) and "features" in content else content
        features = [features] if isinstance(features, Mapping) else features
        found: dict[str, list[Polygon]] = {}
        for feature in features:
            shape, told = feature["geometry"], feature.get("properties") or {}
            if shape["type"] not in ("Polygon", "MultiPolygon"):
                raise ValueError(f"{path}: expected polygons, got a {shape['type']}; draw areas")
            parts = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
            found.setdefault(str(told.get("name") or ""), []).extend(parts)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(f"{path}: is not a GeoJSON of polygons; export annotations from QuPath as GeoJSON") from None
    if not found:
        raise ValueError(f"{path}: has no regions; export annotations from QuPath as GeoJSON")
    return [Region(text, polygons) for text, polygons in found.items()]


class Components:
    """Connected regions of a mask that comes block by block, row by row of blocks; edges connect, corners don't."""

    def __init__(self) -> None:
        self._parents, self._boxes = [0], [(0, 0, 0, 0)]  # boxes: top, left, bottom, right
        self._seeds = [(0, 0)]
        # Edges of blocks by where their neighbours begin: last rows, and the last column of the block before.
        self._above: dict[tuple[int, int], np.ndarray] = {}
        self._before: dict[tuple[int, int], np.ndarray] = {}

    def add(self, top: int, left: int, mask: np.ndarray) -> None:
        """A block (h, w) of the mask."""
        labels, _ = ndimage.label(mask)
        numbers = labels.astype(np.int64) + (labels > 0) * (len(self._parents) - 1)
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
            y, x = np.argwhere(labels[rows, columns] == number)[0]
            self._seeds.append((top + rows.start + int(y), left + columns.start + int(x)))
            self._boxes.append((top + rows.start, left + columns.start, top + rows.stop, left + columns.stop))
            self._parents.append(len(self._parents))
        for edges, edge in ((self._above, numbers[0]), (self._before, numbers[:, 0])):
            if (other := edges.pop((top, left), None)) is not None:
                self._join(other, edge)
        height, width = mask.shape
        self._above[top + height, left] = numbers[-1]
        self._before = {(top, left + width): numbers[:, -1]}

    def _join(self, one: np.ndarray, other: np.ndarray) -> None:
        both = (one > 0) & (other > 0)
        for first, second in {(int(a), int(b)) for a, b in zip(one[both], other[both], strict=True)}:
            roots = sorted({self._root(first), self._root(second)})
            self._parents[roots[-1]] = roots[0]

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def __iter__(self) -> Iterator[tuple[tuple[int, int, int, int], tuple[int, int]]]:
        """Each region's box (top, left, bottom, right) and one of its pixels (row, column)."""
        boxes: dict[int, Any] = {}
        for number in range(1, len(self._parents)):
            boxes.setdefault(self._root(number), []).append(self._boxes[number])
        for root, own in boxes.items():
            tops, lefts, bottoms, rights = zip(*own, strict=True)
            yield (min(tops), min(lefts), max(bottoms), max(rights)), self._seeds[root]

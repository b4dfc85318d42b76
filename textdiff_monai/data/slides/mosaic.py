"""A mask too large for memory: tiles in a file, and the pyramid that viewers open."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from textdiff_monai.data.extras import needed
from textdiff_monai.data.files import written_file

TILE = 512
_SMALLEST = 1024  # side from which a level needs no smaller one


class Mosaic:
    """A picture (height, width), uint8, in a temporary file: zeros until something is written.

    Args:
        height: of the picture.
        width: of it.
        folder: that the file lies in; it is gone when the object is.
    """

    def __init__(self, height: int, width: int, folder: Path | None = None) -> None:
        self.height, self.width = height, width
        self._across = -(-width // TILE)
        self._down = -(-height // TILE)
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  as long as the object
        self._file.truncate(self._across * self._down * TILE**2)  # a hole, where the file system has them

    def write(self, top: int, left: int, values: np.ndarray) -> None:
        """Values (h, w) with their upper left corner at a multiple of 512."""
        for row in range(0, values.shape[0], TILE):
            for column in range(0, values.shape[1], TILE):
                part = values[row : row + TILE, column : column + TILE]
                if part.any():
                    tile = np.zeros((TILE, TILE), np.uint8)
                    tile[: part.shape[0], : part.shape[1]] = part
                    self._seek((top + row) // TILE, (left + column) // TILE)
                    self._file.write(tile.tobytes())

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(height, width)"""
        values = np.zeros((height, width), np.uint8)
        for row in range(top // TILE, -(-(top + height) // TILE)):
            for column in range(left // TILE, -(-(left + width) // TILE)):
                tile, y, x = self._tile(row, column), row * TILE - top, column * TILE - left
                inside = tile[max(-y, 0) : height - y, max(-x, 0) : width - x]
                values[max(y, 0) : max(y, 0) + inside.shape[0], max(x, 0) : max(x, 0) + inside.shape[1]] = inside
        return values

    def tiles(self) -> Iterator[np.ndarray]:
        """Row by row (512, 512)."""
        for row in range(self._down):
            for column in range(self._across):
                yield self._tile(row, column)

    def half(self) -> Mosaic:
        """Every second pixel of every second row."""
        half = Mosaic(-(-self.height // 2), -(-self.width // 2), self._folder)
        for top in range(0, self.height, 2 * TILE):
            for left in range(0, self.width, 2 * TILE):
                part = self.read(top, left, min(2 * TILE, self.height - top), min(2 * TILE, self.width - left))
                half.write(top // 2, left // 2, part[::2, ::2])
        return half

    def save(self, path: Path, metadata: Mapping[str, Any] | None = None) -> np.ndarray:
        """A pyramidal OME-TIFF.

        Args:
            path: of the new file.
            metadata: of the OME-XML, such as PhysicalSizeX.

        Returns:
            The smallest level.
        """
        tifffile = needed("tifffile", "slides", "an OME-TIFF")
        levels = [self]
        while max(levels[-1].height, levels[-1].width) > _SMALLEST:
            levels.append(levels[-1].half())
        options: dict[str, Any] = {"dtype": np.uint8, "tile": (TILE, TILE), "compression": "zlib"}
        options |= {"photometric": "minisblack"}
        with written_file(path) as partial, tifffile.TiffWriter(partial, bigtiff=True, ome=True) as writer:
            about = {"axes": "YX", **(metadata or {})}
            shape = (self.height, self.width)
            writer.write(self.tiles(), shape=shape, subifds=len(levels) - 1, metadata=about, **options)
            for level in levels[1:]:
                writer.write(level.tiles(), shape=(level.height, level.width), subfiletype=1, **options)
        last = levels[-1]
        return last.read(0, 0, last.height, last.width)

    def _tile(self, row: int, column: int) -> np.ndarray:
        self._seek(row, column)
        return np.frombuffer(self._file.read(TILE**2), np.uint8).reshape(TILE, TILE)

    def _seek(self, row: int, column: int) -> None:
        self._file.seek((row * self._across + column) * TILE**2)

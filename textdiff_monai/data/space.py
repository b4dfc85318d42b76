"""How slices and stacks of them lie in their file and in the patient, and the one way up in which all are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np

# As radiologists see slices: the patient's left on the right, behind or below him downwards.
SEEN = "LPI"
# Slices are counted towards the patient's right, front and head.
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class Space:
    """A slice, or a stack of slices, of an array of three axes that lies in the patient.

    Seen, the columns of a slice run to the patient's left (of a sagittal one to the back) and its rows to the back (of
    coronal and sagittal ones to the feet), and slices are counted from 0 upwards (coronal ones to the front, sagittal
    ones to the right), whatever the order and the direction of the file's axes. Oblique slices are taken by the
    directions that are nearest.

    Attributes:
        shape: of the file's three axes.
        affine: (4, 4), indices of the file's axes to millimetres right, anterior and superior of an origin.
        axis: of the three, the one that slices are cut across.
        index: of the slice on that axis, as the file has it; None: the whole stack.
        known: False where the file says nothing of place: its axes are then taken to be columns, rows and slices, as
            seen.
        measured: whether distances in the affine are millimetres.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    axis: int = 2
    index: int | None = 0
    known: bool = True
    measured: bool = True

    @classmethod
    def of_slice(cls, shape: Sequence[int], affine: np.ndarray, known: bool = True) -> Space:
        """That of a file that is a single slice: the last of its three axes that has the length 1 is cut across.

        Raises:
            ValueError: for a volume, or an affine without an inverse.
        """
        if 1 not in shape[:3] or len(shape) != 3:
            raise ValueError(f"expected one 2D slice, got the shape {tuple(shape)}; give single slices")
        first, second, third = shape
        axis, affine = 2 - [third, second, first].index(1), np.array(affine, float)
        if not affine[:3, axis].any():  # a file of two axes need not have a third
            affine[:3, axis] = np.cross(affine[:3, axis - 2], affine[:3, axis - 1])
        return cls((first, second, third), _checked(affine), axis, 0, known, known)

    @classmethod
    def of_stack(cls, shape: Sequence[int], affine: np.ndarray, plane: str | None = None, known: bool = True) -> Space:
        """That of a volume.

        Args:
            shape: of its three axes.
            affine: as of the attribute.
            plane: of the slices, "axial", "coronal" or "sagittal"; None: as they were acquired, across the axis with
                the longest steps, axial where steps are alike.
            known: as of the attribute.

        Raises:
            ValueError: for another number of axes, another plane, or an affine without an inverse.
        """
        if len(shape) != 3:
            raise ValueError(f"expected a volume of three axes, got the shape {tuple(shape)}; save each separately")
        if plane is not None and plane not in PLANES:
            raise ValueError(f"plane is {plane!r}: expected one of {', '.join(PLANES)}, or None as acquired")
        first, second, third = shape
        space = cls((first, second, third), _checked(np.array(affine, float)), 2, None, known, known)
        directions = [int(direction) for direction in nib.orientations.io_orientation(space.affine)[:, 0]]
        if plane is None and not known:
            return space
        steps = np.linalg.norm(space.affine[:3, :3], axis=0)
        acquired = [axis for axis in range(3) if steps[axis] > 1.01 * np.delete(steps, axis).max()]
        plane = plane or next((name for name, way in PLANES.items() if acquired and directions[acquired[0]] == way), "")
        return replace(space, axis=directions.index(PLANES[plane or "axial"]))

    def at(self, number: int) -> Space:
        """A slice of the stack, counted as it is seen."""
        if self.index is not None:
            return self
        return replace(self, index=self.shape[self.axis] - 1 - number if self._backwards else number)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Between rows, columns and slices."""
        rows, columns, slices = np.linalg.norm(self.seen_affine[:3, :3], axis=0)
        return float(rows), float(columns), float(slices)

    @property
    def plane(self) -> str:
        """In which slices lie."""
        way = int(nib.orientations.io_orientation(self.affine)[self.axis, 0])
        return next(name for name, axis in PLANES.items() if axis == way)

    @property
    def seen_affine(self) -> np.ndarray:
        """(4, 4), (row, column, slice) as seen, the slice 0 for a single one, to millimetres."""
        step = np.zeros((4, 4))
        for axis, (column, flipped) in zip(self._plane, self._moves, strict=True):
            step[axis, column] = -1 if flipped else 1
            step[axis, 3] = self.shape[axis] - 1 if flipped else 0
        backwards = self.index is None and self._backwards
        first = self.shape[self.axis] - 1 if backwards else self.index or 0
        step[self.axis, 2], step[self.axis, 3], step[3, 3] = -1 if backwards else 1, first, 1
        return self.affine @ step

    @property
    def as_filed(self) -> bool:
        """Whether columns and rows of the file are seen as they are."""
        return self._moves == [(1, False), (0, False)]

    def seen(self, filed: np.ndarray) -> np.ndarray:
        """What the file has, as it is seen.

        Args:
            filed: of a slice (A, B, ...), the file's two other axes in their order; of a stack (A, B, D, ...), all
                three in theirs.

        Returns:
            (H, W, ...), of a stack (H, W, slices, ...).
        """
        if self.index is None:
            filed = np.moveaxis(filed, self.axis, 2)
            filed = np.flip(filed, 2) if self._backwards else filed
        for axis, (_, flipped) in enumerate(self._moves):
            filed = np.flip(filed, axis) if flipped else filed
        return filed.swapaxes(0, 1) if self._transposed else filed

    def filed(self, seen: np.ndarray) -> np.ndarray:
        """What is seen, as the file has it: the inverse of :meth:`seen`."""
        plane = seen.swapaxes(0, 1) if self._transposed else seen
        for axis, (_, flipped) in enumerate(self._moves):
            plane = np.flip(plane, axis) if flipped else plane
        if self.index is None:
            plane = np.flip(plane, 2) if self._backwards else plane
            plane = np.moveaxis(plane, 2, self.axis)
        return plane

    @property
    def _plane(self) -> list[int]:
        return [axis for axis in range(3) if axis != self.axis]

    @property
    def _backwards(self) -> bool:
        """Whether the file's slices are counted the other way round."""
        return self.known and bool(nib.orientations.io_orientation(self.affine)[self.axis, 1] < 0)

    @property
    def _moves(self) -> list[tuple[int, bool]]:
        """For each of the file's two axes: whether it is seen as rows (0) or columns (1), and whether flipped."""
        turns = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(self.affine), nib.orientations.axcodes2ornt(SEEN)
        )
        first, second = (turns[axis] for axis in self._plane)
        return [(int(first[0] < second[0]), first[1] < 0), (int(first[0] > second[0]), second[1] < 0)]

    @property
    def _transposed(self) -> bool:
        return self._moves[0][0] == 1


def _checked(affine: np.ndarray) -> np.ndarray:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
        raise ValueError("its affine cannot be inverted; save it with the affine of its source")
    return affine

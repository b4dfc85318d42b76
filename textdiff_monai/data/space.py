"""How a slice lies in its file and in the patient, and the one way up in which all slices are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np

# As radiologists see slices: the patient's left on the right, behind or below him downwards.
SEEN = "LPI"


@dataclass(frozen=True)
class Space:
    """A slice of an array of three axes that lies in the patient.

    Seen, its columns run to the patient's left (in a sagittal slice to the back) and its rows to the back (in coronal
    and sagittal slices to the feet), whatever the order and the direction of the file's axes. An oblique slice is taken
    by the directions that are nearest.

    Attributes:
        shape: of the file's three axes.
        affine: (4, 4), indices of the file's axes to millimetres right, anterior and superior of an origin.
        axis: of the three, the one that the slice is cut across.
        index: of the slice on that axis.
        known: False where the file says nothing of space: its axes are then taken to be columns and rows, as seen.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    axis: int = 2
    index: int = 0
    known: bool = True

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
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
            raise ValueError("its affine has no inverse; save it with the affine of its source")
        return cls((first, second, third), affine, axis, known=known)

    @property
    def seen_affine(self) -> np.ndarray:
        """(4, 4), (row, column, 0) of the slice as it is seen to millimetres."""
        step = np.zeros((4, 4))
        for axis, (column, flipped) in zip(self._plane, self._moves, strict=True):
            step[axis, column] = -1 if flipped else 1
            step[axis, 3] = self.shape[axis] - 1 if flipped else 0
        step[self.axis, 2], step[self.axis, 3], step[3, 3] = 1, self.index, 1
        return self.affine @ step

    @property
    def as_filed(self) -> bool:
        """Whether columns and rows of the file are seen as they are."""
        return self._moves == [(1, False), (0, False)]

    def seen(self, plane: np.ndarray) -> np.ndarray:
        """The slice (A, B, ...), A and B the file's two other axes in their order, as it is seen: (H, W, ...)."""
        for axis, (_, flipped) in enumerate(self._moves):
            plane = np.flip(plane, axis) if flipped else plane
        return plane.swapaxes(0, 1) if self._transposed else plane

    def filed(self, seen: np.ndarray) -> np.ndarray:
        """What is seen (H, W, ...) as the file has it: (A, B, ...)."""
        plane = seen.swapaxes(0, 1) if self._transposed else seen
        for axis, (_, flipped) in enumerate(self._moves):
            plane = np.flip(plane, axis) if flipped else plane
        return plane

    @property
    def _plane(self) -> list[int]:
        return [axis for axis in range(3) if axis != self.axis]

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

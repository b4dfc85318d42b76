"""Where DICOM slices lie, and whether they make a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from textdiff_monai.data.space import Space

_PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
_GAP = 1.5  # steps between slices that are more than this times the usual step miss a slice
_UNEVEN = 0.1  # of a step, by which slices may lie apart from where even ones would


def _placed(header: Any) -> bool:
    return all(len(getattr(header, name, None) or ()) == count for name, count in _PLACE.items())


def order_of(files: Sequence[Path], headers: Sequence[Any]) -> list[int]:
    """Slices along their normal.

    Raises:
        ValueError: for slices that make no even stack, naming the file.
    """
    if len(files) == 1:
        return [0]
    first = headers[0]
    for file, header in zip(files, headers, strict=True):
        if header.get("SeriesInstanceUID") != first.get("SeriesInstanceUID"):
            raise ValueError(f"{file.name} is of a different series than {files[0].name}; give one series at a time")
        if (header.Rows, header.Columns) != (first.Rows, first.Columns):
            sizes = f"{header.Columns} x {header.Rows} pixels, {files[0].name} {first.Columns} x {first.Rows}"
            raise ValueError(f"{file.name} has {sizes}; remove files that are not slices of the volume")
        if int(getattr(header, "NumberOfFrames", 1) or 1) > 1 or not _placed(header):
            raise ValueError(f"{file.name} does not say where its slice is; give it as a single file")
        if not np.allclose(header.ImageOrientationPatient, first.ImageOrientationPatient, atol=1e-3):
            raise ValueError(f"{file.name} is tilted against {files[0].name}; give slices of one orientation")
        if not np.allclose(header.PixelSpacing, first.PixelSpacing, rtol=1e-3):
            raise ValueError(f"{file.name} has another pixel spacing than {files[0].name}; give slices of one spacing")
    right, down = np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3))
    heights = np.array([np.dot(header.ImagePositionPatient, np.cross(right, down)) for header in headers])
    order = [int(one) for one in np.argsort(heights, kind="stable")]
    steps = np.diff(heights[order])
    usual = float(np.median(steps))
    for place, step in enumerate(steps):
        one, other = (files[order[place + more]].name for more in (0, 1))
        if step < 1e-3:
            raise ValueError(f"{one} and {other} are the same slice; remove one, or separate the time points")
        if step > _GAP * usual:
            apart = f"{step:.4g} mm apart, others {usual:.4g} mm"
            raise ValueError(
                f"a slice is missing between {one} and {other}, which are {apart}; export the series again"
            )
    off = np.abs(np.linspace(heights[order[0]], heights[order[-1]], len(order)) - heights[order])
    if off.max() > _UNEVEN * usual:
        raise ValueError(
            f"{files[order[int(off.argmax())]].name} is not evenly spaced between its neighbours; resample the series"
        )
    return order


def space_of_slices(headers: Sequence[Any]) -> Space:
    """Of columns, rows and slices; DICOM's axes run to the patient's left and back (PS3.3 C.7.6.2.1.1)."""
    first, last, count = headers[0], headers[-1], len(headers)
    shape = (int(first.Columns), int(first.Rows), count)
    if not _placed(first):
        return replace(unplaced(shape, first), index=0)
    right, down = np.reshape(np.array(first.ImageOrientationPatient, float), (2, 3))
    start, end = (np.array(header.ImagePositionPatient, float) for header in (first, last))
    rows, columns = (float(step) for step in first.PixelSpacing)
    thickness = float(getattr(first, "SpacingBetweenSlices", 0) or getattr(first, "SliceThickness", 0) or 1)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 3] = right * columns, down * rows, start
    affine[:3, 2] = (end - start) / (count - 1) if count > 1 else np.cross(right, down) * abs(thickness)
    affine = np.diag([-1.0, -1, 1, 1]) @ affine
    return Space.of_slice(shape, affine) if count == 1 else replace(Space.of_stack(shape, affine), axis=2)


def unplaced(shape: tuple[int, int, int], header: Any) -> Space:
    """Of columns, rows and frames of which nobody knows where in the patient they are."""
    spacing = [float(step) for step in getattr(header, "PixelSpacing", None) or ()]
    rows, columns = spacing or (1.0, 1.0)
    affine = np.diag([-columns, -rows, 1.0, 1.0])
    is_picture = shape[2] == 1  # frames are apart in time, not in millimetres
    return replace(Space.of_stack(shape, affine, known=False), measured=bool(spacing) and is_picture)

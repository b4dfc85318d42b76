"""DICOM as it is seen: X-ray, CT, MR, ultrasound; single images, multi-frame ones, and series of slices.

MONAI's ``PydicomReader`` sorts slices by their number, averages what lies between them and inverts nothing. Here they
are ordered by where they lie, and a slice that is missing, doubled, tilted or of another series is an error. Of a
header only what tells about pixels is read (PS3.3 C.7.6), nothing about the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from textdiff_monai.data.dicom.pixels import values_of, window_of
from textdiff_monai.data.dicom.place import order_of, space_of_slices, unplaced
from textdiff_monai.data.dicom.series import files_of
from textdiff_monai.data.extras import needed
from textdiff_monai.data.names import series_of
from textdiff_monai.data.scan import ArrayScan, Picture, Scan, Window, contrast
from textdiff_monai.data.space import Space

_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "FrameOfReferenceUID", "Rows", "Columns"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation"),
    *("NumberOfFrames", "SharedFunctionalGroupsSequence", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth"),
    *(f"{name}PaletteColorLookupTable{part}" for name in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")),
]  # fmt: skip


class DicomScan(Scan):
    """Slices of one file each, ordered along their normal, or the one picture of a file.

    Attributes:
        files: in the order of the file's third axis.
        headers: theirs, without pixels and without anything about the patient.
    """

    def __init__(self, files: Sequence[Path], headers: Sequence[Any]) -> None:
        order = order_of(files, headers)
        self.files, self.headers = [files[one] for one in order], [headers[one] for one in order]
        self.space: Space = space_of_slices(self.headers)

    def plane(self, index: int) -> np.ndarray:
        """(columns, rows) or (columns, rows, 3), as filed: in the units of the modality, such as Hounsfield's."""
        return values_of(self.files[index], self.headers[index]).swapaxes(0, 1)

    def filed(self) -> np.ndarray:
        """(columns, rows, slices, ...)"""
        return np.stack([self.plane(index) for index in range(len(self.files))], axis=2)

    @cached_property
    def window(self) -> Window | None:
        """That of the middle slice's file; else, of a stack, where :func:`contrast` has it."""
        own = window_of(self.headers[len(self.headers) // 2])
        return own or (contrast(self.filed()) if self.is_stack else None)

    def __getitem__(self, number: int) -> Picture:
        space = self.space.at(number)
        pixels = np.ascontiguousarray(space.seen(self.plane(int(space.index or 0))))
        return Picture(pixels, space=space, window=self.window)


class Frames(Scan):
    """The frames of a file that says nothing of where they lie, such as an ultrasound's cine loop."""

    def __init__(self, file: Path, header: Any) -> None:
        self.file, self.header = file, header
        shape = (int(header.Columns), int(header.Rows), int(header.NumberOfFrames))
        self.space: Space = unplaced(shape, header)

    @cached_property
    def window(self) -> Window:
        middle = values_of(self.file, self.header, len(self) // 2)
        return window_of(self.header) or contrast(middle)

    def __getitem__(self, number: int) -> Picture:
        return Picture(values_of(self.file, self.header, number), space=self.space.at(number), window=self.window)


def dicom_scan(path: Path, plane: str | None = None) -> Scan:
    """What is in a DICOM file, or in a folder with a series.

    Args:
        path: the file; the folder, with ``#NUMBER`` behind it where it has several series.
        plane: that slices are cut along; None: as they were acquired.

    Raises:
        ValueError: for files without pixels, in an unknown transfer syntax, or of slices that make no stack: the file,
            what was expected, and the fix.
    """
    files = dicom_files(path)
    headers = [read_header(file) for file in files]
    if headers[0].get("Modality") == "SEG":
        raise ValueError("is a segmentation, not an image; use it as the mask of one")
    if len(files) == 1 and int(getattr(headers[0], "NumberOfFrames", 1) or 1) > 1:
        return _multiframe(files[0], headers[0], plane)
    scan = DicomScan(files, headers)
    if plane is None or not scan.is_stack or plane == scan.space.plane:
        return scan
    space = Space.of_stack(scan.space.shape, scan.space.affine, plane)
    return ArrayScan(space, scan.filed, window_of(headers[0]))


def dicom_files(path: Path) -> list[Path]:
    """The files of a series, or the one."""
    folder, number = series_of(path)
    return files_of(folder, number) if folder.is_dir() else [path]


def read_header(file: Path, more: Sequence[str] = ()) -> Any:
    """What a file says about its pixels.

    Raises:
        ValueError: for a file that is no DICOM, or has no pixels.
    """
    pydicom = needed("pydicom", "dicom", "DICOM")
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*_TAGS, *more])
    except (pydicom.errors.InvalidDicomError, EOFError, ValueError) as error:
        raise ValueError(
            f"{file.name} is not a readable DICOM file ({type(error).__name__}); export it again"
        ) from None
    if not {"Rows", "Columns", "PhotometricInterpretation"} <= set(header.dir()):
        kind = getattr(header, "Modality", "unknown")
        raise ValueError(f"{file.name} has no pixel data (its modality is {kind}); remove it")
    return header


def _multiframe(file: Path, header: Any, plane: str | None) -> Scan:
    """Frames as a stack: with the places that an enhanced object gives them, which ``highdicom`` sorts out."""
    if "SharedFunctionalGroupsSequence" not in header:
        return Frames(file, header)
    highdicom = needed("highdicom", "dicom", "multi-frame DICOM")
    image = highdicom.imread(file, lazy_frame_retrieval=True)
    geometry = image.get_volume_geometry()
    if geometry is None:
        raise ValueError(f"{file.name}: its frames are not evenly spaced, or repeat; save each volume separately")
    affine = np.diag([-1, -1, 1, 1]) @ geometry.affine[:, [2, 1, 0, 3]]  # of columns, rows, slices; to the right, front
    options = {"apply_voi_transform": False, "apply_icc_profile": False, "apply_presentation_lut": True}

    def load() -> np.ndarray:
        volume = image.get_volume(dtype=np.float32, apply_real_world_transform=False, **options)
        return np.swapaxes(volume.array, 0, 2)

    space = Space.of_stack(geometry.spatial_shape[::-1], affine, plane)
    return ArrayScan(space if plane else replace(space, axis=2), load, None)

"""Files as they are seen: a reader for each format, and the same kind of array from all of them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured
from PIL import Image, ImageOps

from textdiff_monai.data.dicom.scan import dicom_scan
from textdiff_monai.data.names import DICOM, NIFTI, PICTURES, SLIDES, is_dicom, series_of
from textdiff_monai.data.scan import ArrayScan, LonePicture, Picture, Scan, check_numbers
from textdiff_monai.data.slides.slide import Slide, is_slide
from textdiff_monai.data.space import Space

# What Pillow has in these is kept as it is; all else becomes RGB, or RGB with alpha.
_PLAIN = ("L", "LA", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_WITH_ALPHA = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}


class Format(ABC):
    """A file format that holds pictures or volumes.

    Attributes:
        endings: of file names, in lower case.
    """

    endings: tuple[str, ...]

    @abstractmethod
    def open(self, path: Path, plane: str | None = None) -> Scan:
        """What is in a file.

        Args:
            path: of the file.
            plane: that a volume is cut along; None: as it was acquired.

        Raises:
            ValueError: saying what is wrong and what to do, for a file that holds neither a picture nor a volume, or
                numbers that are no grey values or colours; libraries raise their own on damaged files.
        """


class PictureFormat(Format):
    """What Pillow reads: PNG, JPEG, TIFF and others, turned as EXIF says and viewers do; and slides."""

    endings = (*PICTURES, *SLIDES)

    def open(self, path: Path, plane: str | None = None) -> Scan:
        if is_slide(path):
            return Slide(path)
        picture = self._read(path)
        check_numbers(picture.pixels)
        return LonePicture(picture)

    def _read(self, path: Path) -> Picture:
        # By its name Pillow (13.0) would map an uncompressed TIFF into memory, and mix up one that EXIF turns.
        with path.open("rb") as file, Image.open(file) as picture:
            # Telephones put a preview or a depth map behind a photograph (MPO).
            if getattr(picture, "n_frames", 1) != 1 and picture.format != "MPO":
                raise ValueError(f"expected one picture, got {picture.n_frames} pages; save each separately")  # type: ignore[attr-defined]
            sixteen = any("16" in _raw_mode(tile[3]) for tile in getattr(picture, "tile", []))
            ImageOps.exif_transpose(picture, in_place=True)
            if picture.mode == "1":
                return Picture(np.asarray(picture).astype(np.uint8), np.array([[0] * 3, [255] * 3], np.uint8))
            if picture.mode == "P":
                colours, palette = picture.getpalette("RGB") or [], np.zeros((256, 3), np.uint8)
                palette.flat[: len(colours)] = colours
                return Picture(np.array(picture), palette)
            plain = picture.mode in _PLAIN
            pixels = np.array(picture if plain else picture.convert(_WITH_ALPHA.get(picture.mode, "RGB")))
        return Picture(_native(pixels), whole=pixels.dtype != np.uint8 or not sixteen)


class NiftiFormat(Format):
    """NIfTI: volumes, and slices as (W, H), (W, H, 1), (1, W, H), with further axes of length 1; gray or RGB."""

    endings = NIFTI

    def open(self, path: Path, plane: str | None = None) -> Scan:
        image: Any = nib.load(path)
        if np.issubdtype(image.get_data_dtype(), np.complexfloating):
            raise ValueError("expected gray values, got complex numbers; save their magnitudes")
        space = self.space(image, plane)

        def load() -> np.ndarray:
            array = np.asarray(image.dataobj)
            array = structured_to_unstructured(array) if array.dtype.fields else array
            return _native(array.reshape(*space.shape, *array.shape[len(image.shape) :]))

        if space.index is None:
            return ArrayScan(space, load)
        picture = load().squeeze(space.axis)
        check_numbers(picture)
        return LonePicture(Picture(np.ascontiguousarray(space.seen(picture)), space=space))

    @staticmethod
    def space(image: Any, plane: str | None = None) -> Space:
        """How a NIfTI image lies: the one slice, or the stack."""
        shape, header = [*image.shape, 1, 1], image.header
        while len(shape) > 3 and shape[-1] == 1:
            shape.pop()
        known = bool(header["qform_code"] or header["sform_code"])
        is_slice = 1 in shape[:3] and len(shape) == 3
        affine = image.affine
        if not known:
            sizes = [float(size) or 1.0 for size in [*header.get_zooms(), 1, 1][:3]]
            affine = np.diag([*(-size for size in sizes), 1.0])
        space = Space.of_slice(shape, affine, known) if is_slice else Space.of_stack(shape, affine, plane, known)
        return replace(space, measured=known and header.get_xyzt_units()[0] in ("mm", "unknown"))


class DicomFormat(Format):
    """DICOM: single images, multi-frame ones, and folders that are series; see :mod:`textdiff_monai.data.dicom`."""

    endings = DICOM

    def open(self, path: Path, plane: str | None = None) -> Scan:
        scan = dicom_scan(path, plane)
        return scan if scan.is_stack else LonePicture(scan[0])


FORMATS: tuple[Format, ...] = (NiftiFormat(), PictureFormat(), DicomFormat())


def format_of(path: str | Path) -> Format:
    """That of a file, by its name; a folder, and a file without a known name that begins as DICOM does, is DICOM.

    Raises:
        ValueError: for others.
    """
    name = Path(path).name.lower()
    found = next((each for each in FORMATS if name.endswith(each.endings)), None)
    if found is None and (is_dicom(Path(path)) or os.path.isdir(series_of(path)[0])):
        found = FORMATS[-1]
    if found is None:
        kinds = ", ".join([*NIFTI, *PICTURES, *DICOM])
        raise ValueError(f"expected a file of type {kinds}; convert it to one of these")
    return found


def open_scan(path: str | Path, plane: str | None = None) -> Scan:
    """What is in a file, or in a folder that is a DICOM series, whatever the format; slices as they are seen.

    The last volume stays open, so that its slices can be asked for one after the other.

    Args:
        path: the file; the folder of a series, with ``#NUMBER`` behind it where it has several.
        plane: that a volume is cut along, "axial", "coronal" or "sagittal"; None: as it was acquired.

    Raises:
        ValueError: for what can not be read as pictures, saying what to do; Pillow and nibabel raise their own on
            damaged files.
    """
    place = series_of(path)[0]
    return _open(str(path), plane, os.stat(place).st_mtime_ns)


@lru_cache(maxsize=2)  # an image and its mask
def _open(path: str, plane: str | None, changed: int) -> Scan:
    return format_of(path).open(Path(path), plane)


def read_picture(path: str | Path) -> Picture:
    """The picture in a file, the way up in which it is seen, whatever the format.

    Raises:
        ValueError: for what is no single picture, saying what to do; Pillow and nibabel raise their own on damaged
            files.
    """
    scan = open_scan(path)
    if len(scan) != 1:
        raise ValueError(f"expected one 2D slice, got a volume of {len(scan)} slices; give single slices")
    return scan[0]


def _raw_mode(arguments: Any) -> str:
    """Of a decoder's arguments the name of how pixels are stored; lengths and places may follow it."""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _native(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)

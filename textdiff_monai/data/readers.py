"""Picture files as they are seen: a reader for each format, and the same kind of array from all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured
from PIL import Image, ImageOps

from textdiff_monai.data.names import NIFTI, PICTURES
from textdiff_monai.data.space import Space

# What Pillow has in these is kept as it is; all else becomes RGB, or RGB with alpha.
_PLAIN = ("L", "LA", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_WITH_ALPHA = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}


class Picture(NamedTuple):
    """A picture the way up in which it is seen.

    Attributes:
        pixels: (H, W) or (H, W, C) in the machine's byte order; of two or four channels the last is alpha.
        palette: colours (n, 3) of the numbers in ``pixels``, where the file has one.
        space: where it lies in its file and in the patient, for formats that say so.
        whole: False where the file has more bits than were read.
    """

    pixels: np.ndarray
    palette: np.ndarray | None = None
    space: Space | None = None
    whole: bool = True

    @property
    def colours(self) -> np.ndarray:
        """(H, W, 1 or 3): with the palette's colours and without alpha."""
        pixels = self.pixels if self.palette is None else self.palette[self.pixels]
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        return pixels[..., :-1] if pixels.shape[-1] in (2, 4) else pixels


class Format(ABC):
    """A file format that holds pictures.

    Attributes:
        endings: of file names, in lower case.
    """

    endings: tuple[str, ...]

    @abstractmethod
    def read(self, path: Path) -> Picture:
        """The one picture in a file.

        Raises:
            ValueError: saying what is wrong and what to do, for a file that holds none or several, or of numbers that
                are no grey values or colours; libraries raise their own on damaged files.
        """


class PictureFormat(Format):
    """What Pillow reads: PNG, JPEG, TIFF and others, turned as EXIF says and viewers do."""

    endings = PICTURES

    def read(self, path: Path) -> Picture:
        # By its name Pillow (13.0) would map an uncompressed TIFF into memory, and mix up one that EXIF turns.
        with path.open("rb") as file, Image.open(file) as picture:
            # Telephones put a preview or a depth map behind a photograph (MPO).
            if getattr(picture, "n_frames", 1) != 1 and picture.format != "MPO":
                raise ValueError(f"expected one picture, got {picture.n_frames} pages; save each as a file")  # type: ignore[attr-defined]
            sixteen = "16" in str([tile[3] for tile in getattr(picture, "tile", [])])
            ImageOps.exif_transpose(picture, in_place=True)
            if picture.mode == "1":
                return Picture(np.asarray(picture).astype(np.uint8), np.array([[0] * 3, [255] * 3], np.uint8))
            if picture.mode == "P":
                colours, palette = picture.getpalette("RGB") or [], np.zeros((256, 3), np.uint8)
                palette.flat[: len(colours)] = colours
                return Picture(np.asarray(picture), palette)
            plain = picture.mode in _PLAIN
            pixels = np.asarray(picture if plain else picture.convert(_WITH_ALPHA.get(picture.mode, "RGB")))
        return Picture(_native(pixels), whole=pixels.dtype != np.uint8 or not sixteen)


class NiftiFormat(Format):
    """NIfTI files of one slice: (W, H), (W, H, 1), (1, W, H), with further axes of length 1, gray or RGB."""

    endings = NIFTI

    def read(self, path: Path) -> Picture:
        image: Any = nib.load(path)
        space = self.space(image)
        array = np.asarray(image.dataobj)
        if array.dtype.fields:
            array = structured_to_unstructured(array)
        if np.iscomplexobj(array):
            raise ValueError("expected grey values, got complex numbers; save their magnitudes")
        channels = array.shape[len(image.shape) :]
        plane = [space.shape[axis] for axis in range(3) if axis != space.axis]
        pixels = np.ascontiguousarray(space.seen(array.reshape(*plane, *channels)))
        return Picture(_native(pixels), space=space)

    @staticmethod
    def space(image: Any) -> Space:
        """How the one slice of a NIfTI image lies in it."""
        shape, header = [*image.shape, 1, 1], image.header
        while len(shape) > 3 and shape[-1] == 1:
            shape.pop()
        if header["qform_code"] or header["sform_code"]:
            return Space.of_slice(shape, image.affine)
        sizes = [float(size) or 1.0 for size in [*header.get_zooms(), 1, 1][:3]]
        return Space.of_slice(shape, np.diag([*(-size for size in sizes), 1.0]), known=False)


FORMATS: tuple[Format, ...] = (NiftiFormat(), PictureFormat())


def read_picture(path: str | Path) -> Picture:
    """The picture in a file, the way up in which it is seen, whatever the format.

    Raises:
        ValueError: for what is no single picture, saying what to do; Pillow and nibabel raise their own on damaged
            files.
    """
    name = Path(path).name.lower()
    found = next((each for each in FORMATS if name.endswith(each.endings)), None)
    if found is None:
        raise ValueError(f"expected a file of one of the kinds {', '.join([*NIFTI, *PICTURES])}; save it as one")
    picture = found.read(Path(path))
    if picture.pixels.dtype.kind == "f" and not np.isfinite(picture.pixels).all():
        count = np.count_nonzero(~np.isfinite(picture.pixels))
        raise ValueError(
            f"{count} of {picture.pixels.size} values are no numbers (NaN or infinite); write others there"
        )
    return picture


def _native(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)

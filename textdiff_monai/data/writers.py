"""Masks and probabilities as files: one writer a format, each in the layout of the image that they belong to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from textdiff_monai.data.names import NIFTI
from textdiff_monai.data.readers import NiftiFormat


class Writer(ABC):
    """A file format for results.

    Attributes:
        ending: of the files.
    """

    ending: str

    @abstractmethod
    def write(self, path: Path, values: np.ndarray, source: Path) -> None:
        """Write class indices (H, W), uint8, or probabilities (H, W), float32 in [0, 1], as the image is seen.

        Args:
            path: of the new file.
            values: as high and wide as the image is seen.
            source: the image's file.
        """


class PngWriter(Writer):
    """Grey pictures, upright: class k is k, a probability 0 to 255."""

    ending = ".png"

    def write(self, path: Path, values: np.ndarray, source: Path) -> None:
        if values.dtype != np.uint8:
            values = (values * 255).round().astype(np.uint8)
        Image.fromarray(np.ascontiguousarray(values)).save(path)


class NiftiWriter(Writer):
    """NIfTI in the shape, order of axes and affine of a NIfTI source; of a picture, as if it were an axial slice."""

    ending = ".nii.gz"

    def write(self, path: Path, values: np.ndarray, source: Path) -> None:
        if not source.name.lower().endswith(NIFTI):
            nib.save(nib.Nifti1Image(np.ascontiguousarray(values.T[..., None]), np.diag([-1, -1, 1, 1])), path)
            return
        image: Any = nib.load(source)
        space, header = NiftiFormat.space(image), image.header.copy()
        array = np.expand_dims(space.filed(values), space.axis).reshape(image.shape)
        header.set_data_dtype(values.dtype)
        header["cal_min"] = header["cal_max"] = 0
        nib.save(type(image)(np.ascontiguousarray(array), image.affine, header), path)


WRITERS = {writer.ending: writer for writer in (PngWriter(), NiftiWriter())}


def writer_for(source: Path, ending: str | None = None) -> Writer:
    """The writer of an ending, or by default that of the kind of the source: NIfTI for NIfTI, PNG for others.

    Raises:
        ValueError: for an ending that is not written.
    """
    if ending is None:
        return WRITERS[NiftiWriter.ending if source.name.lower().endswith(NIFTI) else PngWriter.ending]
    if ending not in WRITERS:
        raise ValueError(f"results are not written as {ending!r}; take one of {', '.join(WRITERS)}")
    return WRITERS[ending]

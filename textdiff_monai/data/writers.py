"""Masks and probabilities as files: one writer a format, each in the layout of the image that they belong to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from textdiff_monai.data.names import NIFTI
from textdiff_monai.data.space import Space
from textdiff_monai.language.reader import name_of


@dataclass(frozen=True)
class Origin:
    """What a result is of.

    Attributes:
        image: the file, or the series.
        space: how it lies; None where a picture lies nowhere.
        text: the sentence.
        class_names: of the mask, background included.
    """

    image: Path
    space: Space | None = None
    text: str = ""
    class_names: tuple[str, ...] = ("background", "target")

    @property
    def names(self) -> list[str]:
        """Of the classes; that of one alone is the target that the sentence names, or else the sentence."""
        if len(self.class_names) > 2:
            return list(self.class_names)
        return [self.class_names[0], name_of(self.text) or self.text or self.class_names[-1]]


class Writer(ABC):
    """A file format for results.

    Attributes:
        name: by which it is asked for.
        ending: of the files.
        grey: whether it holds probabilities too.
    """

    name: str
    ending: str
    grey = True

    @abstractmethod
    def write(self, path: Path, values: np.ndarray, of: Origin) -> None:
        """Write class indices, uint8, or probabilities, float32 in [0, 1], as the image is seen.

        Args:
            path: of the new file.
            values: (H, W), of a volume (H, W, slices).
            of: the image.

        Raises:
            ValueError: for an image whose results this format cannot hold.
        """


class PngWriter(Writer):
    """Grey pictures, upright: class k is k, a probability 0 to 255."""

    name, ending = "png", ".png"

    def write(self, path: Path, values: np.ndarray, of: Origin) -> None:
        if values.ndim != 2:
            raise ValueError(f"a PNG holds one slice, not {values.shape[2]}; use output_type nifti")
        if values.dtype != np.uint8:
            values = (values * 255).round().astype(np.uint8)
        Image.fromarray(np.ascontiguousarray(values)).save(path)


class NiftiWriter(Writer):
    """NIfTI in the axes and affine of what lies in space; of a picture, as if it were an axial slice."""

    name, ending = "nifti", ".nii.gz"

    def write(self, path: Path, values: np.ndarray, of: Origin) -> None:
        if of.space is None:
            nib.save(nib.Nifti1Image(np.ascontiguousarray(values.T[..., None]), np.diag([-1, -1, 1, 1])), path)
            return
        array = of.space.filed(values)
        array = array if of.space.index is None else np.expand_dims(array, of.space.axis)
        if not of.image.name.lower().endswith(NIFTI):
            new = nib.Nifti1Image(np.ascontiguousarray(array), of.space.affine)
            new.header.set_xyzt_units("mm")
            new.set_sform(of.space.affine, "scanner" if of.space.known else "unknown")
            new.set_qform(of.space.affine, "scanner" if of.space.known else "unknown")
            nib.save(new, path)
            return
        image: Any = nib.load(of.image)
        header = image.header.copy()
        header.set_data_dtype(values.dtype)
        header["cal_min"] = header["cal_max"] = 0
        nib.save(type(image)(np.ascontiguousarray(array.reshape(image.shape)), image.affine, header), path)

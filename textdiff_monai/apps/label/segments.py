"""DICOM SEG to and from viewers and archives, by MONAI Label's own means, which this mends where they fail."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom_seg
import SimpleITK
from fastapi import HTTPException
from monai.transforms import LoadImage

from textdiff_monai import __version__
from textdiff_monai.data.dicom.segmentation import label_of

TOOL = "itkimage2segimage"  # of dcmqi, which MONAI Label calls
_logger = logging.getLogger(__name__)


class SegmentWriter:
    """Stands in for MONAI Label's ``nifti_to_dicom_seg``, which codes every segment as a spleen.

    Args:
        write: that function.
        class_names: of a model's masks, by number, less the background.
        found: how, as DICOM has it: "AUTOMATIC", or "SEMIAUTOMATIC" for what a person has gone over.
    """

    def __init__(self, write: Callable[..., str], class_names: Mapping[int, str], found: str) -> None:
        self.write, self.class_names, self.found = write, class_names, found

    def __call__(
        self, series_dir: str, label: str, label_info: Sequence[Mapping[str, Any]] | None = None, **options: Any
    ) -> str:
        """Write a DICOM SEG.

        Args:
            series_dir: folder of the images that the mask is of.
            label: the mask's file.
            label_info: of the numbers that are in the mask, in their order: ``name``; or ``target`` of the sentence,
                which names the class of a model that has one alone.
            options: of MONAI Label's function.

        Returns:
            The path of a new file.

        Raises:
            HTTPException: 422, for an empty mask, one that does not lie on the series, or without dcmqi.
        """
        if shutil.which(TOOL) is None:
            raise HTTPException(422, f"a DICOM SEG needs {TOOL}, which is not installed: pip install dcmqi")
        numbers = [int(number) for number in np.unique(np.asarray(LoadImage(image_only=True)(label))) if number]
        if not numbers:
            raise HTTPException(422, "nothing is marked, and a DICOM SEG needs at least one segment")
        given = [*(label_info or ()), *[{}] * len(numbers)]
        infos = [self._described(number, info) for number, info in zip(numbers, given, strict=False)]
        path = self.write(series_dir, label, infos, **options)
        if not os.path.exists(path):
            raise HTTPException(422, "the mask does not lie on the slices of its series; see the server's log")
        return path

    def _described(self, number: int, info: Mapping[str, Any]) -> dict[str, Any]:
        name = info.get("name") or (info.get("target") if len(self.class_names) == 1 else None)
        label, kind = label_of(str(name or self.class_names.get(number, f"class {number}")))
        attribute = {
            "labelID": number,
            "SegmentLabel": label,
            "SegmentDescription": label,
            "SegmentAlgorithmType": self.found,
            "SegmentAlgorithmName": f"TextDiff {__version__}",
            "SegmentedPropertyCategoryCodeSequence": _coded("123037004", "SCT", "Anatomical Structure"),
            "SegmentedPropertyTypeCodeSequence": _coded(kind.value, kind.scheme_designator, kind.meaning),
            "recommendedDisplayRGBValue": [int(value) for value in info.get("color", (255, 0, 0))][:3],
        }
        return {"model_name": "TextDiff segmentation", "segmentAttribute": attribute} | dict(info) | {"name": label}


def _coded(value: str, scheme: str, meaning: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}


class SegmentReader:
    """Stands in for MONAI Label's ``dicom_to_nifti``, which leaves out the slices of a DICOM SEG that are empty.

    Args:
        read: that function.
    """

    def __init__(self, read: Callable[..., str]) -> None:
        self.read = read

    def __call__(self, series_dir: str, is_seg: bool = False) -> str | None:
        """Turn a series into NIfTI.

        Args:
            series_dir: its folder; of a DICOM SEG, where the store keeps labels: ``STORE/labels/TAG/SERIES``.
            is_seg: whether it is one.

        Returns:
            The path of a new file; a DICOM SEG on the grid of its image, ``STORE/IMAGE.nii.gz``, or None, with a
            warning, where it makes no mask.
        """
        if not is_seg:
            return self.read(series_dir)
        folder = Path(series_dir)
        try:
            found = pydicom.dcmread(next(folder.iterdir()))
            image = folder.parents[2] / f"{found.ReferencedSeriesSequence[0].SeriesInstanceUID}.nii.gz"
            mask = pydicom_seg.MultiClassReader().read(found).image
            laid = SimpleITK.Resample(mask, SimpleITK.ReadImage(str(image)), interpolator=SimpleITK.sitkNearestNeighbor)
        except (ValueError, RuntimeError, AttributeError) as error:
            _logger.warning(f"The DICOM SEG {folder.name} cannot be read as a mask ({error}); it is left out")
            return None
        handle, path = tempfile.mkstemp(".nii.gz")
        os.close(handle)
        SimpleITK.WriteImage(SimpleITK.Cast(laid, SimpleITK.sitkUInt8), path)
        return path

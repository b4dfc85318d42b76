"""Small DICOM files that the tests make for themselves; the patient has a name that must turn up nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

SECRET = "Zbigniew"
AXIAL = (1, 0, 0, 0, 1, 0)


def save_dicom(
    path: Path,
    pixels: np.ndarray,
    *,
    storage: str = CTImageStorage,
    photometric: str = "MONOCHROME2",
    bits: int | None = None,
    syntax: str = ExplicitVRLittleEndian,
    compress: str | None = None,
    **elements: Any,
) -> Path:
    """An image (rows, columns), (rows, columns, 3) or, with NumberOfFrames, (frames, rows, columns, ...)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = storage, syntax
    meta.MediaStorageSOPInstanceUID, meta.ImplementationClassUID = generate_uid(), PYDICOM_IMPLEMENTATION_UID
    meta.FileMetaInformationGroupLength, meta.FileMetaInformationVersion = 0, b"\0\1"  # pydicom counts it
    ds = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False)
    ds.SOPClassUID, ds.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = f"{SECRET}^Anna", f"{SECRET}-17", "19500101", "F"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.FrameOfReferenceUID = generate_uid()
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.StudyID, ds.AccessionNumber = "CT", 1, 1, "1", "17"
    ds.StudyDate, ds.StudyTime, ds.SeriesDate, ds.SeriesTime = "20260101", "120000", "20260101", "120000"
    ds.ReferringPhysicianName, ds.Manufacturer, ds.PositionReferenceIndicator = SECRET, "Tests", ""
    channels = 3 if pixels.shape[-1] == 3 and pixels.ndim > 2 else 1
    rows = pixels.ndim - 2 - (channels == 3)
    ds.Rows, ds.Columns = pixels.shape[rows : rows + 2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = channels, photometric
    if channels == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored = bits or ds.BitsAllocated
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    for name, value in elements.items():
        setattr(ds, name, value)
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    if compress:
        ds.compress(compress, generate_instance_uid=False)
    ds.save_as(path)  # so that pydicom 2 can too
    return path


def save_series(
    folder: Path,
    volume: np.ndarray,
    *,
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] = (0.5, 0.75, 3.0),
    origin: Sequence[float] = (-10.0, -20.0, 30.0),
    names: Sequence[str] | None = None,
    **elements: Any,
) -> Path:
    """A volume (slices, rows, columns) as a series along its normal; spacing between rows, columns and slices."""
    folder.mkdir(parents=True, exist_ok=True)
    right, down = np.reshape(np.array(orientation, float), (2, 3))
    common = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    common |= {"FrameOfReferenceUID": generate_uid(), "SeriesNumber": 1} | elements
    for number, pixels in enumerate(volume):
        place = np.array(origin) + np.cross(right, down) * spacing[2] * number
        name = names[number] if names else f"{number:03d}.dcm"
        save_dicom(
            folder / name,
            pixels,
            ImagePositionPatient=[float(value) for value in place],
            ImageOrientationPatient=[float(value) for value in orientation],
            PixelSpacing=[float(value) for value in spacing[:2]],
            SliceThickness=float(spacing[2]),
            InstanceNumber=number + 1,
            **common,
        )
    return folder


def change(path: Path, **elements: Any) -> None:
    """Write a file again with other elements; None takes one out."""
    ds = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.save_as(path)

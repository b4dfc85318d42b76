"""DICOM Segmentation objects (PS3.3 A.51): masks as a hospital's systems keep them, written and read."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from textdiff_monai import __version__
from textdiff_monai.data.dicom.scan import dicom_files, read_header
from textdiff_monai.data.extras import needed
from textdiff_monai.data.names import is_dicom
from textdiff_monai.data.scan import ArrayScan, LonePicture, Picture, Scan
from textdiff_monai.data.space import Space
from textdiff_monai.data.writers import Origin, Writer

_LPS = np.diag([-1.0, -1, 1, 1])  # ours run to the right and front, DICOM's to the left and back
_SERIES = 9600  # number of the new series, far from those of scanners


class DicomSegWriter(Writer):
    """DICOM SEG: one segment for each class, which refers to the images that it is of and lies where they lie."""

    name, ending, grey = "dicom_seg", ".dcm", False

    def write(self, path: Path, values: np.ndarray, of: Origin) -> None:
        pydicom, highdicom = (needed(module, "dicom", "a DICOM SEG") for module in ("pydicom", "highdicom"))
        if not (of.image.is_dir() or is_dicom(of.image) or "#" in of.image.name) or of.space is None:
            raise ValueError("a DICOM SEG refers to DICOM images, and this is not one; use output_type nifti")
        if of.space.index is None and not of.space.known:
            raise ValueError("its frames have no position, which a DICOM SEG needs; use output_type nifti")
        images = [pydicom.dcmread(file, stop_before_pixels=True) for file in dicom_files(of.image)]
        for image in images:
            if not image.get("SpecificCharacterSet"):  # empty is not the same as absent to highdicom
                image.pop("SpecificCharacterSet", None)
        filed = of.space.filed(values)
        filed = filed if of.space.index is None else np.expand_dims(filed, of.space.axis)
        frames = np.ascontiguousarray(filed.transpose(2, 1, 0))  # of columns, rows, slices
        segments = [_described(number, name) for number, name in enumerate(of.names) if number]
        told = hashlib.sha256(frames.tobytes() + of.text.encode("utf-8", "replace")).hexdigest()
        uids = [
            pydicom.uid.generate_uid(entropy_srcs=[images[0].SOPInstanceUID, told, kind]) for kind in ("series", "")
        ]
        with warnings.catch_warnings():  # highdicom's, of values in the source, which may name the patient
            warnings.simplefilter("ignore")
            highdicom.seg.Segmentation(
                images,
                _volume(frames, of.space, images[0].get("FrameOfReferenceUID")) if of.space.known else frames,
                "BINARY",
                segments,
                series_instance_uid=uids[0],
                series_number=_SERIES,
                sop_instance_uid=uids[1],
                instance_number=1,
                manufacturer="TextDiff-MONAI",
                manufacturer_model_name="TextDiff",
                software_versions=__version__,
                device_serial_number="1",
                content_label="TEXTDIFF",
                series_description="TextDiff segmentation",
            ).save_as(path)


def _volume(frames: np.ndarray, space: Space, frame_of_reference: str | None) -> Any:
    """(slices, rows, columns) with their place."""
    highdicom = needed("highdicom", "dicom", "a DICOM SEG")
    affine = _LPS @ space.affine[:, [2, 1, 0, 3]]
    return highdicom.Volume(frames, affine, "PATIENT", frame_of_reference_uid=frame_of_reference)


def _described(number: int, name: str) -> Any:
    """A segment: named, coded, and by whom it was found."""
    highdicom, pydicom = needed("highdicom", "dicom", "a DICOM SEG"), needed("pydicom", "dicom", "a DICOM SEG")
    codes, (label, kind) = pydicom.sr.codedict.codes, label_of(name)
    found_by = highdicom.AlgorithmIdentificationSequence("TextDiff", codes.cid7162.ArtificialIntelligence, __version__)
    category = codes.SCT.AnatomicalStructure
    return highdicom.seg.SegmentDescription(number, label, category, kind, "AUTOMATIC", found_by)


def label_of(name: str) -> tuple[str, Any]:
    """What a segment of this name is called, and its code: of SNOMED CT where that has the name, else a private one."""
    needed("pydicom", "dicom", "a DICOM SEG")
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    label = " ".join(name.replace("\\", " ").split())[:64].strip() or "target"
    words = [word for word in label.lower().split() if word not in ("left", "right", "both")]
    kind = getattr(codes.SCT, "".join(word.title() for word in words), None)
    return label, kind or Code(hashlib.sha256(label.encode()).hexdigest()[:16], "99TEXTDIFF", label)


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM SEG."""
    return is_dicom(path) and getattr(read_header(path), "Modality", "") == "SEG"


def segmentation_scan(path: Path, image: Scan, source: Path, value: str | None = None) -> Scan:
    """The segments of a DICOM SEG, on the slices of the image that they are of.

    Args:
        path: of the SEG.
        image: that it belongs to.
        source: of the image.
        value: numbers of segments, which become the first of these; None: all, each its number.

    Raises:
        ValueError: for one of another frame of reference, on another grid, or of segments that overlap.
    """
    highdicom = needed("highdicom", "dicom", "a DICOM SEG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmentation = highdicom.seg.segread(path)
    numbers = [int(float(one)) for one in (value or "").replace(",", " ").split()] or list(segmentation.segment_numbers)
    if unknown := set(numbers) - set(segmentation.segment_numbers):
        there = ", ".join(map(str, segmentation.segment_numbers))
        raise ValueError(f"has no segment {min(unknown)}; it has {there}")
    if image.space is None:
        raise ValueError("is a segmentation of DICOM images; pair it with one of them")
    place, whole = _placed(segmentation, image, source), {"segment_numbers": numbers, "dtype": np.uint8}
    try:
        if place is None:
            uid, options = read_header(source).SOPInstanceUID, {"assert_missing_frames_are_empty": True}
            found = segmentation.get_pixels_by_source_instance([uid], ignore_spatial_locations=True, **options, **whole)
        else:
            found = segmentation.get_volume(**whole).match_geometry(place).array
    except (RuntimeError, ValueError, KeyError):
        raise ValueError(
            f"does not lie on the slices of {source.name}; pair it with its own image, or resample it"
        ) from None
    labels = _labels(found, numbers, merged=value is not None).transpose(2, 1, 0)
    if image.is_stack:
        return ArrayScan(image.space, lambda: labels, (0.0, 255.0))
    return LonePicture(Picture(np.ascontiguousarray(image.space.seen(labels[..., 0])), space=image.space))


def _placed(segmentation: Any, image: Scan, source: Path) -> Any:
    """The image's geometry, where both lie somewhere."""
    highdicom = needed("highdicom", "dicom", "a DICOM SEG")
    space, ours = image.space, segmentation.get("FrameOfReferenceUID")
    assert space is not None
    if source.is_dir() or is_dicom(source) or "#" in source.name:
        theirs = read_header(dicom_files(source)[0]).get("FrameOfReferenceUID")
        if ours and theirs and ours != theirs:
            raise ValueError(f"its frame of reference is not that of {source.name}; pair it with its own image")
    if not space.known or not ours:
        return None
    affine, shape = _LPS @ space.affine[:, [2, 1, 0, 3]], space.shape[::-1]
    return highdicom.VolumeGeometry(affine, shape, "PATIENT", frame_of_reference_uid=ours)


def _labels(found: np.ndarray, numbers: list[int], merged: bool) -> np.ndarray:
    """(slices, rows, columns, segments) as one number a pixel."""
    if merged:
        return np.where(found.any(axis=-1), numbers[0], 0).astype(np.uint8)
    if (found.sum(axis=-1, dtype=np.uint16) > 1).any():
        raise ValueError("has overlapping segments; name the one that is meant in the table's column value")
    return (found * np.array(numbers, np.uint8)).sum(axis=-1, dtype=np.uint8)

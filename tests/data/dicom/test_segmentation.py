"""Masks as DICOM SEG: read back pixel by pixel, valid for others' tools, refused where they are of another image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")
from made_dicom import SECRET, change, save_dicom, save_series  # noqa: E402

from textdiff_monai import DataError, MaskReader, check_datalist, load_images, open_scan  # noqa: E402
from textdiff_monai.data.output import writer_for  # noqa: E402
from textdiff_monai.data.writers import Origin  # noqa: E402

CORONAL = (1, 0, 0, 0, 0, -1)
OBLIQUE = (0.96, 0.28, 0, -0.28, 0.96, 0)
VOLUME = np.random.default_rng(1).integers(-900, 900, (5, 6, 8)).astype(np.int16)
CT = {"RescaleSlope": 1, "RescaleIntercept": 0, "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "KVP": 120}


def mask_of(scan, seed=0, classes=2):
    """Random, with a slice that has nothing."""
    shape = scan.stack().pixels.shape[:3] if scan.is_stack else scan[0].pixels.shape[:2]
    mask = np.random.default_rng(seed).integers(0, classes, shape).astype(np.uint8)
    if scan.is_stack:
        mask[..., 1] = 0
    return mask


def write(path, source, mask, text="Segment the liver.", **more):
    of = Origin(Path(source), open_scan(source).space, text, **more)
    writer_for(of, "dicom_seg").write(path, mask, of)
    return path


def read(path, source, **item):
    reader = MaskReader(num_classes=4 if "value" not in item else 2).of({"image": str(source), **item})
    return reader.get_data(reader.read(str(path)))[0][..., 0]


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), CORONAL, OBLIQUE, (-1, 0, 0, 0, -1, 0)])
def test_a_volume_comes_back_pixel_by_pixel(orientation, tmp_path):
    source = save_series(tmp_path / "s", VOLUME, orientation=orientation, names=["3", "1", "5.dcm", "2", "4"], **CT)
    mask = mask_of(open_scan(source))
    path = write(tmp_path / "seg.dcm", source, mask)
    np.testing.assert_array_equal(read(path, source), mask)
    files = {pydicom.dcmread(file).SOPInstanceUID: file for file in source.iterdir()}
    segmentation = highdicom.seg.segread(path)
    for uid, file in files.items():  # by what others read, slice by slice of the source
        frame = segmentation.get_pixels_by_source_instance([uid], assert_missing_frames_are_empty=True)[0, ..., 0]
        scan = open_scan(file)
        where = np.flatnonzero([np.array_equal(scan[0].pixels, open_scan(source)[n].pixels) for n in range(5)])
        np.testing.assert_array_equal(scan.space.seen(frame.T), mask[..., where[0]])


def test_a_segment_says_what_it_is_by_whom_and_of_what(tmp_path):
    source = save_series(tmp_path / "s", VOLUME, **CT)
    path = write(tmp_path / "seg.dcm", source, mask_of(open_scan(source)), "Please segment the liver.")
    ds = pydicom.dcmread(path)
    (segment,) = ds.SegmentSequence
    assert segment.SegmentLabel == "liver"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "SCT"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    (found_by,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (found_by.AlgorithmName, found_by.AlgorithmVersion) == ("TextDiff", "0.1.0")
    sources = [pydicom.dcmread(file) for file in source.iterdir()]
    assert ds.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    assert ds.StudyInstanceUID == sources[0].StudyInstanceUID
    (series,) = ds.ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == {
        one.SOPInstanceUID for one in sources
    }
    shared = ds.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.75]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("classes", [2, 4])
def test_others_find_it_valid(classes, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy of Debian's dicom3tools is not installed")
    source = save_series(tmp_path / "s", VOLUME, **CT)
    names = {"class_names": ("background", "liver", "spleen", "our own")} if classes == 4 else {}
    path = write(tmp_path / "seg.dcm", source, mask_of(open_scan(source), classes=classes), "the optic disc", **names)
    told = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True)
    errors = [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]
    assert not errors
    assert "Segmentation" in told.stdout + told.stderr


def test_classes_are_segments(tmp_path):
    source = save_series(tmp_path / "s", VOLUME, **CT)
    mask = mask_of(open_scan(source), classes=4)
    path = write(tmp_path / "seg.dcm", source, mask, class_names=("background", "liver", "spleen", "our own"))
    np.testing.assert_array_equal(read(path, source), mask)
    np.testing.assert_array_equal(read(path, source, value="2, 3"), mask >= 2)
    np.testing.assert_array_equal(read(path, source, slice=3), mask[..., 3])
    labels = [segment.SegmentLabel for segment in pydicom.dcmread(path).SegmentSequence]
    assert labels == ["liver", "spleen", "our own"]
    with pytest.raises(ValueError, match="has no segment 4; it has 1, 2, 3"):
        read(path, source, value="4")


@pytest.mark.parametrize("kind", ["film", "slice", "empty"])
def test_single_images_come_back_too(kind, tmp_path):
    if kind == "slice":
        source = save_series(tmp_path / "s", VOLUME[:1], **CT) / "000.dcm"
    else:
        source = save_dicom(tmp_path / "a.dcm", VOLUME[0], Modality="DX", **CT)
    mask = mask_of(open_scan(source)) * (kind != "empty")
    np.testing.assert_array_equal(read(write(tmp_path / "seg.dcm", source, mask), source), mask)


def test_frames_that_lie_nowhere_have_none(tmp_path):
    source = save_dicom(tmp_path / "a.dcm", VOLUME.view(np.uint16), NumberOfFrames=5, Modality="US")
    with pytest.raises(ValueError, match="its frames have no position"):
        write(tmp_path / "seg.dcm", source, mask_of(open_scan(source)))


def test_the_same_mask_is_the_same_object(tmp_path):
    source = save_series(tmp_path / "s", VOLUME, **CT)
    masks = [mask_of(open_scan(source), seed) for seed in (0, 0, 1)]
    paths = [write(tmp_path / f"{number}.dcm", source, mask) for number, mask in enumerate(masks)]
    one, same, other = (pydicom.dcmread(path).SOPInstanceUID for path in paths)
    assert one == same != other


def test_a_segmentation_of_another_image_is_refused(tmp_path):
    source, other = (save_series(tmp_path / name, VOLUME, **CT) for name in ("s", "o"))
    path = write(tmp_path / "seg.dcm", source, mask_of(open_scan(source)))
    item = {"label": str(path), "text": "the liver", "split": "train"}
    check_datalist([item | {"image": str(source)}], progress=False)
    with pytest.raises(DataError, match=r"seg.dcm: this mask: its frame of reference is not that of o"):
        check_datalist([item | {"image": str(other)}], progress=False)
    change(path, FrameOfReferenceUID=pydicom.dcmread(other / "000.dcm").FrameOfReferenceUID)
    moved = save_series(tmp_path / "m", VOLUME, origin=(0, 0, 1), **CT)
    for file in moved.iterdir():
        change(file, FrameOfReferenceUID=pydicom.dcmread(path).FrameOfReferenceUID)
    with pytest.raises(DataError, match="does not lie on the slices of m"):
        check_datalist([item | {"image": str(moved)}], progress=False)


def test_segments_that_overlap_are_asked_for_by_number(tmp_path):
    source = save_series(tmp_path / "s", VOLUME, **CT)
    path = write(
        tmp_path / "seg.dcm", source, mask_of(open_scan(source), classes=3), class_names=("background", "a", "b")
    )
    segmentation = highdicom.seg.segread(path)
    volume = segmentation.get_volume().array
    volume[..., 1] |= volume[..., 0]
    images = [pydicom.dcmread(file) for file in sorted(source.iterdir())]
    uid = pydicom.uid.generate_uid
    described = [highdicom.seg.SegmentDescription.from_dataset(one) for one in segmentation.SegmentSequence]
    both = highdicom.seg.Segmentation(
        images, np.zeros((5, 6, 8, 2), np.uint8) | (np.arange(2) == np.arange(2)), "BINARY", described,
        uid(), 1, uid(), 1, "a", "b", "c", "d",
    )  # fmt: skip
    both.save_as(tmp_path / "both.dcm")
    with pytest.raises(
        ValueError, match="overlapping segments; name the one that is meant in the table's column value"
    ):
        read(tmp_path / "both.dcm", source)
    assert read(tmp_path / "both.dcm", source, value="2").all()


def test_a_picture_has_no_dicom_segmentation(tmp_path):
    of = Origin(tmp_path / "a.png")
    with pytest.raises(ValueError, match="refers to DICOM images, and this is not one; use output_type nifti"):
        writer_for(of, "dicom_seg").write(tmp_path / "a.dcm", np.zeros((2, 2), np.uint8), of)


def test_segmentations_beside_their_images_are_none(tmp_path):
    source = save_series(tmp_path / "s", VOLUME, **CT)
    write(source / "seg.dcm", source, mask_of(open_scan(source)))
    assert [item["image"] for item in load_images(source)] == [str(source)]
    with pytest.raises(ValueError, match="is a segmentation, not an image; use it as the mask of one"):
        open_scan(source / "seg.dcm")


def test_the_patient_comes_with_the_study_and_the_sentence_does_not(tmp_path):
    source = save_series(tmp_path / "s", VOLUME, **CT)
    path = write(tmp_path / "seg.dcm", source, mask_of(open_scan(source)), f"the liver of Mrs {SECRET}, born 1950")
    ds = pydicom.dcmread(path)
    assert str(ds.PatientName) == f"{SECRET}^Anna"  # an archive files it by that
    assert ds.SegmentSequence[0].SegmentLabel == "liver"
    del ds.PatientName, ds.PatientID, ds.ReferringPhysicianName
    assert SECRET not in str(ds)

"""DICOM is seen as other formats are: X-ray, CT, ultrasound, series; and what makes no image is named."""

from __future__ import annotations

import sys

import nibabel as nib
import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
from made_dicom import AXIAL, SECRET, change, save_dicom, save_series  # noqa: E402
from pydicom.uid import JPEG2000Lossless, RLELossless  # noqa: E402

from textdiff_monai import open_scan, preprocessing, read_picture  # noqa: E402
from textdiff_monai.data.dicom.scan import read_header  # noqa: E402

GRAY = np.random.default_rng(0).integers(1, 255, (6, 8)).astype(np.uint8)
COLOUR = np.stack([GRAY, GRAY // 2, GRAY // 3], axis=-1)
CORONAL, SAGITTAL = (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)
OBLIQUE = (0.96, 0.28, 0, -0.28, 0.96, 0)
VOLUME = np.random.default_rng(1).integers(-900, 900, (5, 6, 8)).astype(np.int16)  # slices, rows, columns


def stored(bits, signed=False):
    """The same picture in so many bits."""
    values = np.round(GRAY / 255 * (2 ** (bits - signed) - 1))
    return values.astype(np.int16 if signed else np.uint8 if bits <= 8 else np.uint16)


def palette():
    table = np.arange(256, dtype=np.uint16) * 257
    parts = {"Red": table, "Green": table // 2, "Blue": table // 3}
    told = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in parts}
    return told | {f"{name}PaletteColorLookupTableData": part.tobytes() for name, part in parts.items()}


def ybr():
    """PS3.3 C.7.6.3.1.2"""
    rgb = COLOUR.astype(float)
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.round(rgb @ matrix.T + [0, 128, 128]).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_an_x_ray_is_white_where_it_should_be_whatever_its_bits(bits, signed, tmp_path):
    if signed and bits == 8:
        pytest.skip("not allowed")
    values = stored(bits, signed)
    top = -1 if signed else 2**bits - 1
    save_dicom(tmp_path / "2.dcm", values, bits=bits)
    save_dicom(tmp_path / "1.dcm", (top - values).astype(values.dtype), bits=bits, photometric="MONOCHROME1")
    np.testing.assert_array_equal(read_picture(tmp_path / "2.dcm").pixels, values)
    np.testing.assert_array_equal(read_picture(tmp_path / "1.dcm").pixels, values)


def test_old_files_keep_overlays_in_bits_that_are_not_pixels(tmp_path):
    for kind in (np.uint16, np.int16):
        values = stored(12).astype(np.int32) - (2048 if kind is np.int16 else 0)
        marked = ((values & 0xFFF) | 0x4000).astype(np.uint16).view(kind)
        picture = read_picture(save_dicom(tmp_path / f"{kind.__name__}.dcm", marked, bits=12))
        np.testing.assert_array_equal(picture.pixels, values)


@pytest.mark.parametrize("syntax", [None, JPEG2000Lossless, RLELossless])
def test_ct_is_in_hounsfield_units(syntax, tmp_path):
    values = np.kron(stored(12), np.ones((8, 8), np.uint16))
    path = save_dicom(tmp_path / "a.dcm", values, bits=12, compress=syntax, RescaleSlope=2, RescaleIntercept=-1024)
    picture = read_picture(path)
    assert picture.pixels.dtype == np.float32
    np.testing.assert_array_equal(picture.pixels, values * 2.0 - 1024)


@pytest.mark.parametrize("name", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"])
@pytest.mark.parametrize("signed", [False, True])
def test_what_scanners_compress_is_what_it_was(name, signed, tmp_path):
    gdcm = pytest.importorskip("gdcm")
    values = np.kron(stored(16, signed), np.ones((8, 8), np.int16)).astype(np.int16 if signed else np.uint16)
    values[::2] //= 3
    if signed:
        values[1::2] -= 1000
    plain = gdcm.ImageReader()
    plain.SetFileName(str(save_dicom(tmp_path / "plain.dcm", values)))
    assert plain.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    change.SetInput(plain.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    writer.SetFile(plain.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert (tmp_path / "packed.dcm").stat().st_size < (tmp_path / "plain.dcm").stat().st_size
    np.testing.assert_array_equal(read_picture(tmp_path / "packed.dcm").pixels, values)


def test_the_window_is_that_of_the_option_or_of_the_file(tmp_path):
    elements = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": [40, 500], "WindowWidth": [400, 2000]}
    path = save_dicom(tmp_path / "a.dcm", stored(12), bits=12, **elements)
    hounsfield = stored(12) - 1024.0
    for option, (low, high) in ((None, (-160, 240)), ([0, 100], (0, 100))):
        image = preprocessing(["image"], intensity_range=option)({"image": str(path)})["image"]
        expected = ((hounsfield - low) / (high - low)).clip(0, 1) * 2 - 1
        np.testing.assert_allclose(image.numpy(), np.stack([expected] * 3), atol=1e-5)


def test_an_inverted_image_has_its_window_inverted(tmp_path):
    window = {"WindowCenter": 1000, "WindowWidth": 400}
    values = stored(12)
    plain = save_dicom(tmp_path / "2.dcm", values, bits=12, **window)
    inverted = {"WindowCenter": 4095 - 1000, "WindowWidth": 400, "photometric": "MONOCHROME1"}
    other = save_dicom(tmp_path / "1.dcm", 4095 - values, bits=12, **inverted)
    assert read_picture(plain).window == read_picture(other).window == (800, 1200)


@pytest.mark.parametrize("name", ["rgb", "ybr", "palette", "planar"])
def test_colours_are_those_that_are_meant(name, tmp_path):
    path = tmp_path / "a.dcm"
    if name == "palette":
        save_dicom(path, GRAY, photometric="PALETTE COLOR", **palette())
    elif name == "ybr":
        save_dicom(path, ybr(), photometric="YBR_FULL")
    elif name == "planar":
        save_dicom(path, COLOUR, photometric="RGB")
        change(path, PlanarConfiguration=1, PixelData=np.ascontiguousarray(COLOUR.transpose(2, 0, 1)).tobytes())
    else:
        save_dicom(path, COLOUR, photometric="RGB")
    assert np.abs(read_picture(path).colours.astype(int) - COLOUR).max() <= (2 if name == "ybr" else 0)


def test_an_image_without_a_place_is_seen_as_it_is_and_may_have_millimetres(tmp_path):
    scan = open_scan(save_dicom(tmp_path / "a.dcm", GRAY))
    assert not scan.space.known
    assert not scan.space.measured
    space = open_scan(save_dicom(tmp_path / "b.dcm", GRAY, PixelSpacing=[0.2, 0.3])).space
    assert space.measured
    assert space.spacing[:2] == (0.2, 0.3)


def marked(orientation):
    """A voxel and where DICOM says that it lies, in millimetres to the right, front and head."""
    right, down = np.reshape(np.array(orientation, float), (2, 3))
    number, row, column = 3, 1, 6
    place = np.array([-10.0, -20, 30]) + right * 0.75 * column + down * 0.5 * row + np.cross(right, down) * 3 * number
    return (number, row, column), place * [-1, -1, 1]


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, OBLIQUE, (-1, 0, 0, 0, -1, 0), (0, 1, 0, 1, 0, 0)])
def test_voxels_lie_where_they_lie(orientation, tmp_path):
    volume = np.zeros_like(VOLUME)
    voxel, place = marked(orientation)
    volume[voxel] = 500
    shuffled = ["3", "1", "5.dcm", "2", "4.IMA"]  # names say nothing
    scan = open_scan(save_series(tmp_path / "s", volume, orientation=orientation, names=shuffled))
    assert len(scan) == 5
    (seen,) = np.argwhere(scan.stack().pixels[..., 0])
    np.testing.assert_allclose((scan.space.seen_affine @ [*seen, 1])[:3], place, atol=1e-6)
    (filed,) = np.argwhere(scan.space.filed(scan.stack().pixels[..., 0]))
    np.testing.assert_allclose(nib.affines.apply_affine(scan.space.affine, filed), place, atol=1e-6)
    np.testing.assert_array_equal(scan[int(seen[2])].pixels, scan.stack().pixels[:, :, seen[2], 0])


def test_a_series_is_seen_as_the_same_volume_in_nifti(tmp_path):
    scan = open_scan(save_series(tmp_path / "s", VOLUME, orientation=SAGITTAL))
    image = nib.Nifti1Image(scan.space.filed(scan.stack().pixels[..., 0]), scan.space.affine)
    nib.save(image, tmp_path / "a.nii.gz")
    nib.save(nib.as_closest_canonical(image), tmp_path / "b.nii.gz")
    for name in ("a.nii.gz", "b.nii.gz"):
        for plane in (None, "axial", "coronal", "sagittal"):
            ours, theirs = open_scan(tmp_path / "s", plane), open_scan(tmp_path / name, plane)
            np.testing.assert_array_equal(ours.stack().pixels, theirs.stack().pixels)
            np.testing.assert_allclose(ours.space.seen_affine, theirs.space.seen_affine, atol=1e-6)


def test_frames_without_places_are_slices(tmp_path):
    frames = np.stack([COLOUR, COLOUR[::-1], COLOUR[:, ::-1]])
    scan = open_scan(save_dicom(tmp_path / "a.dcm", frames, photometric="RGB", NumberOfFrames=3, Modality="US"))
    assert len(scan) == 3
    np.testing.assert_array_equal(scan[1].pixels, COLOUR[::-1])
    np.testing.assert_array_equal(scan.stack().pixels[:, :, 2], COLOUR[:, ::-1])
    assert not scan.space.measured
    timed = {"NumberOfFrames": 3, "PixelSpacing": [0.5, 0.5]}  # how far frames are apart nobody says
    assert not open_scan(save_dicom(tmp_path / "b.dcm", frames, photometric="RGB", **timed)).space.measured


def test_frames_with_places_are_a_volume(tmp_path):
    highdicom = pytest.importorskip("highdicom")
    elements = {"RescaleSlope": 1, "RescaleIntercept": 5, "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    elements |= {"RescaleType": "HU", "KVP": 120, "AcquisitionNumber": 1, "ContentDate": "20260101", "Laterality": ""}
    save_series(tmp_path / "s", VOLUME, ContentTime="120000", PatientPosition="HFS", **elements)
    slices = [pydicom.dcmread(path) for path in sorted((tmp_path / "s").iterdir())]
    uid = pydicom.uid.generate_uid()
    many = highdicom.legacy.LegacyConvertedEnhancedCTImage(slices, uid, 2, uid, 1)
    many.save_as(tmp_path / "many.dcm")
    one, other = open_scan(tmp_path / "s"), open_scan(tmp_path / "many.dcm")
    np.testing.assert_array_equal(one.stack().pixels, other.stack().pixels)
    np.testing.assert_allclose(one.space.seen_affine, other.space.seen_affine)


TILTED = [1, 0, 0, 0, 0.8, 0.6]
BROKEN = {
    "a slice is missing between 001.dcm and 003.dcm, which are 6 mm apart, others 3 mm": None,
    "001.dcm and 002.dcm are the same slice": ("002.dcm", {"ImagePositionPatient": [-10, -20, 33]}),
    "003.dcm is tilted against 000.dcm": ("003.dcm", {"ImageOrientationPatient": TILTED}),
    "003.dcm has another pixel spacing": ("003.dcm", {"PixelSpacing": [1, 1]}),
    "003.dcm does not say where its slice is": ("003.dcm", {"ImageOrientationPatient": None}),
    "002.dcm is not evenly spaced": ("002.dcm", {"ImagePositionPatient": [-10, -20, 37]}),
    "003.dcm has 8 x 4 pixels, 000.dcm 8 x 6": ("003.dcm", {"Rows": 4}),
    "003.dcm has no pixel data": ("003.dcm", {"PixelData": None}),
    "002.dcm: its pixels cannot be": ("002.dcm", {"PixelData": b"\0\0"}),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_series_that_makes_no_volume_is_refused_with_the_file(reason, tmp_path):
    folder = save_series(tmp_path / "s", VOLUME)
    if BROKEN[reason] is None:
        (folder / "002.dcm").unlink()
    else:
        name, elements = BROKEN[reason]
        change(folder / name, **elements)
    with pytest.raises(ValueError, match=reason) as caught:
        open_scan(tmp_path / "s").stack()
    assert SECRET not in str(caught.value)


def unknown_syntax(path):
    save_dicom(path, GRAY)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0", 1))


def report(path):
    change(save_dicom(path, GRAY, Modality="SR"), Rows=None)


REFUSED = {
    "is not a readable DICOM file": lambda path: path.write_bytes(b"no image"),
    "has no pixel data .its modality is SR.; remove it": report,
    "a.dcm: its transfer syntax 1.2.840.10008.9.9.9 is unknown": unknown_syntax,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_image_is_refused_with_a_reason(reason, tmp_path):
    REFUSED[reason](tmp_path / "a.dcm")
    with pytest.raises(ValueError, match=reason):
        read_picture(tmp_path / "a.dcm")


def test_nothing_about_the_patient_is_read(tmp_path):
    header = read_header(save_dicom(tmp_path / "a.dcm", GRAY))
    assert SECRET not in str(header)
    assert "Rows" in header


def test_what_is_missing_is_told_with_its_extra(tmp_path, monkeypatch):
    save_dicom(tmp_path / "a.dcm", GRAY)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match=r"DICOM needs pydicom, which is not installed: pip install .*\[dicom\]"):
        read_picture(tmp_path / "a.dcm")

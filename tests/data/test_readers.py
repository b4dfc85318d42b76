"""One contract for every format: the same picture is seen alike, and what is none is refused with a reason."""

from __future__ import annotations

import struct
import zlib

import nibabel as nib
import numpy as np
import pytest
from PIL import Image, ImageOps

from textdiff_monai import PictureReader, open_scan, read_picture

HEIGHT, WIDTH = 6, 9
GRAY = np.random.default_rng(0).integers(1, 255, (HEIGHT, WIDTH)).astype(np.uint8)
COLOUR = np.stack([GRAY, GRAY // 2, GRAY // 3], axis=-1)
LPS = np.diag([-0.5, -0.5, 2, 1])
RGB24 = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def save_nifti(path, array, affine=LPS, kind=nib.Nifti1Image, codes=True):
    image = kind(array, affine)
    if not codes:
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    nib.save(image, path)
    return path


def big_endian(array, affine):
    return nib.Nifti1Image(array.astype(">i2"), affine, nib.Nifti1Header(endianness=">"))


def save_palette(path, numbers, palette):
    picture = Image.fromarray(numbers.astype(np.uint8), mode="P")
    picture.putpalette([value for colour in palette for value in colour])
    picture.save(path)
    return path


def save_sixteen(path, array, colour_type):
    """A PNG of 16 bits a channel, which Pillow reads but does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def turned(array, orientation):
    """The pixels that EXIF's orientation turns into an array."""
    undo = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[orientation]
    picture, exif = Image.fromarray(array), Image.Exif()
    exif[0x0112] = undo
    picture.info["exif"] = exif.tobytes()
    return np.asarray(ImageOps.exif_transpose(picture))


GRAYS = {
    "gray.png": lambda path: save(path, GRAY),
    "gray.bmp": lambda path: save(path, GRAY),
    "GRAY.TIFF": lambda path: save(path, GRAY),
    "gray.gif": lambda path: save(path, GRAY),
    "gray.pgm": lambda path: save(path, GRAY),
    "lossless.webp": lambda path: save(path, np.stack([GRAY] * 3, -1), lossless=True),
    "opaque.png": lambda path: save(path, np.stack([GRAY, np.full_like(GRAY, 255)], -1)),
    "sixteen.png": lambda path: save(path, GRAY.astype(np.uint16)),
    "sixteen.tif": lambda path: save(path, GRAY.astype(np.uint16)),
    "big.tif": lambda path: Image.frombytes("I;16B", (WIDTH, HEIGHT), GRAY.astype(">u2").tobytes()).save(path),
    "float.tif": lambda path: save(path, GRAY.astype(np.float32)),
    "flat.nii.gz": lambda path: save_nifti(path, GRAY.T),
    "FLAT.NII": lambda path: save_nifti(path, GRAY.T.astype(np.int16)),
    "slice.nii": lambda path: save_nifti(path, GRAY.T[..., None].astype(np.float64)),
    "wh11.nii": lambda path: save_nifti(path, GRAY.T[..., None, None]),
    "wh111.nii": lambda path: save_nifti(path, GRAY.T[..., None, None, None]),
    "coronal.nii": lambda path: save_nifti(path, GRAY.T[:, None], np.diag([-1, 1, -1, 1])),
    "sagittal.nii": lambda path: save_nifti(path, GRAY.T[None], np.diag([1, -1, -1, 1])),
    "big.nii": lambda path: save_nifti(path, GRAY.T, kind=big_endian),
    "two.nii": lambda path: save_nifti(path, GRAY.T, kind=nib.Nifti2Image),
    "nowhere.nii": lambda path: save_nifti(path, GRAY.T, np.eye(4), codes=False),
    "nowhere_1hw.nii": lambda path: save_nifti(path, GRAY.T[None], np.eye(4), codes=False),
    "turned.nii": lambda path: save_nifti(path, GRAY.T[::-1, ::-1], np.eye(4)),
}  # fmt: skip
COLOURS = {
    "rgb.png": lambda path: save(path, COLOUR),
    "rgb.tif": lambda path: save(path, COLOUR),
    "rgb.ppm": lambda path: save(path, COLOUR),
    "rgba.png": lambda path: save(path, np.concatenate([COLOUR, GRAY[..., None]], -1)),
    "palette.png": lambda path: save_palette(path, GRAY, [(i, i // 2, i // 3) for i in range(256)]),
    "cmyk.tif": lambda path: Image.fromarray(COLOUR).convert("CMYK").save(path),
    "rgb24.nii.gz": lambda path: save_nifti(path, np.ascontiguousarray(COLOUR.swapaxes(0, 1)).view(RGB24)),
}
for orientation in range(2, 9):
    for ending in ("tif", "png"):
        GRAYS[f"exif{orientation}.{ending}"] = lambda path, orientation=orientation: save(
            path, turned(GRAY, orientation), exif=_exif(orientation)
        )


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("name", GRAYS)
def test_a_gray_picture_is_seen_alike_in_every_format(name, tmp_path):
    GRAYS[name](tmp_path / name)
    picture = read_picture(tmp_path / name)
    assert picture.colours.shape[:2] == (HEIGHT, WIDTH)
    assert picture.pixels.dtype.isnative
    np.testing.assert_array_equal(picture.colours[..., 0], GRAY)


@pytest.mark.parametrize("name", COLOURS)
def test_a_coloured_picture_is_seen_alike_in_every_format(name, tmp_path):
    COLOURS[name](tmp_path / name)
    np.testing.assert_array_equal(read_picture(tmp_path / name).colours, COLOUR)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_turned_as_exif_says(orientation, tmp_path):
    smooth = np.add.outer(np.arange(32), 4 * np.arange(48)).astype(np.uint8)
    array = smooth if orientation == 1 else turned(smooth, orientation)
    picture = read_picture(save(tmp_path / "a.jpg", array, exif=_exif(orientation), quality=95))
    assert np.abs(picture.pixels.astype(int) - smooth).max() <= 4


def test_a_photograph_with_a_preview_behind_it_is_one_picture(tmp_path):
    picture = Image.fromarray(COLOUR)
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[picture.resize((3, 2))])
    assert Image.open(tmp_path / "a.jpg").n_frames == 2
    assert read_picture(tmp_path / "a.jpg").pixels.shape == COLOUR.shape


def test_bilevel_is_black_and_white_and_its_numbers_are_0_and_1(tmp_path):
    picture = read_picture(save(tmp_path / "a.png", GRAY > 99))
    np.testing.assert_array_equal(picture.pixels, GRAY > 99)
    np.testing.assert_array_equal(picture.colours[..., 0], np.where(GRAY > 99, 255, 0))


def test_where_a_slice_lies_is_kept(tmp_path):
    space = read_picture(save_nifti(tmp_path / "a.nii", GRAY.T[..., None])).space
    assert space.shape == (WIDTH, HEIGHT, 1)
    np.testing.assert_array_equal(space.affine, LPS)
    assert space.known
    assert not read_picture(save_nifti(tmp_path / "b.nii", GRAY.T, np.eye(4), codes=False)).space.known
    assert read_picture(save(tmp_path / "a.png", GRAY)).space is None


@pytest.mark.parametrize(("unit", "measured"), [("mm", True), ("unknown", True), ("micron", False), ("meter", False)])
def test_lengths_in_other_units_are_not_taken_for_millimetres(unit, measured, tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), LPS)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii.gz")
    assert open_scan(tmp_path / "a.nii.gz").space.measured == measured


def pages(path):
    page = Image.fromarray(GRAY)
    page.save(path, save_all=True, append_images=[page])
    return path


REFUSED = {
    "pages.tif": (pages, "expected one picture, got 2 pages; save each separately"),
    "pages.gif": (lambda path: save(path, GRAY, save_all=True, append_images=[Image.new("L", (9, 6))]), "got 2 pages"),
    "volume.nii.gz": (
        lambda path: save_nifti(path, np.zeros((5, 6, 7), np.int16)),
        r"expected one 2D slice, got a volume of 7 slices; give single slices",
    ),
    "times.nii": (lambda path: save_nifti(path, np.zeros((5, 6, 1, 3), np.int16)), r"got the shape \(5, 6, 1, 3\)"),
    "a.npy": (lambda path: path.touch(), "expected a file of type .nii.gz, .nii, .png"),
    "complex.nii": (lambda path: save_nifti(path, np.zeros((5, 6), np.complex64)), "complex numbers; save their"),
    "nan.nii": (
        lambda path: save_nifti(path, np.array([[0, np.nan], [np.inf, 1]], np.float32)),
        r"2 of 4 values are not numbers \(NaN or infinite\); replace them",
    ),
    "nan.tif": (lambda path: save(path, np.full((2, 2), np.nan, np.float32)), "4 of 4 values are not numbers"),
    "a.dcm": (lambda path: path.touch(), "a.dcm is not a readable DICOM file"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_single_picture_is_refused_with_a_reason(name, tmp_path):
    make, reason = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=reason):
        read_picture(tmp_path / name)
    if name != "volume.nii.gz":  # which MONAI may have
        with pytest.raises(ValueError, match=f"{name}: "):
            PictureReader().read(str(tmp_path / name))


@pytest.mark.parametrize("name", ["cut.png", "cut.nii.gz"])
def test_damaged_files_raise(name, tmp_path):
    make = GRAYS["gray.png" if name.endswith("png") else "flat.nii.gz"]
    make(tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:50])
    with pytest.raises(Exception, match=r"."):
        read_picture(tmp_path / name)


def test_bits_that_were_not_read_are_known(tmp_path):
    sixteen = np.stack([GRAY.astype(np.uint16) * 256 + 7] * 3, -1)
    picture = read_picture(save_sixteen(tmp_path / "a.png", sixteen, 2))
    np.testing.assert_array_equal(picture.pixels[..., 0], GRAY)
    assert not picture.whole
    assert read_picture(save_sixteen(tmp_path / "b.png", sixteen[..., 0], 0)).whole
    assert read_picture(save(tmp_path / "c.png", COLOUR)).whole


@pytest.mark.parametrize("name", ["a.bmp", "a.tif", "a.png", "a.pgm"])
def test_eight_bits_are_whole_however_long_a_line_is_and_wherever_the_file_says_so(name, tmp_path):
    for side in (
        16,
        *range(92, 100),
        160,
    ):  # of BMPs the bytes of a line are told to Pillow, of TIFFs a place in the file
        Image.fromarray(np.zeros((side, side), np.uint8)).save(tmp_path / name, compression="tiff_lzw")
        assert read_picture(tmp_path / name).whole


def test_monai_gets_arrays_and_metadata_as_of_its_own_readers(tmp_path):
    reader = PictureReader()
    assert reader.verify_suffix("a.PNG")
    assert not reader.verify_suffix(["a.png", "a.npy"])
    pixels, meta = reader.get_data(reader.read(save_nifti(tmp_path / "a.nii", GRAY.T[..., None])))
    assert pixels.shape == (HEIGHT, WIDTH, 1)
    assert meta["original_channel_dim"] == -1
    assert meta["spatial_shape"].tolist() == [WIDTH, HEIGHT, 1]
    np.testing.assert_array_equal(meta["original_affine"], LPS)
    np.testing.assert_allclose(meta["affine"] @ [2, 3, 0, 1], LPS @ [3, 2, 0, 1])
    assert reader.get_data(reader.read((save(tmp_path / "a.png", GRAY),)))[1] == {
        "original_channel_dim": -1,
        "slices": "",
    }

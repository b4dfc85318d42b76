"""Masks of every kind become class indices, or are refused with what was found; by check and by training alike."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from textdiff_monai import DataError, check_datalist, class_indices, preprocessing, read_picture
from textdiff_monai.data.scan import Picture

TARGET = np.zeros((6, 9), np.uint8)
TARGET[1:4, 2:7] = TARGET[5, 0] = 1
CLASSES = np.random.default_rng(0).integers(0, 3, (6, 9)).astype(np.uint8)
RED, GREEN, BLUE = (255, 0, 0), (0, 128, 0), (0, 0, 255)


def picture(array, mode=None):
    return lambda path: Image.fromarray(array, mode).save(path)


def coloured(indices, *colours):
    return np.array(colours, np.uint8)[indices]


def with_alpha(array, alpha):
    return np.concatenate([array.reshape(*array.shape[:2], -1), np.full((*array.shape[:2], 1), alpha)], -1).astype(
        np.uint8
    )


def palette(indices, *colours):
    def save(path):
        image = Image.fromarray(indices, "P")
        image.putpalette([value for colour in colours for value in colour])
        image.save(path)

    return save


def nifti(array):
    return lambda path: nib.save(
        nib.Nifti1Image(np.ascontiguousarray(array.swapaxes(0, 1)), np.diag([-1, -1, 1, 1])), path
    )


TWO = {
    "0/1.png": picture(TARGET),
    "0/255.png": picture(TARGET * 255),
    "0/7.bmp": picture(TARGET * 7),
    "bilevel.png": picture(TARGET > 0),
    "sixteen.png": picture(TARGET.astype(np.uint16) * 65535),
    "float.tif": picture(TARGET.astype(np.float32) * 0.5),
    "negative.nii.gz": nifti(-TARGET.astype(np.int16)),
    "double.nii": nifti(TARGET.astype(np.float64)),
    "equal channels.png": picture(coloured(TARGET, (0, 0, 0), (255, 255, 255))),
    "opaque.png": picture(with_alpha(coloured(TARGET, (0, 0, 0), (255, 255, 255)), 255)),
    "opaque gray.png": picture(with_alpha(TARGET * 255, 255)),
    "half transparent.png": picture(with_alpha(TARGET * 255, 128)),
    "red.png": picture(coloured(TARGET, (0, 0, 0), RED)),
    "opaque red.png": picture(with_alpha(coloured(TARGET, (0, 0, 0), RED), 255)),
    "white on transparent.png": picture(coloured(TARGET, (0, 0, 0, 0), (255, 255, 255, 255))),
    "black on transparent.png": picture(coloured(TARGET, (0, 0, 0, 0), (0, 0, 0, 255))),
    "gray on transparent.png": picture(coloured(TARGET, (0, 0), (0, 255))),
    "palette.png": palette(TARGET, (0, 0, 0), GREEN),
    "palette without black.png": palette(TARGET, (255, 255, 255), GREEN),
    "cmyk.tif": lambda path: Image.fromarray(coloured(TARGET, (0, 0, 0), RED)).convert("CMYK").save(path),
    "rgb24.nii": nifti(coloured(TARGET, (0, 0, 0), RED).view(np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))),
}  # fmt: skip


def both_ways(tmp_path, name, make, **options):
    """The classes as training gets them; or the problem as ``check`` names it, with which training stops as well."""
    file = tmp_path / name.replace("/", "_")
    make(file)
    Image.fromarray(np.arange(54, dtype=np.uint8).reshape(6, 9)).save(tmp_path / "image.png")
    item = {"image": str(tmp_path / "image.png"), "label": str(file), "text": ""}
    try:
        check_datalist([item], progress=False, **options)
    except DataError as error:
        with pytest.raises((RuntimeError, ValueError)):
            preprocessing(**options)(item)
        (problem,) = error.problems
        assert problem.startswith(f"{file}: ")
        return problem.removeprefix(f"{file}: ")
    label = preprocessing(**options)(item)["label"]
    assert (label.dtype, label.shape) == (torch.uint8, (1, 6, 9))
    return label[0].numpy()


@pytest.mark.parametrize("name", TWO)
def test_two_values_or_colours_are_background_and_foreground(name, tmp_path):
    np.testing.assert_array_equal(both_ways(tmp_path, name, TWO[name]), TARGET)


@pytest.mark.filterwarnings("ignore:no mask has")
@pytest.mark.parametrize("value", [0, 1, 255])
def test_an_empty_or_full_mask_is_one(value, tmp_path):
    expected = np.full_like(TARGET, value > 0)
    np.testing.assert_array_equal(both_ways(tmp_path, "a.png", picture(np.full_like(TARGET, value))), expected)


THREE = {
    "gray.png": picture(CLASSES),
    "palette.png": palette(CLASSES, (0, 0, 0), (128, 0, 0), GREEN),
    "palette without black.png": palette(CLASSES, (255, 255, 255), (128, 0, 0), GREEN),
    "float.nii": nifti(CLASSES.astype(np.float32)),
    "equal channels.png": picture(CLASSES[..., None].repeat(3, -1)),
    "opaque.png": picture(with_alpha(CLASSES, 255)),
    "sixteen.tif": picture(CLASSES.astype(np.uint16)),
}


@pytest.mark.parametrize("name", THREE)
def test_of_more_classes_values_or_numbers_of_a_palette_are_the_indices(name, tmp_path):
    np.testing.assert_array_equal(both_ways(tmp_path, name, THREE[name], num_classes=3), CLASSES)


def test_bilevel_masks_have_the_indices_0_and_1_among_more(tmp_path):
    with pytest.warns(UserWarning, match="no mask has the class 2"):
        found = both_ways(tmp_path, "a.png", picture(TARGET > 0), num_classes=3)
    np.testing.assert_array_equal(found, TARGET)


TABLE = {"red": 1, "#008000": 2}
GIVEN = {
    "rgb.png": (picture(coloured(CLASSES, (0, 0, 0), RED, GREEN)), TABLE),
    "rgba.png": (picture(with_alpha(coloured(CLASSES, (0, 0, 0), RED, GREEN), 255)), TABLE),
    "palette.png": (palette(CLASSES, (0, 0, 0), RED, GREEN), TABLE),
    "order.png": (palette(CLASSES, RED, (0, 0, 0), GREEN), {"red": 0, "black": 1, "green": 2}),
    "white.png": (picture(coloured(CLASSES, (255, 255, 255), RED, GREEN)), {**TABLE, "white": 0}),
    "gray.png": (picture(CLASSES * 100), {100: 1, "#c8c8c8": 2}),
    "json.png": (picture(CLASSES * 100), {"100": 1, "200": 2}),
    "hu.nii": (nifti(CLASSES.astype(np.int16) * -500), {-500: 1, -1000: 2}),
}


@pytest.mark.parametrize("name", GIVEN)
def test_colours_are_the_classes_that_a_table_gives_them(name, tmp_path):
    make, table = GIVEN[name]
    np.testing.assert_array_equal(both_ways(tmp_path, name, make, num_classes=3, mask_colours=table), CLASSES)


def test_a_table_serves_two_classes_too(tmp_path):
    make = picture(coloured(CLASSES, (255, 255, 255), RED, GREEN))
    table = {"white": 0, "red": 1, "green": 1}
    np.testing.assert_array_equal(both_ways(tmp_path, "a.png", make, mask_colours=table), CLASSES > 0)


RAMP = np.arange(54, dtype=np.uint8).reshape(6, 9)
REFUSED = {
    "three values": (picture(CLASSES), {}, "0 and one other value, got 0, 1, 2; relabel"),
    "255": (picture(TARGET * 255), {"num_classes": 3}, "expected integers 0..2, got 0, 255; relabel"),
    "no background": (picture(CLASSES[:1].repeat(6, 0) % 2 + 1), {}, "one other value, got 1, 2; relabel"),
    "halves": (nifti(TARGET / 2), {"num_classes": 3}, "expected integers 0..2, got 0, 0.5; relabel"),
    "blurred": (picture(RAMP), {}, "got 0, 1, 2, 3, 4, 5, 6, 7 and 46 more; in-between values come from JPEG"),
    "colours": (
        picture(coloured(CLASSES, (0, 0, 0), RED, BLUE)),
        {},
        "expected black and one other colour, got 0, #0000ff, #ff0000; assign classes to colours: --mask_colours",
    ),
    "no black": (picture(coloured(TARGET, RED, BLUE)), {}, "black and one other colour, got #0000ff, #ff0000; assign"),
    "one colour": (picture(coloured(TARGET, RED, RED)), {}, "expected black and one other colour, got #ff0000; assign"),
    "soft edge": (picture(coloured(CLASSES, (0, 0, 0, 0), (*RED, 128), (*RED, 255))), {}, "#ff0000ff; assign"),
    "many colours": (picture(np.stack([RAMP, RAMP, RAMP * 2], -1)), {}, "46 more; in-between values"),
    "colours, three classes": (
        picture(coloured(CLASSES, (0, 0, 0), RED, BLUE)),
        {"num_classes": 3},
        "expected integers 0..2, got 0, #0000ff, #ff0000; assign classes to them: --mask_colours",
    ),
    "palette of three": (palette(CLASSES, (0, 0, 0), RED, GREEN), {}, "got 0 (0), 1 (#ff0000), 2 (#008000); relabel"),
    "palette with black last": (
        palette(TARGET, (255, 255, 255), (0, 0, 0)),
        {},
        "expected the number 0 of the palette for the background, got 1 for black; assign classes to colours",
    ),
    "not in the table": (
        picture(coloured(CLASSES, (0, 0, 0), RED, BLUE)),
        {"mask_colours": {"red": 1}},
        "expected only the colours of mask_colours, got #0000ff too; add them or correct the mask",
    ),
    "no colour": (picture(TARGET), {"mask_colours": {"rad": 1}}, "mask_colours: 'rad' is not a colour; write names"),
    "no class": (picture(TARGET), {"mask_colours": {"red": 2}}, "mask_colours: expected classes 0..1, got 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused_saying_what_was_found_and_what_to_do(name, tmp_path):
    make, options, message = REFUSED[name]
    found = both_ways(tmp_path, "mask.nii" if "nifti" in make.__qualname__ else "mask.png", make, **options)
    assert message in found


def test_colours_are_no_numbers_that_a_row_could_ask_for():
    colours = Picture(coloured(CLASSES, (0, 0, 0), RED, BLUE))
    with pytest.raises(ValueError, match="value: expected a mask of numbers, got 0, #0000ff, #ff0000; leave it empty"):
        class_indices(colours, value="1")
    np.testing.assert_array_equal(class_indices(Picture(CLASSES), value="1, 2"), CLASSES > 0)


def test_a_jpeg_mask_is_refused_unless_nothing_blurred(tmp_path):
    blurred = both_ways(tmp_path, "a.jpg", picture(TARGET * 255))
    assert "threshold the mask and save it as PNG" in blurred
    even = np.zeros((16, 16), np.uint8)
    even[:8] = 255
    Image.fromarray(even).save(tmp_path / "even.jpg", quality=100, subsampling=0)
    np.testing.assert_array_equal(class_indices(read_picture(tmp_path / "even.jpg")), even > 0)


def test_sixteen_bits_of_several_channels_are_refused(tmp_path):
    picture(coloured(TARGET, (0, 0, 0), (1, 1, 1)))(tmp_path / "a.png")
    with pytest.raises(ValueError, match="got 16; save it as a grayscale image"):
        class_indices(read_picture(tmp_path / "a.png")._replace(whole=False))

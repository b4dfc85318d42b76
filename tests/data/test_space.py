"""Every order and direction of a file's axes is seen the same way up, and goes back."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from textdiff_monai.data.space import Space

SHAPE = (5, 7, 1)  # of an axial slice whose axes run to the left, to the back and upwards
AFFINE = np.array([[-0.5, 0, 0, 10], [0, -0.7, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])
PLANE = np.arange(35.0).reshape(5, 7)
ORIENTATIONS = ["".join(codes) for axes in permutations(["RL", "AP", "SI"]) for codes in product(*axes)]


def reoriented(codes, volume=PLANE[..., None], affine=AFFINE):
    """The same slice with its axes in another order and direction."""
    image = nib.Nifti1Image(volume, affine)
    turns = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes))
    turned = image.as_reoriented(turns)
    assert "".join(nib.aff2axcodes(turned.affine)) == codes
    return np.asarray(turned.dataobj), turned.affine


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_slice_is_seen_alike_whatever_the_axes_of_its_file(codes):
    array, affine = reoriented(codes)
    space = Space.of_slice(array.shape, affine)
    plane = array.squeeze(space.axis)
    np.testing.assert_array_equal(space.seen(plane), PLANE.T)
    np.testing.assert_array_equal(space.filed(PLANE.T), plane)
    expected = AFFINE[:, [1, 0, 2, 3]]  # rows to the back, columns to the left
    np.testing.assert_allclose(space.seen_affine[:, [0, 1, 3]], expected[:, [0, 1, 3]], atol=1e-9)
    assert space.as_filed == (
        codes[space.axis - 2] + codes[space.axis - 1] in ("LP", "PL") and codes.index("L") < codes.index("P")
    )


def test_coronal_and_sagittal_slices_are_seen_upright():
    volume = np.zeros((4, 6, 8))  # R, A, S
    volume[3, 5, 7] = 1  # right, front, head
    affine = np.eye(4)
    coronal, sagittal = Space.of_slice((4, 1, 8), affine), Space.of_slice((1, 6, 8), affine)
    assert np.argwhere(coronal.seen(volume[:, 5])).tolist() == [[0, 0]]  # the head above, the right on the left
    assert np.argwhere(sagittal.seen(volume[3])).tolist() == [[0, 0]]  # the head above, the front on the left


def test_channels_come_along():
    array, affine = reoriented("SAR", np.stack([PLANE, -PLANE], axis=-1)[:, :, None, 0])
    space = Space.of_slice(array.shape, affine)
    coloured = np.stack([array.squeeze(space.axis), -array.squeeze(space.axis)], axis=-1)
    np.testing.assert_array_equal(space.seen(coloured)[..., 1], -PLANE.T)
    np.testing.assert_array_equal(space.filed(space.seen(coloured)), coloured)


def test_an_oblique_slice_is_taken_by_the_nearest_directions():
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    space = Space.of_slice(SHAPE, turn @ AFFINE)
    np.testing.assert_array_equal(space.seen(PLANE), PLANE.T)


def test_a_missing_third_axis_is_made_up_and_a_worse_affine_refused():
    flat = AFFINE.copy()
    flat[:, 2] = 0
    np.testing.assert_array_equal(Space.of_slice(SHAPE, flat).seen(PLANE), PLANE.T)
    for value in (0, np.nan):
        broken = AFFINE.copy()
        broken[:3, 0] = value
        with pytest.raises(ValueError, match="its affine cannot be inverted; save it with the affine of its source"):
            Space.of_slice(SHAPE, broken)
    with pytest.raises(ValueError, match=r"expected one 2D slice, got the shape \(5, 7, 2\)"):
        Space.of_slice((5, 7, 2), AFFINE)

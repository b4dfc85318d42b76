"""Volumes become slices to learn from, in any order of axes the same ones."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from made import save_csv, save_image, save_mask
from monai.data import list_data_collate

from textdiff_monai import DataError, TextInferer, check_datalist, load_datalist, open_scan, preprocessing, slices_of

AFFINE = np.diag([-1.0, -1, 3, 1])


@pytest.fixture
def data(tmp_path):
    """A volume of six slices, the target in 1 to 3, with a mask in another order of axes; and a picture."""
    values = np.random.default_rng(0).integers(0, 500, (5, 4, 6)).astype(np.int16)
    mask = np.zeros((5, 4, 6), np.uint8)
    mask[1:3, 1:3, 1:4] = 1
    mask[4, 3, 2] = 2
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / "images" / "v.nii.gz")
    turns = nib.orientations.ornt_transform(nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt("SAR"))
    nib.save(nib.Nifti1Image(mask, AFFINE).as_reoriented(turns), tmp_path / "masks" / "v.nii.gz")
    save_image(tmp_path / "images" / "p.png")
    save_mask(tmp_path / "masks" / "p.png")
    header = "image,mask,text,split,value,slices"
    rows = ["v.nii.gz,v.nii.gz,one,train,1,", "v.nii.gz,v.nii.gz,both,train,1 2,2-4", "p.png,p.png,other,train,,"]
    return load_datalist(save_csv(tmp_path, *rows, header=header)), values, mask


def test_each_slice_is_an_item_with_its_part_of_the_mask(data):
    items, _, mask = data
    check_datalist(items, progress=False)
    slices = slices_of(items)
    assert [(item["text"], item.get("slice")) for item in slices] == [
        ("other", None),
        *(("one", number) for number in range(6)),
        *(("both", number) for number in (2, 3, 4)),
    ]
    assert len({item["id"] for item in slices}) == 10
    load = preprocessing()
    for item in slices[1:]:
        seen = load(item)
        assert seen["image"].shape == (3, 4, 5)
        own = mask[..., item["slice"]].T
        np.testing.assert_array_equal(seen["label"][0], own == 1 if item["text"] == "one" else own > 0)


def test_slices_and_pictures_make_one_batch(data):
    picture, *slices = map(preprocessing(resize=8), slices_of(data[0]))
    assert list_data_collate([*slices, picture])["image"].shape == (10, 3, 8, 8)


def test_a_whole_volume_has_its_slices_last_and_one_window_for_all(data):
    items, values, mask = data
    one, both = (preprocessing()(item) for item in items[1:])
    assert one["image"].shape == one["label"].shape == (1, 4, 5, 6)
    np.testing.assert_array_equal(one["label"][0], (mask == 1).transpose(1, 0, 2))
    np.testing.assert_array_equal(np.flatnonzero(both["label"][0].any((0, 1))), [2, 3])
    low, high = np.percentile(values, (0.5, 99.5))
    expected = ((values - low) / (high - low)).clip(0, 1) * 2 - 1
    np.testing.assert_allclose(one["image"][0], expected.transpose(1, 0, 2), atol=1e-5)
    cut = preprocessing()(slices_of(items)[3])
    np.testing.assert_array_equal(cut["image"][0], one["image"][0, ..., 2])


def test_as_many_slices_as_asked_for_half_of_them_with_the_target(data):
    items = data[0][1:2]
    for count, with_target in ((1, 1), (2, 1), (4, 2), (5, 3), (6, 3), (9, 3)):
        drawn = [slices_of(items, per_volume=count, seed=3) for _ in range(2)]
        numbers = [item["slice"] for item in drawn[0]]
        assert numbers == sorted(set(numbers)) == [item["slice"] for item in drawn[1]]
        assert len(numbers) == min(count, 6)
        assert sum(number in (1, 2, 3) for number in numbers) == with_target
    others = {tuple(item["slice"] for item in slices_of(items, per_volume=2, seed=seed)) for seed in range(9)}
    assert len(others) > 1


def test_neighbours_are_the_channels_below_and_above(data):
    items, values, _ = data
    low, high = open_scan(items[1]["image"])[0].window
    seen = preprocessing(neighbours=True)(slices_of(items)[6])  # the last slice
    for channel, number in enumerate((4, 5, 5)):
        expected = ((values[..., number].T - low) / (high - low)).clip(0, 1) * 2 - 1
        np.testing.assert_allclose(seen["image"][channel], expected, atol=1e-5)
    inferer = TextInferer(neighbours=True)
    coloured = np.random.default_rng(0).integers(0, 255, (5, 4, 6, 3)).astype(np.uint8)
    path = items[1]["image"]
    nib.save(nib.Nifti1Image(coloured.view([(name, "u1") for name in "RGB"])[..., 0], AFFINE), path)
    load = preprocessing(["image"], neighbours=True)
    volume = load({"image": path})["image"]
    for number in range(6):  # inference cuts what training saw, of coloured volumes too
        assert torch.equal(inferer.plane(volume, number), load({"image": path, "slice": number})["image"])
    with pytest.raises(ValueError, match="neighbours"):
        preprocessing(neighbours=True, channels="BGR")


def test_the_plane_that_is_asked_for_is_cut(data):
    items = data[0][1:2]
    assert [len(slices_of(items, plane)) for plane in ("axial", "coronal", "sagittal")] == [6, 4, 5]
    with pytest.raises(DataError, match="plane is 'oblique': expected one of sagittal, coronal, axial"):
        check_datalist(items, progress=False, plane="oblique")


def test_slices_that_are_not_there_are_an_error_with_their_number(data):
    items = [data[0][1] | {"slices": text} for text in ("4-6", "a", "3-1")]
    for item, reason in zip(items, ("counted from 0 to 5", "expected a number or a range", "3-1"), strict=True):
        with pytest.raises(DataError, match=reason):
            check_datalist([item], progress=False)
        assert slices_of([item]) == [item]

"""DICOM series are found among files, one image each, and named where a folder has several."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from made import save_csv, save_image

pytest.importorskip("pydicom")
from made_dicom import save_dicom, save_series

from textdiff_monai import DataError, check_datalist, load_datalist, load_images, open_scan

VOLUME = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)


def names(root, folder):
    return [item["image"].removeprefix(f"{root}/") for item in load_images(folder)]


def test_a_tree_of_folders_gives_every_image_once(tmp_path):
    save_series(tmp_path / "p1" / "ct", VOLUME)
    save_series(tmp_path / "p2", VOLUME, names=["IM1", "IM2", "1.2.840.3"])
    save_dicom(tmp_path / "p2" / "film.dcm", VOLUME[0])
    save_dicom(tmp_path / "p2" / "film2", VOLUME[0])
    save_image(tmp_path / "p3" / "a.png")
    (tmp_path / "p3" / "notes").write_text("of somebody")
    found = ["p1/ct", "p2", "p2/film.dcm", "p2/film2", "p3/a.png"]
    assert names(tmp_path, tmp_path) == found
    assert [item["id"] for item in load_images(tmp_path)] == ["ct", "p2", "film", "film2", "a"]


def test_series_of_one_folder_are_told_apart_by_their_numbers(tmp_path):
    for number, size in ((2, 3), (5, 2)):
        files = [f"{number}_{one}.dcm" for one in range(size)]
        save_series(tmp_path / "s", VOLUME[:size] * number, names=files, SeriesNumber=number)
    assert names(tmp_path, tmp_path / "s") == ["s#2", "s#5"]
    assert names(tmp_path, f"{tmp_path}/s#5") == ["s#5"]
    np.testing.assert_array_equal(open_scan(f"{tmp_path}/s#5")[1].pixels, VOLUME[1] * 5)
    for path, reason in ((tmp_path / "s", "expected one series, got 2 .#2, #5."), (f"{tmp_path}/s#3", "no series 3")):
        with pytest.raises(ValueError, match=reason):
            open_scan(path)


def test_series_with_the_same_number_get_one_each(tmp_path):
    for number in range(2):
        save_series(tmp_path / "s", VOLUME, names=[f"{number}_{one}.dcm" for one in range(3)])
    assert names(tmp_path, tmp_path / "s") == ["s#1.1", "s#1.2"]


def test_a_folder_without_a_volume_says_what_it_has(tmp_path):
    (tmp_path / "s").mkdir()
    for name in ("a.dcm", "b.dcm"):
        save_dicom(tmp_path / "s" / name, VOLUME[0])
    with pytest.raises(
        ValueError, match="expected a folder with the DICOM files of one series, got 2 images that do not"
    ):
        open_scan(tmp_path / "s")


def test_a_table_may_name_series_as_folders(tmp_path):
    save_series(tmp_path / "images" / "ct", VOLUME)
    scan = open_scan(tmp_path / "images" / "ct")
    (tmp_path / "masks").mkdir()
    mask = nib.Nifti1Image((scan.space.filed(scan.stack().pixels[..., 0]) > 30).astype(np.uint8), scan.space.affine)
    nib.save(nib.as_closest_canonical(mask), tmp_path / "masks" / "ct.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 2), np.uint8), scan.space.affine), tmp_path / "masks" / "short.nii.gz")
    moved = scan.space.affine.copy()
    moved[2, 3] += 9
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj), moved), tmp_path / "masks" / "far.nii.gz")
    save_csv(tmp_path, "ct/,ct.nii.gz,the bright half,train")
    (item,) = load_datalist(tmp_path)
    check_datalist([item], progress=False)
    for name, reason in (("short", "expected 5 x 4 pixels and 3 slices like"), ("far", "its affine places it")):
        with pytest.raises(DataError, match=reason):
            check_datalist([item | {"label": str(tmp_path / "masks" / f"{name}.nii.gz")}], progress=False)

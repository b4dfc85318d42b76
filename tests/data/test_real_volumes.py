"""Real volumes: MR and CT as NIfTI, compressed DICOM, and a DICOM SEG that others made."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("highdicom")

from textdiff_monai import MaskReader, check_datalist, load_images, open_scan, slices_of
from textdiff_monai.data.output import writer_for
from textdiff_monai.data.writers import Origin

pytestmark = pytest.mark.realdata


@pytest.fixture
def volumes(real_data):
    return real_data / "volumes"


def mask(volumes, name, image, **item):
    reader = MaskReader(plane=None).of({"image": str(volumes / "images" / image), **item})
    return reader.get_data(reader.read(str(volumes / "masks" / name)))[0][..., 0]


def test_a_mask_in_other_axes_lies_on_its_compressed_series(volumes):
    scan = open_scan(volumes / "images" / "ts-ct-dicom")
    assert (len(scan), scan.space.plane, scan.space.shape) == (20, "axial", (512, 512, 20))
    assert np.allclose(scan.space.spacing, (0.9765625, 0.9765625, 2.0))
    liver = mask(volumes, "ts-ct-dicom.nii.gz", "ts-ct-dicom", value="5")
    assert scan.stack().pixels[..., 0][liver > 0].mean() == pytest.approx(89, abs=1)
    item = {
        "image": str(volumes / "images" / "ts-ct-dicom"),
        "text": "the liver",
        "value": "5",
        "split": "train",
        "id": "a",
    }
    item["label"] = str(volumes / "masks" / "ts-ct-dicom.nii.gz")
    check_datalist([item], progress=False)
    marked = [one["slice"] for one in slices_of([item], per_volume=2)]
    assert liver.any((0, 1))[marked].sum() == 1 or liver.any((0, 1)).all()


def test_a_segmentation_of_others_is_read_and_ours_written_beside_it(volumes, tmp_path):
    image = volumes / "images" / "dcmqi-ct-dicom"
    liver = mask(volumes, "dcmqi-liver-seg.dcm", image.name)
    assert 40 < np.median(open_scan(image).stack().pixels[..., 0][liver > 0]) < 50
    assert liver.shape == (512, 512, 3)
    of = Origin(image, open_scan(image).space, "Segment the liver.")
    writer_for(of, "dicom_seg").write(tmp_path / "ours.dcm", liver, of)
    reader = MaskReader().of({"image": str(image)})
    np.testing.assert_array_equal(reader.get_data(reader.read(str(tmp_path / "ours.dcm")))[0][..., 0], liver)
    several = [mask(volumes, "dcmqi-overlaps-seg.dcm", image.name, value=str(number)) for number in range(1, 6)]
    assert all(one.any() for one in several)
    with pytest.raises(ValueError, match="overlap"):
        mask(volumes, "dcmqi-overlaps-seg.dcm", image.name)


def test_every_volume_comes_back_where_it_was(volumes, tmp_path):
    items = load_images(volumes / "images")
    assert len(items) >= 80 + 8 + 2 + 3 - 6
    for item in items[:: len(items) // 8]:
        scan = open_scan(item["image"])
        seen = scan.stack() if scan.is_stack else scan[0]
        values = (seen.colours[..., 0] > seen.colours.mean()).astype(np.uint8)
        of = Origin(type(volumes)(item["image"]), scan.space)
        writer_for(of, "nifti").write(tmp_path / "a.nii.gz", values, of)
        written = nib.load(tmp_path / "a.nii.gz")
        np.testing.assert_allclose(written.affine, scan.space.affine, atol=1e-4)
        again = open_scan(tmp_path / "a.nii.gz", scan.space.plane if scan.is_stack else None)
        np.testing.assert_array_equal((again.stack().pixels if scan.is_stack else again[0].pixels).squeeze(), values)
        assert again.space.shape == scan.space.shape
        (tmp_path / "a.nii.gz").unlink()

"""Results as files in the layout of their source: one contract for every writer and kind of source."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from textdiff_monai import read_picture
from textdiff_monai.data.output import writer_for
from textdiff_monai.data.writers import Origin

SEEN = np.random.default_rng(0).integers(0, 3, (6, 9)).astype(np.uint8)
SOURCES = {
    "picture.png": lambda path: Image.fromarray(SEEN).save(path),
    "flat.nii.gz": lambda path: nib.save(nib.Nifti1Image(SEEN.T, np.diag([-1, -2, 3, 1])), path),
    "ras.nii.gz": lambda path: nib.save(nib.Nifti1Image(SEEN.T[::-1, ::-1, None], np.diag([1, 2, 3, 1])), path),
    "sagittal.nii": lambda path: nib.save(nib.Nifti1Image(SEEN.T[None], np.diag([3, -1, -2, 1])), path),
    "wh11.nii": lambda path: nib.save(nib.Nifti2Image(SEEN.T[..., None, None], np.diag([-1, -2, 3, 1])), path),
    "scaled.nii": lambda path: nib.save(nib.Nifti1Image(SEEN.T / 7, np.diag([-1, -2, 3, 1])), path),
}


def origin(path):
    return Origin(path, read_picture(path).space)


@pytest.mark.parametrize("kind", ["png", "nifti"])
@pytest.mark.parametrize("name", SOURCES)
def test_what_is_written_is_seen_as_its_source(name, kind, tmp_path):
    SOURCES[name](tmp_path / name)
    writer = writer_for(origin(tmp_path / name), kind)
    result = tmp_path / f"result{writer.ending}"
    writer.write(result, SEEN, origin(tmp_path / name))
    np.testing.assert_array_equal(read_picture(result).pixels, SEEN)


@pytest.mark.parametrize("name", [name for name in SOURCES if "nii" in name])
def test_nifti_has_the_shape_and_affine_of_its_source(name, tmp_path):
    SOURCES[name](tmp_path / name)
    of = origin(tmp_path / name)
    writer_for(of).write(tmp_path / "result.nii.gz", SEEN.astype(np.float32) / 2, of)
    source, result = nib.load(tmp_path / name), nib.load(tmp_path / "result.nii.gz")
    assert result.shape == source.shape
    np.testing.assert_array_equal(result.affine, source.affine)
    assert result.get_data_dtype() == np.float32
    np.testing.assert_array_equal(read_picture(tmp_path / "result.nii.gz").pixels, SEEN / 2)


def test_each_source_has_results_of_its_kind():
    kinds = [writer_for(Origin(Path(name))).name for name in ("a.PNG", "a.jpg", "a.NII")]
    assert kinds == ["png", "png", "nifti"]
    with pytest.raises(ValueError, match=r"output_type '\.png': expected one of png, nifti"):
        writer_for(Origin(Path("a.png")), ".png")


def test_probabilities_are_grey_values_in_a_picture(tmp_path):
    of = Origin(Path("a.png"))
    writer_for(of).write(tmp_path / "a.png", np.array([[0, 0.5, 1]], np.float32), of)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 128, 255]]

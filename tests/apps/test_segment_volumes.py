"""``textdiff segment`` and ``inference.json`` on volumes: slice by slice, back in the source's shape and place."""

from __future__ import annotations

import json
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
from made import save_image

from textdiff_monai import DataError, FeatureCache, MaskReader, bundle_root
from textdiff_monai.apps import cli
from textdiff_monai.apps.segment import segment
from textdiff_monai.apps.segmenter import Segmenter
from textdiff_monai.data.files import read_rows

LPS = np.array([[-0.5, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1.0]])
VALUES = np.random.default_rng(0).normal(100, 50, (32, 32, 5)).astype(np.float32)
CONFIG = f"{bundle_root()}/configs/inference.json"


@pytest.fixture
def volume(tmp_path):
    nib.save(nib.Nifti1Image(VALUES, LPS), tmp_path / "volume.nii.gz")
    return tmp_path / "volume.nii.gz"


def values(path):
    return np.asarray(nib.load(path).dataobj)


def marked(path):
    """Millimetres of every voxel that a mask marks."""
    image = nib.load(path)
    places = nib.affines.apply_affine(image.affine, np.argwhere(image.get_fdata()))
    return {tuple(place) for place in places.round(3) + 0.0}


def test_a_volume_is_its_slices(tiny_head, volume, tmp_path):
    """With a window of its own, a slice alone is read as in its volume."""
    options = tiny_head | {"intensity_range": [0, 200], "override_recipe": True}
    (mask,) = segment(volume, "left lung", tmp_path / "out", **options)
    read = nib.load(mask)
    np.testing.assert_allclose(read.affine, LPS)
    assert read.get_data_dtype() == np.uint8
    assert 0 < values(mask).mean() < 1
    for number in range(5):
        place = LPS.copy()
        place[:, 3] += LPS[:, 2] * number
        nib.save(nib.Nifti1Image(VALUES[..., number : number + 1], place), tmp_path / f"{number}.nii")
        (one,) = segment(tmp_path / f"{number}.nii", "left lung", tmp_path / "slices", **options)
        np.testing.assert_array_equal(values(one)[..., 0], values(mask)[..., number])
    (row,) = read_rows(tmp_path / "out" / "results.csv")
    assert float(row["volume_ml"]) == pytest.approx(values(mask).sum() * 0.75 / 1000, rel=1e-5)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SRA", "PIR"])
def test_a_sentence_marks_the_same_place_whatever_the_axes_of_the_file(codes, tiny_head, volume, tmp_path):
    image = nib.load(volume)
    turns = nib.orientations.ornt_transform(nib.io_orientation(LPS), nib.orientations.axcodes2ornt(codes))
    nib.save(image.as_reoriented(turns), tmp_path / "turned.nii.gz")
    masks = [
        segment(path, "left lung", tmp_path / "out", **tiny_head)[0] for path in (volume, tmp_path / "turned.nii.gz")
    ]
    assert nib.aff2axcodes(nib.load(masks[1]).affine) == tuple(codes)
    assert marked(masks[0]) == marked(masks[1])


def test_the_configuration_finds_what_the_command_does(tiny_head, volume, tmp_path):
    (mask,) = segment(volume, "left lung", tmp_path / "out", **tiny_head)
    overrides = {
        "dataset_dir": str(volume),
        "text": "left lung",
        "output_dir": str(tmp_path / "other"),
        "device": "cpu",
    }
    monai.bundle.run("run", config_file=CONFIG, **tiny_head, **overrides, slices_per_batch=2)
    np.testing.assert_array_equal(values(mask), values(tmp_path / "other" / mask.name))


def test_several_sentences_are_read_in_one_pass_over_the_features(tiny_head, volume, tmp_path, monkeypatch):
    caches = []
    begin = FeatureCache.__init__
    monkeypatch.setattr(FeatureCache, "__init__", lambda self, *a, **k: begin(self, *a, **k) or caches.append(self))
    options = tiny_head | {"cache_dir": str(tmp_path / "cache")}
    together = segment(volume, out=tmp_path / "a", texts=["left lung", "right is high"], **options)
    (cache,) = [one for one in caches if one.computed]
    assert (cache.computed, cache.read) == (5, 5)
    for text, mask in zip(["left lung", "right is high"], together, strict=True):
        (alone,) = segment(volume, text, tmp_path / text.replace(" ", ""), **tiny_head)
        np.testing.assert_array_equal(values(alone), values(mask))
    assert [row["text"] for row in read_rows(tmp_path / "a" / "results.csv")] == ["left lung", "right is high"]


def test_each_range_of_slices_has_its_own_sentence(tiny_head, volume, tmp_path):
    lines = [
        "image,text,slices",
        "volume.nii.gz,left lung,0-1",
        "volume.nii.gz,right is high,2-4",
        "volume.nii.gz,left lung,",
    ]
    (tmp_path / "ask.csv").write_text("\n".join(lines))
    low, high, whole = (values(mask) for mask in segment(tmp_path / "ask.csv", out=tmp_path / "out", **tiny_head))
    assert not low[..., 2:].any()
    assert not high[..., :2].any()
    assert high.any()
    np.testing.assert_array_equal(low[..., :2], whole[..., :2])
    assert [row["slices"] for row in read_rows(tmp_path / "out" / "results.csv")] == ["0-1", "2-4", ""]
    overrides = {"dataset_dir": str(tmp_path / "ask.csv"), "output_dir": str(tmp_path / "other"), "device": "cpu"}
    monai.bundle.run("run", config_file=CONFIG, **tiny_head, **overrides)
    np.testing.assert_array_equal(values(tmp_path / "other" / "volume_mask.nii.gz"), low)


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_another_plane_is_cut_and_comes_back(plane, tiny_head, volume, tmp_path):
    options = tiny_head | {"plane": plane, "override_recipe": True}
    (mask,) = segment(volume, "left lung", tmp_path / "out", **options)
    assert nib.load(mask).shape == VALUES.shape
    np.testing.assert_allclose(nib.load(mask).affine, LPS)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["settings"]["options"]["plane"] == plane


def test_what_cannot_be_read_is_told_at_the_end_and_the_others_go_on(tiny_head, volume, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    volume.rename(tmp_path / "in" / "deep" / "volume.nii.gz")
    save_image(tmp_path / "in" / "a.png", size=(32, 32))
    (tmp_path / "in" / "b.png").write_text("no image")
    nan = VALUES.copy()
    nan[0, 0, 3] = np.nan
    nib.save(nib.Nifti1Image(nan, LPS), tmp_path / "in" / "nan.nii.gz")
    cut = tmp_path / "in" / "cut.nii.gz"
    cut.write_bytes((tmp_path / "in" / "deep" / "volume.nii.gz").read_bytes()[:2000])
    with pytest.raises(DataError) as caught:
        segment(tmp_path / "in", "left lung", tmp_path / "out", **tiny_head)
    assert [line.split(":")[0].rsplit("/", 1)[1] for line in caught.value.problems] == [
        "b.png",
        "cut.nii.gz",
        "nan.nii.gz",
    ]
    assert "1 of 5120 values are not numbers" in caught.value.problems[2]
    assert [row["id"] for row in read_rows(tmp_path / "out" / "results.csv")] == ["a", "volume"]
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["masks"], run["failed"]) == (2, 3)


def test_series_that_make_no_volume_are_named_and_the_others_go_on(tiny_head, tmp_path):
    pytest.importorskip("pydicom")
    from made_dicom import SECRET, change, save_series

    slices, root = VALUES.transpose(2, 1, 0).astype(np.int16), tmp_path / "in"
    expected = {
        "missing": "a slice is missing between 001.dcm and 003.dcm",
        "doubled": "001.dcm and 002.dcm are the same slice",
        "tilted": "003.dcm is tilted against 000.dcm",
        "syntax": "003.dcm: its transfer syntax 1.2.840.10008.9.9.9 is unknown",
        "empty": "003.dcm has no pixel data",
        "cut": "003.dcm: its pixels cannot be",
    }
    for name in (*expected, "good", "mixed"):
        save_series(root / name, slices)
    (root / "missing" / "002.dcm").unlink()
    place = [-10.0, -20.0, 33.0]
    change(root / "doubled" / "002.dcm", ImagePositionPatient=place)
    change(root / "tilted" / "003.dcm", ImageOrientationPatient=[1, 0, 0, 0, 0.8, 0.6])
    change(root / "empty" / "003.dcm", PixelData=None)
    change(root / "cut" / "003.dcm", PixelData=b"\0\0")
    file = root / "syntax" / "003.dcm"
    file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0", 1))
    save_series(root / "mixed", slices[:3], names=["a.dcm", "b.dcm", "c.dcm"], SeriesNumber=2)
    with pytest.raises(DataError) as caught:
        segment(root, "left lung", tmp_path / "out", **tiny_head)
    told = {Path(line.split(":")[0]).name: line for line in caught.value.problems}
    assert told.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in told[name]
        assert "\n" not in told[name]
        assert SECRET not in told[name]
    assert [row["image"].rsplit("/", 1)[1] for row in read_rows(tmp_path / "out" / "results.csv")] == [
        "good",
        "mixed#1",
        "mixed#2",
    ]


def test_a_run_goes_on_where_it_was_stopped(tiny_head, volume, tmp_path, monkeypatch):
    save_image(tmp_path / "in" / "a.png", size=(32, 32))
    volume.rename(tmp_path / "in" / "volume.nii.gz")
    first = segment(tmp_path / "in", "left lung", tmp_path / "out", **tiny_head)
    stamps = [path.stat().st_mtime_ns for path in first]
    first[1].unlink()
    again = segment(tmp_path / "in", "left lung", tmp_path / "out", preview=True, **tiny_head)
    assert again == first
    assert first[0].stat().st_mtime_ns == stamps[0]
    assert first[1].stat().st_mtime_ns > stamps[1]
    assert (tmp_path / "out" / "preview.png").is_file()
    assert len(read_rows(tmp_path / "out" / "results.csv")) == 2
    segment(tmp_path / "in", "left lung", tmp_path / "out", **tiny_head, num_classes=2, slices_per_batch=3)
    assert first[0].stat().st_mtime_ns > stamps[0]  # other options are another run


def test_what_a_stopped_run_did_not_reach_is_not_taken_for_its_own(tiny_head, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        save_image(tmp_path / "in" / name, size=(32, 32))
    first = segment(tmp_path / "in", "left lung", tmp_path / "out", **tiny_head)
    stamps = [path.stat().st_mtime_ns for path in first]
    other, done = tiny_head | {"temperature": 2.0}, []
    with monkeypatch.context() as patch:
        image = Segmenter.image

        def stopped(self, *arguments):
            if done:
                raise KeyboardInterrupt
            done.append(image(self, *arguments))

        patch.setattr(Segmenter, "image", stopped)
        with pytest.raises(KeyboardInterrupt):
            segment(tmp_path / "in", "left lung", tmp_path / "out", **other)
    middle = [path.stat().st_mtime_ns for path in first]
    assert middle[0] > stamps[0]
    assert middle[1] == stamps[1]
    segment(tmp_path / "in", "left lung", tmp_path / "out", **other)
    assert first[0].stat().st_mtime_ns == middle[0]
    assert first[1].stat().st_mtime_ns > middle[1]  # it was the first run's


def test_a_run_can_be_repeated_from_what_it_left(tiny_head, volume, tmp_path):
    (mask,) = segment(volume, "left lung", tmp_path / "out", slices="1-3", **tiny_head)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert {"checkpoint_sha256", "encoders", "options", "device", "versions"} <= run["settings"].keys()
    assert run["settings"]["options"] == tiny_head
    (same,) = segment(tmp_path / "out" / "results.csv", out=tmp_path / "again", **run["settings"]["options"])
    np.testing.assert_array_equal(values(mask), values(same))


def test_dicom_comes_back_with_its_place(tiny_head, tmp_path):
    pytest.importorskip("pydicom")
    from made_dicom import SECRET, save_dicom, save_series

    series = save_series(tmp_path / "in" / "ct", VALUES.transpose(2, 1, 0).astype(np.int16), spacing=(0.5, 0.5, 3))
    save_dicom(tmp_path / "in" / "film.dcm", VALUES[..., 0].T.astype(np.int16))
    series_mask, film = segment(tmp_path / "in", "left lung", tmp_path / "out", **tiny_head)
    read = nib.load(series_mask)
    assert read.shape == (32, 32, 5)
    np.testing.assert_allclose(read.affine, np.diag([-0.5, -0.5, 3, 1]) + np.outer([10, 20, 30, 0], [0, 0, 0, 1]))
    nib.save(nib.Nifti1Image(VALUES.astype(np.int16), read.affine), tmp_path / "same.nii.gz")
    (same,) = segment(tmp_path / "same.nii.gz", "left lung", tmp_path / "out", **tiny_head)
    np.testing.assert_array_equal(values(same), values(series_mask))
    assert film.name == "film_mask.png"
    left = [path for path in (tmp_path / "out").iterdir() if path.suffix in (".csv", ".json")]
    assert not [path for path in left if SECRET in path.read_text()]
    assert series == Path(read_rows(tmp_path / "out" / "results.csv")[0]["image"])


def test_masks_are_of_the_type_that_is_asked_for(tiny_head, volume, tmp_path):
    pytest.importorskip("highdicom")
    pytest.importorskip("contourpy")
    from made_dicom import save_series

    series = save_series(tmp_path / "ct", VALUES.transpose(2, 1, 0).astype(np.int16), spacing=(0.5, 0.5, 3))
    (plain,) = segment(series, "the liver", tmp_path / "plain", **tiny_head)
    (mask,) = segment(series, "the liver", tmp_path / "seg", output_type="dicom_seg", **tiny_head)
    reader = MaskReader().of({"image": str(series)})
    read = reader.get_data(reader.read(str(mask)))[0][..., 0]
    np.testing.assert_array_equal(read.transpose(1, 0, 2), values(plain))
    names = {path.name for path in (tmp_path / "seg").iterdir()}
    written = {"ct_mask.dcm", "ct_probability.nii.gz", "ct_overlay.png", "results.csv", "run.json"}
    assert names == written
    picture = Path(save_image(tmp_path / "a.png", size=(32, 32)))
    (outline,) = segment(picture, "the liver", tmp_path / "geo", output_type="geojson", **tiny_head)
    assert json.loads(outline.read_text())["features"][0]["properties"]["classification"]["name"] == "liver"
    with pytest.raises(DataError, match=r"volume.nii.gz: a PNG holds one slice, not 5; use output_type nifti"):
        segment(volume, "the liver", tmp_path / "png", output_type="png", **tiny_head)


def test_nothing_tells_of_the_patient_but_the_table_that_was_asked_for(tiny_head, tmp_path, monkeypatch, capfd):
    pytest.importorskip("pydicom")
    from made_dicom import SECRET, change, save_dicom, save_series

    folder, out = tmp_path / "in", tmp_path / "out"
    save_series(folder / "ct", VALUES.transpose(2, 1, 0).astype(np.int16))
    change(save_dicom(folder / "report.dcm", VALUES[..., 0].T.astype(np.int16), Modality="SR"), Rows=None)
    change(save_dicom(folder / "film.dcm", VALUES[..., 0].T.astype(np.int16)), PixelData=b"1")
    sentence = f"two infected areas of Mrs {SECRET}, a smoker"
    words = ["segment", str(folder), "--text", sentence, "--out", str(out), "--cache_dir", str(tmp_path / "cache")]
    words += [word for name, value in tiny_head.items() for word in (f"--{name}", value)]
    monkeypatch.setattr("sys.argv", ["textdiff", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert "report.dcm has no pixel data" in str(ended.value.code)
    overrides = {"dataset_dir": str(folder / "ct"), "text": sentence, "output_dir": str(tmp_path / "other")}
    monai.bundle.run(
        "run", config_file=CONFIG, **tiny_head, **overrides, device="cpu", cache_dir=str(tmp_path / "cache")
    )
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err + str(ended.value.code)
    files = [
        path for place in (out, tmp_path / "other", tmp_path / "cache") for path in place.rglob("*") if path.is_file()
    ]
    assert len(files) > 10
    told = [path.name for path in files if SECRET.encode() in path.read_bytes() or SECRET in path.name]
    assert set(told) == {"results.csv"}


def ct(slices):
    """A made trunk with two lungs (slices, 512, 512), in Hounsfield units."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:512, :512] / 511 * 2 - 1
    lungs = sum((((x - side) / 0.25) ** 2 + (y / 0.5) ** 2 < 1) for side in (-0.35, 0.35)) > 0
    trunk = np.where((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, np.where(lungs, -850, 40), -1000)
    return np.stack([trunk + rng.integers(-40, 40, trunk.shape) for _ in range(slices)]).astype(np.int16)


@pytest.mark.slow
def test_memory_is_bounded_by_the_volume(tmp_path):
    pytest.importorskip("highdicom")
    from made_dicom import save_series
    from measured import segmented_apart

    peaks, window = {}, {"WindowCenter": -300, "WindowWidth": 1400, "RescaleSlope": 1, "RescaleIntercept": 0}
    for slices in (30, 120):
        series = save_series(tmp_path / f"{slices}", ct(slices), spacing=(0.7, 0.7, 2.5), **window)
        options = {"output_type": "dicom_seg", "device": "cpu", "cache_dir": str(tmp_path / "cache")}
        peaks[slices], seconds = segmented_apart(series, tmp_path / "out", **options)
        print(f"CT of {slices} slices: {peaks[slices]:.2f} GiB at most, {seconds:.0f} s")
    voxels = 90 * 512**2
    assert peaks[120] - peaks[30] < 48 * voxels / 2**30  # bytes each: values, classes' logits and probabilities

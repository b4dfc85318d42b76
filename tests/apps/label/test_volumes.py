"""The real MONAI Label server on volumes: NIfTI in a folder, and series of a DICOMweb server (Orthanc)."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from label_server import free_url, listens, running, wait_for
from made_dicom import SECRET, save_series
from PIL import Image

from textdiff_monai import bundle_root, read_recipe

pytestmark = pytest.mark.label

LUNGS = Path(bundle_root()) / "data" / "lungs"
WIDTH, HEIGHT, SLICES = 64, 48, 6
# Columns run to the left, which is the file's second axis, and rows to the back, against its first.
AFFINE = np.array([[0, -0.7, 0, 10], [0.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])
# As of a series: columns to the left, rows to the back, slices upwards.
SERIES_AFFINE = np.array([[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
LEFT, RIGHT = (f"Segment the {side} lung." for side in ("left", "right"))
FILMS = sorted(path.stem for path in (LUNGS / "images").iterdir())


def resized(path):
    return np.asarray(Image.open(path).convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))


def volume_of(number):
    """Films as the slices of a volume (H, W, slices), as seen; another number is another volume."""
    return np.stack([resized(LUNGS / "images" / f"{film}.jpg") for film in films_of(number)], -1)


def films_of(number):
    return [FILMS[(number * SLICES + index) % len(FILMS)] for index in range(SLICES)]


def masks_of(number):
    """The left lungs in the first half of the slices, the right ones in the other; 1 is the target."""
    sides = ["left"] * (SLICES // 2) + ["right"] * (SLICES - SLICES // 2)
    names = zip(films_of(number), sides, strict=True)
    return np.stack([resized(LUNGS / "masks" / f"{film}_{side}.png") > 127 for film, side in names], -1).astype("u1")


def nifti(seen):
    return nib.Nifti1Image(seen[::-1], AFFINE)


def seen(image):
    """A NIfTI volume (H, W, slices), whatever the order of its axes: columns to the left, rows to the back."""
    return np.asarray(nib.as_closest_canonical(image).dataobj)[::-1, ::-1].transpose(1, 0, 2)


def read(answer):
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["content-disposition"].rstrip('"').endswith(".nii.gz")
    path = Path(os.environ["XDG_CACHE_HOME"]) / "answer.nii.gz"
    path.write_bytes(answer.content)
    return nib.load(path)


def annotate(server, image, mask):
    """Submit a mask as viewers do."""
    import requests

    nib.save(mask, server.folder / "label.nii.gz")
    label = {"label": ("label.nii.gz", (server.folder / "label.nii.gz").read_bytes())}
    return requests.put(f"{server.url}/datastore/label", params={"image": image}, files=label, timeout=300)


def write_rows(path, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """`textdiff label-server STUDIES`, of three volumes, and the slices of the first as pictures."""
    pytest.importorskip("monailabel")
    folder, url = tmp_path_factory.mktemp("local"), free_url()
    (folder / "studies").mkdir()
    for number in range(3):
        nib.save(nifti(volume_of(number)), folder / "studies" / f"case{number}.nii.gz")
    for index in range(SLICES):
        Image.fromarray(volume_of(0)[..., index]).save(folder / "studies" / f"slice{index}.png")
    command = [sys.executable, "-m", "textdiff_monai", "label-server", "studies", "--port", url.rsplit(":", 1)[1]]
    with running(command, folder, url) as server:
        yield server


@pytest.mark.parametrize("upload", [False, True], ids=["by id", "by upload"])
def test_a_volume_is_read_slice_by_slice_and_comes_back_as_it_lies(local, upload):
    path = local.folder / "studies" / "case0.nii.gz"
    mask = read(local.infer(text=LEFT, file=path) if upload else local.infer("case0", LEFT))
    assert (mask.shape, mask.get_data_dtype()) == ((HEIGHT, WIDTH, SLICES), np.uint8)
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-4)
    for index in range(SLICES):
        alone = Image.open(io.BytesIO(local.infer(f"slice{index}", LEFT).content))
        assert np.array_equal(seen(mask)[..., index], np.asarray(alone))
    assert mask.get_fdata().any()


def test_a_sentence_about_a_range_of_slices_leaves_the_others_empty(local):
    whole = seen(read(local.infer("case0", LEFT)))
    for slices, asked in (("1-3", range(1, 4)), ("5", [5]), ("", range(SLICES))):
        found = seen(read(local.infer("case0", params=json.dumps({"text": LEFT, "slices": slices}))))
        expected = np.zeros_like(whole)
        expected[..., asked] = whole[..., asked]
        assert np.array_equal(found, expected)


def commands(server, section, **names):
    """The lines of curl in a section of the documentation, for this server."""
    text = (Path(bundle_root()) / "docs" / "label.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    for old, new in {"\\\n": " ", "http://127.0.0.1:8000": server.url, **names}.items():
        text = text.replace(old, new)
    return [shlex.split(line) for line in text.splitlines() if line.startswith("curl ")]


def test_the_documentations_command_for_a_volume(local, tmp_path):
    (command,) = commands(local, "Volumes", case1="case1")
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    asked = local.infer("case1", params=json.dumps({"text": LEFT, "slices": "1-3"}))
    assert np.array_equal(seen(nib.load(tmp_path / "mask.nii.gz")), seen(read(asked)))


@pytest.mark.parametrize("slices", ["3-1", "99", "one", 2, ["1"], {"_target_": "$1"}])
def test_slices_that_are_no_range_of_the_volume_are_told(local, slices):
    answer = local.infer("case0", params=json.dumps({"text": LEFT, "slices": slices}))
    assert (answer.status_code, "slices" in answer.text) == (422, True)


def test_viewers_get_a_field_for_the_slices(local):
    config = local.call("GET", "/info/")["models"]["textdiff"]["config"]
    assert (config["text"], config["slices"]) == ("", "")
    assert local.call("GET", "/info/")["trainers"]["textdiff"]["config"]["slices_per_volume"] == 0


def test_training_learns_from_annotated_volumes_and_what_their_sentences_are_about(local):
    studies = local.folder / "studies"
    table = [
        [f"case{number}.nii.gz", text, part] for number in range(3) for text, part in ((LEFT, "0-2"), (RIGHT, "3-5"))
    ]
    write_rows(studies / "text.csv", ["image", "text", "slices"], *table)
    for number in range(3):
        assert annotate(local, f"case{number}", nifti(masks_of(number))).ok
    before = seen(read(local.infer("case0", LEFT)))
    task = local.train(max_epochs=3, slices_per_volume=2)
    assert task["status"] == "DONE", local.log()[-3000:]
    (run,) = (studies.with_name("studies-label") / "runs" / "textdiff").iterdir()
    learned = rows(run / "data.csv")
    assert [(row["text"], row["slices"]) for row in learned] == [(text, part) for _, text, part in table]
    assert [row["split"] for row in learned] == ["train"] * 4 + ["val"] * 2
    assert [int(row["epoch"]) for row in rows(run / "history.csv")] == [1, 2, 3]
    assert "must mean the same" not in local.log()
    assert not np.array_equal(seen(read(local.infer("case0", LEFT))), before)
    shipped, trained = (read_recipe(path / "model.pt") for path in (Path(bundle_root()) / "models", run))
    assert "figures" in shipped
    assert "figures" not in trained  # it began with those weights; what is known of it is its own
    assert trained["targets"] == ["lung"]


@contextmanager
def orthanc(folder):
    """Orthanc with its DICOMweb plugin (Debian: orthanc, orthanc-dicomweb) on the loopback address."""
    program, plugin = shutil.which("Orthanc"), Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    if program is None or not plugin.exists():
        pytest.skip("needs Orthanc and its DICOMweb plugin: apt-get install orthanc orthanc-dicomweb")
    url = free_url()
    options = {"HttpPort": int(url.rsplit(":", 1)[1]), "RemoteAccessAllowed": False, "AuthenticationEnabled": False}
    options |= {"DicomServerEnabled": False, "Plugins": [str(plugin)], "StorageDirectory": str(folder / "orthanc")}
    (folder / "orthanc.json").write_text(json.dumps(options))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen([program, folder / "orthanc.json"], stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: process.poll() is not None or listens(url), 60)
        assert process.poll() is None, (folder / "orthanc.log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """`textdiff label-server URL --app_dir APP`, of the same three volumes as MR series in Orthanc."""
    pytest.importorskip("monailabel")
    import pydicom
    import requests
    from pydicom.uid import MRImageStorage

    folder, url = tmp_path_factory.mktemp("remote"), free_url()
    with orthanc(folder) as archive:
        series = []
        for number in range(3):
            slices = np.ascontiguousarray(volume_of(number).transpose(2, 0, 1).astype("u2"))
            for path in save_series(
                folder / f"series{number}", slices, Modality="MR", storage=MRImageStorage
            ).iterdir():
                requests.post(f"{archive}/instances", path.read_bytes(), timeout=60).raise_for_status()
            series.append(pydicom.dcmread(path, stop_before_pixels=True))
        command = [sys.executable, "-m", "textdiff_monai", "label-server", f"{archive}/dicom-web"]
        command += ["--app_dir", "app", "--port", url.rsplit(":", 1)[1]]
        with running(command, folder, url, MONAI_LABEL_DICOMWEB_SEARCH_FILTER='{"Modality": "MR"}') as server:
            server.archive, server.series = archive, series
            yield server


def test_a_series_comes_from_the_archive_and_is_read_as_the_same_volume_in_nifti_is(remote):
    for number, series in enumerate(remote.series):
        mask = read(remote.infer(series.SeriesInstanceUID, RIGHT))
        np.testing.assert_allclose(mask.affine, SERIES_AFFINE, atol=1e-4)
        nib.save(nifti(volume_of(number)), remote.folder / "volume.nii.gz")
        assert np.array_equal(seen(mask), seen(read(remote.infer(text=RIGHT, file=remote.folder / "volume.nii.gz"))))
        assert mask.get_fdata().any()


def marked_in(found):
    """Where the frames of a DICOM SEG of one segment are marked: (H, W, slices) from the height 30 on, 3 mm apart."""
    pixels = np.atleast_3d(found.pixel_array.T).T
    whole = np.zeros((HEIGHT, WIDTH, SLICES), np.uint8)
    for frame, pixel in zip(found.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(place[:2], [-10, -20], atol=1e-3)
        whole[..., round((place[2] - 30) / 3)] = pixel
    shared = found.SharedFunctionalGroupsSequence[0]
    np.testing.assert_allclose(shared.PixelMeasuresSequence[0].PixelSpacing, [0.5, 0.75], atol=1e-4)
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    np.testing.assert_allclose(np.array(orientation, float), [1, 0, 0, 0, 1, 0], atol=1e-4)
    return whole


@pytest.mark.parametrize(
    ("more", "label"),
    [({}, "right lung"), ({"label_info": [{"name": "Right lung"}]}, "Right lung")],
    ids=["sentence", "name"],
)
def test_viewers_get_a_dicom_seg_of_the_series(remote, more, label):
    import pydicom

    series, params = remote.series[0], json.dumps({"text": RIGHT, "slices": "1-3"} | more)
    mask = seen(read(remote.infer(series.SeriesInstanceUID, params=params)))
    answer = remote.infer(series.SeriesInstanceUID, params=params, output="dicom_seg")
    assert answer.status_code == 200, answer.text[:500]
    found = pydicom.dcmread(io.BytesIO(answer.content))
    assert np.array_equal(marked_in(found), mask)
    (segment,) = found.SegmentSequence
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert (segment.SegmentLabel, segment.SegmentAlgorithmType) == (label, "AUTOMATIC")
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("39607008", "SCT", "Lung")
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert found[name].value == series[name].value
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == series.SeriesInstanceUID


def test_the_documentations_command_for_a_series(remote, tmp_path):
    import pydicom

    (command,) = commands(remote, "From a DICOMweb server", SERIES=remote.series[1].SeriesInstanceUID)
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    found = pydicom.dcmread(tmp_path / "mask.dcm")
    asked = remote.infer(remote.series[1].SeriesInstanceUID, params=json.dumps({"text": LEFT, "slices": "1-3"}))
    assert np.array_equal(marked_in(found), seen(read(asked)))


def test_an_empty_annotation_and_an_unknown_series_are_told(remote):
    empty = nib.Nifti1Image(np.zeros((WIDTH, HEIGHT, SLICES), np.uint8), SERIES_AFFINE)
    answer = annotate(remote, remote.series[0].SeriesInstanceUID, empty)
    assert (answer.status_code, "nothing is marked" in answer.text) == (422, True)
    answer = remote.infer("1.2.3", RIGHT)
    assert (answer.status_code, "there is no '1.2.3'" in answer.text) == (404, True)


def test_annotated_series_become_segs_in_the_archive_and_are_trained_on(remote):
    import pydicom
    import requests

    app = remote.folder / "app"
    table = [[series.SeriesInstanceUID, LEFT, "0-2"] for series in remote.series]
    write_rows(app / "text.csv", ["image", "text", "slices"], *table)
    for number, series in enumerate(remote.series[:2]):
        mask = nib.Nifti1Image(masks_of(number).transpose(1, 0, 2), SERIES_AFFINE)
        assert annotate(remote, series.SeriesInstanceUID, mask).ok
    kept = requests.get(f"{remote.archive}/dicom-web/instances?Modality=SEG", timeout=60).json()
    assert len(kept) == 2
    for number, series in enumerate(remote.series[:2]):
        (own,) = (each for each in kept if each["0020000D"]["Value"] == [series.StudyInstanceUID])
        (found,) = requests.post(f"{remote.archive}/tools/lookup", own["00080018"]["Value"][0], timeout=60).json()
        file = requests.get(f"{remote.archive}/instances/{found['ID']}/file", timeout=60).content
        segmentation = pydicom.dcmread(io.BytesIO(file))
        assert np.array_equal(marked_in(segmentation), masks_of(number))
        assert segmentation.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    params = json.dumps({"text": RIGHT, "slices": "1-3"})
    theirs = remote.infer(remote.series[2].SeriesInstanceUID, params=params, output="dicom_seg").content
    requests.post(f"{remote.archive}/instances", theirs, timeout=60).raise_for_status()  # as if by another program
    task = remote.train(max_epochs=2, slices_per_volume=2)
    assert task["status"] == "DONE", remote.log()[-3000:]
    (run,) = (app / "runs" / "textdiff").iterdir()
    learned = {row["image"]: row for row in rows(run / "data.csv")}
    assert [row["text"] for row in learned.values()] == [LEFT] * 3
    (last,) = (row["mask"] for image, row in learned.items() if remote.series[2].SeriesInstanceUID in image)
    assert np.array_equal(seen(nib.load(last)), marked_in(pydicom.dcmread(io.BytesIO(theirs))))
    assert len(rows(run / "history.csv")) == 2


def test_of_several_segs_that_others_put_into_the_archive_none_is_taken(remote):
    import requests

    before = set((remote.folder / "app" / "runs" / "textdiff").iterdir())
    for text in (LEFT, RIGHT):
        found = remote.infer(remote.series[2].SeriesInstanceUID, text, output="dicom_seg").content
        requests.post(f"{remote.archive}/instances", found, timeout=60).raise_for_status()
    assert remote.train(max_epochs=1, slices_per_volume=2)["status"] == "DONE", remote.log()[-3000:]
    (run,) = set((remote.folder / "app" / "runs" / "textdiff").iterdir()) - before
    learned = {Path(row["image"]).name.removesuffix(".nii.gz") for row in rows(run / "data.csv")}
    assert learned == {series.SeriesInstanceUID for series in remote.series[:2]}
    left_out = f"left out; submit the mask to train on: {remote.series[2].SeriesInstanceUID}"
    assert left_out in remote.log()


def test_what_came_from_the_archive_is_kept_in_the_apps_folder_and_no_patient_is_in_the_log(remote):
    assert list((remote.folder / "app" / "studies").rglob("*.nii.gz"))
    for log in (remote.folder / "server.log", *(remote.folder / "app" / "logs").iterdir()):
        assert SECRET not in log.read_text(), log

"""The real MONAI Label server over HTTP, in its own environment (``make test-label``): our app and the stock one."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from label_server import free_url, running, wait_for
from PIL import Image

from textdiff_monai import bundle_root

pytestmark = pytest.mark.label

BUNDLE = Path(bundle_root())
LUNGS = BUNDLE / "data" / "lungs"
WIDTH, HEIGHT = 128, 96
AFFINE = np.array([[0, -0.7, 0, 10], [0.5, 0, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1.0]])
KINDS = {"rgb": "rgb.png", "gray": "gray.png", "flat": "flat.nii.gz", "slice": "slice.nii.gz"}
LEFT, RIGHT = (f"Segment the {side} lung." for side in ("left", "right"))
FILM = "19abe1f3"
SECRET = "Zbigniew"  # a name that must turn up nowhere
STOCK = """
from textdiff_monai.apps.label.server import stand_in_for_torchvision
stand_in_for_torchvision()
from monailabel.main import Main
Main().run()
"""


def _studies(folder):
    """The bundle's films, and one of them in every layout."""
    folder.mkdir()
    for film in (LUNGS / "images").iterdir():
        Image.open(film).save(folder / f"{film.stem}.png")
    picture = np.asarray(Image.open(LUNGS / "images" / f"{FILM}.jpg").convert("RGB").resize((WIDTH, HEIGHT)))
    gray = picture[..., 0]
    Image.fromarray(picture).save(folder / "rgb.png")
    Image.fromarray(gray).save(folder / "gray.png")
    # As seen, columns run to the left, which is the file's second axis, and rows to the back, against its first.
    filed = gray[::-1].copy()
    nib.save(nib.Nifti1Image(filed, AFFINE), folder / "flat.nii.gz")
    nib.save(nib.Nifti1Image(filed[..., None], AFFINE), folder / "slice.nii.gz")
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _sides(split=None):
    """A side for each film, left and right in turn."""
    names = dict.fromkeys(Path(row["image"]).stem for row in rows(LUNGS / "text.csv") if split in (None, row["split"]))
    return {name: ("left", "right")[index % 2] for index, name in enumerate(sorted(names))}


def _captions():
    return {name: f"Segment the {side} lung." for name, side in _sides().items()}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """`textdiff label-server STUDIES`."""
    pytest.importorskip("monailabel")
    folder, url = tmp_path_factory.mktemp("ours"), free_url()
    studies = _studies(folder / "studies")
    command = [sys.executable, "-m", "textdiff_monai", "label-server", str(studies), "--port", url.rsplit(":", 1)[1]]
    with running(command, folder, url) as server:
        yield server


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """The app that comes with MONAI Label, with the bundle linked into it."""
    pytest.importorskip("monailabel")
    folder, url = tmp_path_factory.mktemp("stock"), free_url()
    studies, app = _studies(folder / "studies"), folder / "app"
    shutil.copytree(Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle", app)
    (app / "model").mkdir()
    (app / "model" / "textdiff").symlink_to(BUNDLE)
    command = [sys.executable, "-c", STOCK, "start_server", "--app", str(app), "--studies", str(studies)]
    command += ["--host", "127.0.0.1", "--port", url.rsplit(":", 1)[1]]
    for name, value in {"models": "textdiff", "sam2": "false", "zoo_source": "ngc"}.items():
        command += ["--conf", name, value]
    with running(command, folder, url) as server:
        yield server


@pytest.fixture(params=["ours", "stock"])
def server(request):
    return request.getfixturevalue(request.param)


def read(answer, suffix):
    """The mask as (H, W) in the picture's own orientation, as stored, and its affine."""
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["content-disposition"].rstrip('"').endswith(suffix)
    if suffix == ".png":
        return np.asarray(Image.open(io.BytesIO(answer.content))), None
    path = Path(os.environ["XDG_CACHE_HOME"]) / "answer.nii.gz"
    path.write_bytes(answer.content)
    image = nib.load(path)
    array = np.asarray(image.dataobj)
    assert array.size == np.prod(array.shape[:2])
    return array.reshape(array.shape[:2])[::-1], image.affine


def test_the_model_is_listed(server):
    model = server.call("GET", "/info/")["models"]["textdiff"]
    assert (model["type"], model["dimension"], model["labels"]) == ("segmentation", 2, {"target": 1})


def test_our_app_shows_viewers_a_text_field(ours, stock):
    """Viewers make one of an option that is a string."""
    assert ours.call("GET", "/info/")["models"]["textdiff"]["config"]["text"] == ""
    assert "text" not in stock.call("GET", "/info/")["models"]["textdiff"]["config"]


@pytest.mark.parametrize("image", sorted(_sides("test"))[:4])
def test_each_mask_lies_on_the_side_its_sentence_names(server, image):
    """With the shipped model. No half of the picture is a side: patients do not always stand in its middle."""
    own = _captions()[image]
    other = " ".join({"left": "right", "right": "left"}.get(word, word) for word in own.split())
    for text in (own, other):
        mask = read(server.infer(image, text), ".png")[0]
        named, other_side = ("left", "right") if "left" in text else ("right", "left")
        lungs = {
            side: np.asarray(Image.open(LUNGS / "masks" / f"{image}_{side}.png")) > 0 for side in ("left", "right")
        }
        assert mask[lungs[named]].mean() > 0.5 > 0.1 > mask[lungs[other_side]].mean(), (image, text)


def test_the_answer_says_why_a_sentence_is_doubted(ours):
    said = {
        "": LEFT,
        "unknown words: qwzrtx": "Segment the qwzrtx.",
        "unlike the training pictures that show optic disc": "optic disc",
    }
    for doubt, text in said.items():
        told = ours.infer(FILM, text, output="json").json()["doubt"]
        assert (doubt in told) if doubt else told == ""
    assert "a sentence may not be understood: unknown words: 1" in ours.log()
    assert "qwzrtx" not in ours.log()


@pytest.mark.parametrize("upload", [False, True], ids=["by id", "by upload"])
@pytest.mark.parametrize("kind", KINDS)
def test_results_lie_as_their_sources(server, kind, upload):
    file = KINDS[kind]
    path, suffix = server.folder / "studies" / file, file[file.index(".") :]
    for text in (LEFT, RIGHT, None):
        answer = server.infer(text=text, file=path) if upload else server.infer(kind, text)
        mask, affine = read(answer, suffix)
        assert (mask.shape, mask.dtype) == ((HEIGHT, WIDTH), np.uint8)
        assert set(np.unique(mask)) <= {0, 1}
        assert np.array_equal(mask, read(server.infer("rgb", text), ".png")[0])  # the same picture, the same way up
        if affine is not None:
            np.testing.assert_allclose(affine, AFFINE, atol=1e-4)


def test_our_masks_of_lossy_images_are_lossless(ours):
    picture = ours.folder / "photo.jpg"
    Image.open(ours.folder / "studies" / "rgb.png").save(picture)
    mask = read(ours.infer(text=LEFT, file=picture), ".png")[0]
    assert set(np.unique(mask)) == {0, 1}


ODD = {
    "evaluated": f"$__import__('pathlib').Path('EVALUATED').touch() # {SECRET}",
    "reference": f"@network_def#{SECRET}",
    "macro": f"%configs/inference.json::{SECRET}",
    "quotes": f"\"'{SECRET}\"'`\\\" '''",
    "newlines": f"left\n\r\n\x00{SECRET}\t$x",
    "path": f"../../../etc/{SECRET}",
    "empty": "",
    "long": f"{SECRET} " * 11112,
    "languages": f"левое лёгкое {SECRET} 左肺 الرئة اليسرى płuco",
    "half a character": f"left \ud83d {SECRET}",
}
NO_STRINGS = {"number": 5, "list": [SECRET, "$1+1"], "object": {"_target_": SECRET}, "true": True}


def test_the_readmes_commands(ours, tmp_path):
    readme = (BUNDLE.parent / "README.md").read_text().splitlines()
    assert any(line.startswith("textdiff label-server STUDIES") for line in readme)  # which is how `ours` was started
    (request,) = (line for line in readme if line.startswith("curl "))
    words = shlex.split(request.replace("IMAGE_ID", "rgb").replace("http://127.0.0.1:8000", ours.url))
    subprocess.run(words, cwd=tmp_path, check=True, timeout=300)
    assert np.asarray(Image.open(tmp_path / "mask.png")).shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("prompt", ODD)
def test_odd_prompts_are_read_as_text(server, prompt):
    mask, _ = read(server.infer("rgb", ODD[prompt]), ".png")
    assert mask.shape == (HEIGHT, WIDTH)
    assert not list(server.folder.rglob("EVALUATED"))


@pytest.mark.parametrize("prompt", NO_STRINGS)
def test_prompts_that_are_no_strings(ours, stock, prompt):
    refused = ours.infer("rgb", NO_STRINGS[prompt])
    assert refused.status_code == 422
    assert "text: expected one sentence" in refused.text
    assert read(stock.infer("rgb", NO_STRINGS[prompt]), ".png")[0].shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("params", "image", "status"),
    [
        ('{"text": "a "quote""}', "rgb", 422),
        ("[" * 100_000, "rgb", 422),
        ("[1]", "rgb", 422),
        ("null", "rgb", 422),
        ('"text"', "rgb", 422),
        ('{"model": ["textdiff"]}', "rgb", 422),
        ('{"device": 5}', "rgb", 422),
        ('{"image": {"id": "rgb"}}', "rgb", 422),
        ('{"image": null}', "rgb", 404),
        ("{\"device\": \"$__import__('pathlib').Path('EVALUATED').touch()\"}", "rgb", 422),
        ("{}", "nowhere", 404),
        (json.dumps({"image": str(LUNGS / "images" / f"{FILM}.jpg")}), "rgb", 404),  # which is none of the studies
        ('{"save_label": true, "label_tag": "../../../outside"}', "rgb", 422),
        ('{"save_label": true, "label_tag": ["final"]}', "rgb", 422),
        ('{"label_info": ["spleen"]}', "rgb", 422),
    ],
)
def test_other_mistakes_in_a_request_are_told(ours, params, image, status):
    answer = ours.infer(image, params=params)
    assert (answer.status_code, "expected" in answer.text or "there is no" in answer.text) == (status, True)
    assert not list(ours.folder.rglob("EVALUATED"))
    assert not list(ours.folder.rglob("outside"))


@pytest.mark.parametrize("names", [{"image": "rgb", "tag": "../../../outside"}, {"image": "../outside", "tag": "a"}])
def test_what_is_saved_stays_among_the_studies(ours, names):
    requests, image = pytest.importorskip("requests"), (ours.folder / "studies" / "rgb.png").read_bytes()
    label = {"label": ("mask.png", image), "params": (None, "{}")}
    assert requests.put(f"{ours.url}/datastore/label", params=names, files=label).status_code in (404, 422)
    sent, name = {"file": ("x.png", image), "params": (None, "{}")}, {"image": "../outside"}
    assert requests.put(f"{ours.url}/datastore/image", params=name, files=sent).status_code == 422
    assert not list(ours.folder.rglob("outside*"))


def test_an_image_of_the_studies_is_not_taken_for_a_file_of_the_working_directory(ours):
    (ours.folder / "gray").mkdir(exist_ok=True)
    assert read(ours.infer("gray", LEFT), ".png")[0].shape == (HEIGHT, WIDTH)


def test_requests_at_once_each_get_their_own_answer(server):
    captions = list(_captions().items())
    jobs = [(captions[i % len(captions)][0], captions[(5 * i) % len(captions)][1] + f" {i}") for i in range(20)]
    alone = [read(server.infer(*job), ".png")[0] for job in jobs]
    with ThreadPoolExecutor(20) as pool:
        together = [read(answer, ".png")[0] for answer in pool.map(lambda job: server.infer(*job), jobs)]
    assert len({mask.tobytes() for mask in alone}) > 10
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


def test_our_server_keeps_no_sentences(ours):
    """After all of the above: neither in its log, nor in a file, nor in what it tells of itself."""
    ours.infer("rgb", f"{SECRET} upper left lung", output="json")
    assert SECRET not in json.dumps(ours.call("GET", "/info/"))
    assert "Infer: textdiff on" in ours.log()
    for path in ours.folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_training_takes_the_sentences_and_keeps_every_model(ours):
    """Annotated over HTTP, stopped, gone on with, and then used by inference."""
    studies, model = (
        ours.folder / "studies",
        ours.folder / "studies-label" / "model" / "textdiff" / "models" / "model.pt",
    )
    shipped, images = (BUNDLE / "models" / "model.pt").read_bytes(), sorted(_captions())[:6]
    captions = _captions() | {images[0]: "$__import__('pathlib').Path('EVALUATED').touch()"}
    with (studies / "text.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "text"], *([f"{image}.png", captions[image]] for image in images)])
    for image in images:
        label = {"label": (f"{image}.png", (LUNGS / "masks" / f"{image}_{_sides()[image]}.png").read_bytes())}
        ours.call("PUT", "/datastore/label", params={"image": image}, files=label)
    before = read(ours.infer(FILM, LEFT), ".png")[0]

    ours.call("POST", "/train/textdiff", json={"max_epochs": 15, "pretrained": False})
    runs = ours.folder / "studies-label" / "runs" / "textdiff"
    history = wait_for(lambda: next((path for path in runs.glob("*/history.csv") if len(rows(path)) > 1), None), 300)
    details = "\n".join(ours.call("GET", "/train/")["details"])
    assert "mean_dice" in details or "Epoch" in details
    assert [row["text"] for row in rows(history.with_name("data.csv"))] == [captions[image] for image in images]
    assert ours.call("DELETE", "/train/")["status"] == "STOPPED"
    assert model.read_bytes() == shipped
    assert np.array_equal(read(ours.infer(FILM, LEFT), ".png")[0], before)

    ours.call("POST", "/train/textdiff", json={"max_epochs": 50, "pretrained": False, "resume": True})
    task = ours.trained()
    assert task["status"] == "DONE", task
    assert [int(row["epoch"]) for row in rows(history)] == list(range(1, 16))  # as many as it began with
    assert model.read_bytes() == history.with_name("model.pt").read_bytes() != shipped
    assert [path.read_bytes() for path in model.parent.glob("model_until_*.pt")] == [shipped]
    assert (BUNDLE / "models" / "model.pt").read_bytes() == shipped
    assert not np.array_equal(read(ours.infer(FILM, LEFT), ".png")[0], before)
    assert not list(ours.folder.rglob("EVALUATED"))
    assert "features:" in ours.log()  # computed once, then read

"""``textdiff segment``: masks, probabilities and overlays of one or many images, in their own layout."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from textdiff_monai import bundle_root, read_picture
from textdiff_monai.apps.segment import segment
from textdiff_monai.data.files import read_rows
from textdiff_monai.data.problems import cause
from textdiff_monai.networks.recipe import add_facts


@pytest.fixture
def options(tiny_head):
    return tiny_head


def picture(path, height=24, width=40, channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)
    Image.fromarray(pixels.squeeze()).save(path)
    return path


def test_an_image_gets_a_mask_a_probability_and_an_overlay_of_its_size(options, tmp_path):
    image = picture(tmp_path / "case.png")
    (mask,) = segment(str(image), "left lung", str(tmp_path / "out"), **options)
    out = tmp_path / "out"
    written = ["case_mask.png", "case_overlay.png", "case_probability.png", "results.csv", "run.json"]
    assert sorted(p.name for p in out.iterdir()) == written
    assert mask == out / "case_mask.png"
    mask, probability = (np.asarray(Image.open(out / f"case_{name}.png")) for name in ("mask", "probability"))
    assert mask.shape == probability.shape == (24, 40)
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(mask > 0, probability > 127.5)
    overlay, source = (np.asarray(Image.open(path)).astype(int) for path in (out / "case_overlay.png", image))
    changed = np.abs(overlay - source).max(axis=-1) > 2
    assert np.array_equal(changed, mask > 0)


def test_one_image_with_two_sentences_gets_two_masks(options, tmp_path):
    picture(tmp_path / "case.png")
    (tmp_path / "ask.csv").write_text("image,text\ncase.png,left lung\ncase.png,right is high\n")
    first, second = segment(str(tmp_path / "ask.csv"), out=str(tmp_path / "out"), **options)
    assert (first.name, second.name) == ("case_mask.png", "case_2_mask.png")
    probabilities = [np.asarray(Image.open(tmp_path / "out" / f"case{n}_probability.png")) for n in ("", "_2")]
    assert not np.array_equal(*probabilities)


def test_options_that_would_be_forgotten_are_refused(options, tmp_path):
    image = picture(tmp_path / "case.png")
    with pytest.raises(ValueError, match="--text gives one sentence for every image, --texts several"):
        segment(image, "left lung", tmp_path / "out", texts=["right lung"], **options)
    assert not (tmp_path / "out").exists()
    region = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}
    feature = {"type": "Feature", "geometry": region, "properties": {}}
    (tmp_path / "r.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    for given in ({"regions": tmp_path / "r.geojson"}, {"window": 64}):
        with pytest.raises(
            ValueError, match=rf"case.png: --{next(iter(given))} applies to slides, and this is not one"
        ):
            segment(image, "left lung", tmp_path / "out", preview=True, **given, **options)


LPS = np.diag([-0.5, -0.25, 2.0, 1])


@pytest.mark.parametrize("shape", [(40, 24), (40, 24, 1), (40, 24, 1, 1), (1, 40, 24)])
def test_nifti_comes_back_in_its_shape_and_place(options, tmp_path, shape):
    values = np.random.default_rng(0).normal(size=shape)
    image = nib.Nifti1Image(values, LPS)
    image.header.set_xyzt_units("mm")
    nib.save(image, tmp_path / "slice.nii.gz")
    (mask,) = segment(str(tmp_path / "slice.nii.gz"), out=str(tmp_path / "out"), **options)
    read = nib.load(mask)
    assert read.shape == shape
    assert read.get_data_dtype() == np.uint8
    assert read.header["sform_code"] == image.header["sform_code"]
    np.testing.assert_allclose(read.affine, LPS)
    assert set(np.unique(np.asarray(read.dataobj))) <= {0, 1}
    probability = np.asarray(nib.load(tmp_path / "out" / "slice_probability.nii.gz").dataobj)
    assert probability.shape == shape
    assert 0 <= probability.min() < probability.max() <= 1


def orientations(folder):
    """A slice with its two axes in every order and direction: eight files of the same place in the patient."""
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 1)).astype(np.int16)
    image, folder = nib.Nifti1Image(values, LPS), folder / "slices"
    folder.mkdir()
    for first, second in [("LR", "PA"), ("PA", "LR")]:
        for codes in product(first, second, "S"):
            turns = nib.orientations.ornt_transform(
                nib.io_orientation(LPS), nib.orientations.axcodes2ornt("".join(codes))
            )
            nib.save(image.as_reoriented(turns), folder / f"{''.join(codes)}.nii.gz")
    return folder


def marked(path):
    """Millimetres of every voxel that a mask marks."""
    image = nib.load(path)
    return {tuple(place) for place in nib.affines.apply_affine(image.affine, np.argwhere(image.get_fdata())).round(3)}


def test_a_sentence_marks_the_same_place_whatever_the_axes_of_the_file(options, tmp_path):
    masks = segment(orientations(tmp_path), "left lung", tmp_path / "out", **options)
    assert len(masks) == 8
    shapes = {nib.aff2axcodes(nib.load(mask).affine) for mask in masks}
    assert len(shapes) == 8
    places = [marked(mask) for mask in masks]
    assert 0 < len(places[0]) < 32 * 32
    assert all(place == places[0] for place in places)


def test_the_configuration_marks_the_same_place_too(options, tmp_path):
    overrides = {"dataset_dir": str(orientations(tmp_path)), "text": "left lung", "output_dir": str(tmp_path / "out")}
    monai.bundle.run("run", config_file=f"{bundle_root()}/configs/inference.json", **options, **overrides, device="cpu")
    masks = segment(tmp_path / "slices", "left lung", tmp_path / "other", **options)
    for mask in masks:
        assert marked(mask) == marked(tmp_path / "out" / mask.name) == marked(masks[0])
    assert len(list((tmp_path / "out").glob("*_mask.nii.gz"))) == 8


def test_the_configuration_writes_the_format_that_is_asked_for(options, tmp_path):
    overrides = {"dataset_dir": str(picture(tmp_path / "a.png")), "output_dir": str(tmp_path / "out"), "device": "cpu"}
    config = f"{bundle_root()}/configs/inference.json"
    for kind in ("nifti", "png"):
        monai.bundle.run("run", config_file=config, **options, **overrides, output_type=kind)
    masks = [read_picture(tmp_path / "out" / f"a_mask{ending}") for ending in (".nii.gz", ".png")]
    np.testing.assert_array_equal(masks[0].pixels, masks[1].pixels)


def test_a_photograph_is_segmented_as_it_is_seen(options, tmp_path):
    seen = Image.open(picture(tmp_path / "seen.png", 24, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise to be seen
    (tmp_path / "in").mkdir()
    seen.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "in" / "turned.png", exif=exif)
    seen.save(tmp_path / "in" / "upright.png")
    turned, upright = segment(tmp_path / "in", "left lung", tmp_path / "out", **options)
    assert Image.open(turned).size == (40, 24)
    np.testing.assert_array_equal(np.asarray(Image.open(turned)), np.asarray(Image.open(upright)))


@pytest.fixture
def alike(tmp_path):
    """Three images of one name, and a table that asks two things of one of them."""
    folder = tmp_path / "in"
    for number, name in enumerate(["p1/image.png", "p2/image.png", "image.jpg"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(folder / name, width=32 + 8 * number)
    lines = ["image,text", "p1/image.png,left lung", "p2/image.png,left lung", "image.jpg,left lung"]
    (folder / "ask.csv").write_text("\n".join([*lines, "image.jpg,right is high"]))
    return folder


def check_results(folder, alike):
    rows = read_rows(folder / "results.csv")
    named = {str(Path(row["image"]).relative_to(alike)): row for row in rows}
    assert [row["id"] for row in rows] == ["p1_image", "p2_image", "image", "image_2"]
    assert [row["text"] for row in rows] == ["left lung"] * 3 + ["right is high"]
    assert set(named) == {"p1/image.png", "p2/image.png", "image.jpg"}
    for number, name in enumerate(["p1/image.png", "p2/image.png", "image.jpg"]):
        assert Image.open(folder / named[name]["mask"]).size == (32 + 8 * number, 24)


def test_nothing_is_overwritten_and_a_table_says_what_is_what(options, alike, tmp_path):
    masks = segment(alike, out=tmp_path / "out", **options)
    assert [mask.name for mask in masks] == [
        f"{name}_mask.png" for name in ("p1_image", "p2_image", "image", "image_2")
    ]
    check_results(tmp_path / "out", alike)
    overrides = {"dataset_dir": str(alike), "output_dir": str(tmp_path / "other"), "device": "cpu"}
    monai.bundle.run("run", config_file=f"{bundle_root()}/configs/inference.json", **options, **overrides)
    check_results(tmp_path / "other", alike)
    for mask in masks:
        ours, theirs = (np.asarray(Image.open(folder / mask.name)) for folder in (tmp_path / "out", tmp_path / "other"))
        np.testing.assert_array_equal(ours, theirs * 255)


NAMES = ["IMG 1.PNG", "ünï.JPG", "日本.png", "[1].png", "$x.png", "%z.png", "@y.png", "a.b.c.png"]


def test_odd_names_stay_as_they_are(options, tmp_path):
    (tmp_path / "in").mkdir()
    for name in NAMES:
        picture(tmp_path / "in" / name)
    masks = segment(tmp_path / "in", "left lung", tmp_path / "out", **options)
    expected = {f"{name.rsplit('.', 1)[0]}_mask.png" for name in NAMES}
    assert {mask.name for mask in masks} == expected
    overrides = {"dataset_dir": str(tmp_path / "in"), "output_dir": str(tmp_path / "other"), "device": "cpu"}
    monai.bundle.run("run", config_file=f"{bundle_root()}/configs/inference.json", **options, **overrides)
    assert {path.name for path in (tmp_path / "other").glob("*_mask.png")} == expected


def test_a_folder_is_segmented_whole(options, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.jpg"):
        picture(tmp_path / "in" / name)
    assert len(segment(str(tmp_path / "in"), out=str(tmp_path / "out"), **options)) == 2


def test_results_below_the_images_are_none_of_them(options, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    picture(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path / "in")
    assert len(segment(".", "left lung", **options)) == 1  # into the folder segmented
    assert len(segment(".", "right lung", **options)) == 1


def test_results_among_the_images_are_refused_before_any_work(options, tmp_path):
    for name in ("a.png", "deeper/b.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(tmp_path / "in" / name)
    inference, before = f"{bundle_root()}/configs/inference.json", sorted(tmp_path.rglob("*"))
    for source, out in (("in", "in"), ("in", "in/deeper"), ("in/a.png", "in")):
        refused = rf"{out}: contains the images, .* choose another folder"
        with pytest.raises(ValueError, match=refused):
            segment(tmp_path / source, "left lung", tmp_path / out, **options)
        places = {"dataset_dir": str(tmp_path / source), "output_dir": str(tmp_path / out)}
        with pytest.raises(RuntimeError) as wrapped:
            monai.bundle.run("run", config_file=inference, **options, **places)
        assert re.search(refused, str(cause(wrapped.value)))
    with pytest.raises(OSError, match=r"a\.png: is a file; choose a folder"):
        segment(tmp_path / "in", "left lung", tmp_path / "in" / "a.png", **options)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_checkpoint_of_another_network_is_refused_before_any_work(options, tmp_path):
    image = picture(tmp_path / "case.png")
    with pytest.raises(ValueError, match=r"model.pt has another recipe: trained with steps \[50\], given \[60\]"):
        segment(str(image), out=str(tmp_path / "out"), **options | {"steps": [60]})
    assert not (tmp_path / "out").exists()


def test_what_is_no_checkpoint_is_refused_before_any_work(options, tmp_path):
    image, other = picture(tmp_path / "case.png"), tmp_path / "other.pt"
    other.write_text("no checkpoint")
    for path, said in ((other, "not a readable PyTorch checkpoint"), (tmp_path, "is a folder")):
        with pytest.raises((ValueError, OSError), match=f"{path}.* {said}; give the model.pt of a training"):
            segment(str(image), out=str(tmp_path / "out"), **options | {"checkpoint": str(path)})
    assert not (tmp_path / "out").exists()


def test_a_sentence_that_was_forgotten_is_said(options, tmp_path):
    image = picture(tmp_path / "case.png")
    add_facts(options["checkpoint"], words=["left", "lung"])
    with pytest.warns(UserWarning, match="1 of 1 images are read without a sentence.*; give --text"):
        segment(image, out=tmp_path / "out", **options)


def test_a_file_that_is_no_image_is_named(options, tmp_path):
    (tmp_path / "case.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"case\.png"):
        segment(str(tmp_path / "case.png"), out=str(tmp_path / "out"), **options)


def test_words_get_a_picture_and_a_table_and_change_nothing_else(options, tmp_path):
    image = picture(tmp_path / "case.png")
    for out, words in (("plain", False), ("words", True)):
        segment(image, "left lung, the", tmp_path / out, words=words, **options)
    plain, told = (read_rows(tmp_path / out / "results.csv")[0] for out in ("plain", "words"))
    assert (plain.pop("words"), told.pop("words")) == ("", "case_words.png")
    assert plain | {"seconds": ""} == told | {"seconds": ""}
    for name in ("mask", "probability", "overlay"):
        assert (tmp_path / "plain" / plain[name]).read_bytes() == (tmp_path / "words" / plain[name]).read_bytes()
    assert not list((tmp_path / "plain").glob("*_words.*"))
    rows = read_rows(tmp_path / "words" / "case_words.csv")
    assert [row["word"] for row in rows] == ["left", "lung,", "the", "(no word)"]
    assert sum(float(row["attention"]) for row in rows) == pytest.approx(1, abs=1e-3)
    for row, rest in zip(rows, ("lung, the", "left the", "left lung,"), strict=False):
        segment(image, rest, tmp_path / "rest", **options)
        found = next(one for one in read_rows(tmp_path / "rest" / "results.csv") if one["text"] == rest)
        assert row["pixels"] == found["pixels"]
    assert Image.open(tmp_path / "words" / "case_words.png").width > 1000


def test_words_of_a_volume_are_those_of_its_fullest_slice(options, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (24, 20, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, LPS), tmp_path / "volume.nii.gz")
    (mask,) = segment(tmp_path / "volume.nii.gz", "left lung", tmp_path / "out", words=True, **options)
    rows = read_rows(tmp_path / "out" / "volume_words.csv")
    fullest = int((np.asarray(nib.load(mask).dataobj) > 0).sum((0, 1)).argmax())
    segment(tmp_path / "volume.nii.gz", "lung", tmp_path / "one", slices=str(fullest), **options)
    assert rows[0]["pixels"] == read_rows(tmp_path / "one" / "results.csv")[0]["pixels"]


def test_words_of_a_head_that_reads_none_are_refused_before_any_work(options, tmp_path):
    image = picture(tmp_path / "case.png")
    with pytest.raises(ValueError, match="does not read sentences"):
        segment(image, "left lung", tmp_path / "out", words=True, read_text=False, override_recipe=True, **options)
    assert not (tmp_path / "out").exists()

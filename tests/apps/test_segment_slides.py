"""``textdiff segment`` on slides: what one pass over the picture finds, and nothing where there is no tissue."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("openslide")
pytest.importorskip("contourpy")
from made_slides import save_slide, tissue  # noqa: E402
from measured import segmented_apart  # noqa: E402

from textdiff_monai import DataError  # noqa: E402
from textdiff_monai.apps.segment import segment  # noqa: E402
from textdiff_monai.data.files import read_rows  # noqa: E402
from textdiff_monai.data.slides import slide as slides  # noqa: E402

PIXELS = tissue(620, 640)


@pytest.fixture
def slide(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "_LARGE", 512**2)
    return save_slide(tmp_path / "slide.tif", PIXELS)


@pytest.fixture
def options(tiny_head, tmp_path):
    return tiny_head | {
        "tile": 64,
        "intensity_range": [0, 255],
        "override_recipe": True,
        "cache_dir": str(tmp_path / "c"),
    }


def test_a_slide_is_segmented_as_the_picture_that_it_is(slide, options, tmp_path, monkeypatch):
    monkeypatch.setattr(slides.Slide, "has_tissue", lambda *_: True)
    (mask,) = segment(slide, "left lung", tmp_path / "out", **options)
    assert mask.name == "slide_mask.ome.tif"
    assert not (tmp_path / "c").exists()  # windows are not kept
    Image.fromarray(PIXELS).save(tmp_path / "picture.png")
    options["cache_gib"] = 0  # features are rounded where they are kept
    (direct,) = segment(tmp_path / "picture.png", "left lung", tmp_path / "out", **options)
    expected = np.asarray(Image.open(direct)) > 0
    np.testing.assert_array_equal(tifffile.imread(mask) > 0, expected)
    one, other = read_rows(tmp_path / "out" / "results.csv")
    for name in ("pixels", "components", "mean_probability", "highest_probability"):
        assert float(one[name]) == pytest.approx(float(other[name]), abs=2e-4)
    assert float(one["area_mm2"]) == pytest.approx(expected.sum() * 0.25e-6, rel=1e-5)
    outlines = json.loads((tmp_path / "out" / one["outlines"]).read_text())
    assert len(outlines["features"]) >= int(one["components"])
    assert Image.open(tmp_path / "out" / one["overlay"]).size == (640, 620)


def test_glass_costs_nothing_and_has_nothing(slide, options, tmp_path):
    (mask,) = segment(slide, "left lung", tmp_path / "out", **options)
    found = tifffile.imread(mask)
    assert found[100:200, 100:200].any()
    assert not found[:, 312:380].any()


def test_each_sentence_has_its_mask_and_each_region_its_sentence(slide, options, tmp_path):
    masks = segment(slide, out=tmp_path / "a", texts=["left lung", "right is high"], **options)
    whole = {text: tifffile.imread(mask) for text, mask in zip(["left lung", "right is high"], masks, strict=True)}
    ring = [[60, 40], [160, 40], [160, 240], [60, 240], [60, 40]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "geometry": shape, "properties": {"name": "right is high"}}
    (tmp_path / "r.geojson").write_text(json.dumps([feature]))
    (part,) = segment(slide, "left lung", tmp_path / "b", regions=str(tmp_path / "r.geojson"), **options)
    (row,) = read_rows(tmp_path / "b" / "results.csv")
    assert row["text"] == "right is high"
    inside = np.zeros(PIXELS.shape[:2], bool)
    inside[45:235, 65:155] = True
    found = tifffile.imread(part)
    assert found.any()
    assert not found[:, 170:].any()
    np.testing.assert_array_equal(found[inside], whole["right is high"][inside])


def test_a_head_for_whole_images_asks_how_large_a_window_is(slide, tiny_head, tmp_path):
    with pytest.raises(DataError, match=r"give the side, in slide pixels, of the window .*: --window 1024"):
        segment(slide, "left lung", tmp_path / "out", **tiny_head)
    (mask,) = segment(slide, "left lung", tmp_path / "out", window=128, **tiny_head)
    assert tifffile.imread(mask).any()


def test_words_are_not_measured_in_slides(slide, options, tmp_path):
    with pytest.raises(DataError, match=r"slide.*: the effect of words is measured in images and volumes"):
        segment(slide, "left lung", tmp_path / "out", words=True, **options)


def test_a_slide_that_is_through_is_not_read_again(slide, options, tmp_path, monkeypatch):
    first = segment(slide, "left lung", tmp_path / "out", **options)
    monkeypatch.setattr(slides.Slide, "window", None)
    assert segment(slide, "left lung", tmp_path / "out", **options) == first


def write_large(path, side):
    """Glass with tissue on a hundredth of it, written tile by tile."""

    def tiles(step):
        patch = np.random.default_rng(0).integers(90, 240, (512, 512, 1))
        patch = (patch * [0.9, 0.5, 0.8]).astype(np.uint8)
        glass = np.full((512, 512, 3), 243, np.uint8)
        for top in range(0, side, 512 * step):
            for left in range(0, side, 512 * step):
                inside = all(0.45 * side <= edge < 0.55 * side for edge in (top, left))
                yield patch if inside else glass

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(5):
            shape = (-(-side // 2**level),) * 2
            options = {"tile": (512, 512), "compression": "zlib", "photometric": "rgb", "subfiletype": int(level > 0)}
            writer.write(tiles(2**level), shape=(*shape, 3), dtype=np.uint8, **options)
    return path


@pytest.mark.slow
def test_memory_does_not_grow_with_the_slide(tiny_head, tmp_path):
    peaks = {}
    for side in (10_000, 40_000):
        slide = write_large(tmp_path / f"{side}.tif", side)
        peaks[side], seconds = segmented_apart(slide, tmp_path / "out", **tiny_head, window=1024)
        print(f"{side} x {side} pixels: {peaks[side]:.2f} GiB at most, {seconds:.0f} s")
    assert peaks[40_000] < 1.15 * peaks[10_000]
    assert [row["id"] for row in read_rows(tmp_path / "out" / "results.csv")] == ["10000", "40000"]

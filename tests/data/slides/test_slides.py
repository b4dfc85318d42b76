"""Slides: windows, tissue, masks as pyramids, regions that are drawn and that are found."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from scipy import ndimage

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("openslide")
pytest.importorskip("contourpy")
from made_slides import save_slide, tissue  # noqa: E402

from textdiff_monai import open_scan, read_picture  # noqa: E402
from textdiff_monai.data.slides import slide as slides  # noqa: E402
from textdiff_monai.data.slides.found import Found  # noqa: E402
from textdiff_monai.data.slides.mosaic import Mosaic  # noqa: E402
from textdiff_monai.data.slides.regions import Components, Region, read_regions  # noqa: E402

PIXELS = tissue(700, 900)


@pytest.fixture
def slide(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "_LARGE", 512**2)
    return open_scan(save_slide(tmp_path / "slide.tif", PIXELS))


def test_windows_are_read_at_the_slides_own_resolution(slide):
    assert slide.size == (700, 900)
    assert slide.mpp == (0.5, 0.5)
    np.testing.assert_array_equal(slide.window(430, 600, 50), PIXELS[430:480, 600:650].transpose(2, 0, 1))
    with pytest.raises(ValueError, match="a slide of 900 x 700 pixels is too large to be read whole; textdiff segment"):
        slide[0]


def test_empty_glass_is_no_tissue(slide):
    assert slide.has_tissue(100, 100, 50)
    assert slide.has_tissue(560, 580, 100)
    assert not slide.has_tissue(20, 500, 200)
    assert not slide.has_tissue(300, 0, 100)


def test_a_gray_picture_is_tissue_everywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "_LARGE", 512**2)
    gray = np.repeat(np.random.default_rng(0).integers(0, 255, (600, 600, 1), dtype=np.uint8), 3, -1)
    assert open_scan(save_slide(tmp_path / "gray.tif", gray)).tissue.all()


def test_a_small_tiff_of_tiles_is_a_picture(tmp_path):
    np.testing.assert_array_equal(read_picture(save_slide(tmp_path / "a.tif", PIXELS, levels=1)).pixels, PIXELS)


def test_a_slide_says_which_extra_it_needs(tmp_path, monkeypatch):
    path = save_slide(tmp_path / "slide.tif", PIXELS)
    monkeypatch.setitem(sys.modules, "openslide", None)
    monkeypatch.setattr(slides, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"a slide needs openslide, which is not installed: pip install .*\[slides\]"):
        open_scan(path)
    np.testing.assert_array_equal(read_picture(save_slide(tmp_path / "a.tif", PIXELS, levels=1)).pixels, PIXELS)


def test_a_mosaic_is_what_was_written_and_a_pyramid(tmp_path):
    values = np.random.default_rng(0).integers(0, 3, (1300, 2600)).astype(np.uint8)
    values[:512, :1024] = 0
    mosaic = Mosaic(1300, 2600, tmp_path)
    for top in range(0, 1300, 1024):
        for left in range(0, 2600, 1024):
            mosaic.write(top, left, values[top : top + 1024, left : left + 1024])
    np.testing.assert_array_equal(mosaic.read(0, 0, 1300, 2600), values)
    np.testing.assert_array_equal(mosaic.read(500, 1000, 600, 30), values[500:1100, 1000:1030])
    small = mosaic.save(tmp_path / "a.ome.tif", {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"})
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_ome
        levels = file.series[0].levels
        for number, level in enumerate(levels):
            np.testing.assert_array_equal(level.asarray(), values[:: 2**number, :: 2**number])
        assert 'PhysicalSizeX="0.25"' in file.ome_metadata
    np.testing.assert_array_equal(small, values[::4, ::4])
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.tif"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("block", [512, 1024])
def test_regions_are_counted_and_outlined_across_blocks(seed, block, tmp_path):
    rng = np.random.default_rng(seed)
    mask = ndimage.binary_dilation(rng.random((1100, 1500)) < 2e-4, iterations=9)
    found, probability = Found(mask.shape, tmp_path), np.full(mask.shape, 0.75)
    mask[:block, block : 2 * block] = seed % 2  # all or nothing, so that a block may be left out
    for top in range(0, 1100, block):
        for left in range(0, 1500, block):
            place = slice(top, top + block), slice(left, left + block)
            if mask[place].any():
                found.add(top, left, mask[place].astype(np.uint8), probability[place])
    count = ndimage.label(mask)[1]
    figures = found.figures((0.5, 0.5))
    assert (figures["components"], figures["pixels"]) == (str(count), str(mask.sum()))
    assert (figures["mean_probability"], figures["highest_probability"]) == ("0.7500", "0.7500")
    assert float(figures["area_mm2"]) == pytest.approx(mask.sum() * 0.25e-6, rel=1e-5)
    drawn = np.zeros(mask.shape, int)
    for feature in found.outlines(["", "gland"]):
        drawn += Region("", [feature["geometry"]["coordinates"]]).mask(0, 0, *mask.shape)
    assert (drawn != mask).mean() < 0.01  # Pillow fills a pixel more along some edges
    assert len(found.outlines(["", "gland"])) == count


def test_regions_are_read_as_qupath_writes_them(tmp_path):
    square = [[[10, 20], [30, 20], [30, 50], [10, 50], [10, 20]], [[15, 25], [20, 25], [20, 30], [15, 30], [15, 25]]]
    features = [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": square}, "properties": {"name": "glands"}},
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [square]}, "properties": {}},
    ]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    glands, other = read_regions(tmp_path / "a.geojson")
    assert (glands.text, other.text) == ("glands", "")
    mask = glands.mask(15, 5, 40, 30)
    assert mask[10, 7]  # of the slide: row 25, column 12
    assert not mask[12, 12]  # in the hole
    assert not mask[2, 10]
    assert abs(int(mask.sum()) - (20 * 30 - 25)) < 60
    for content in ("{", "[]", '{"features": [{"geometry": {"type": "Point"}}]}', "[1]"):
        (tmp_path / "b.geojson").write_text(content)
        with pytest.raises(ValueError, match=r"b\.geojson: (is not a GeoJSON|has no regions|expected polygons)"):
            read_regions(tmp_path / "b.geojson")


def test_corners_do_not_connect():
    components = Components()
    components.add(0, 0, np.eye(2, dtype=bool))
    components.add(2, 2, np.ones((1, 1), bool))
    assert len(list(components)) == 3

"""What a few labels buy: every network trained and measured on the same images."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from PIL import Image

from textdiff_monai import DiffusionBackbone, draw_labelled
from textdiff_monai.apps.compare import compare, random_backbone
from textdiff_monai.data.files import read_rows
from textdiff_monai.data.problems import DataError


def test_a_random_backbone_has_the_same_shape_and_other_weights(unet_folder, tmp_path):
    random = DiffusionBackbone(random_backbone(unet_folder, tmp_path / "a", seed=1), blocks=(1,), steps=(50,))
    again = DiffusionBackbone(random_backbone(unet_folder, tmp_path / "b", seed=1), blocks=(1,), steps=(50,))
    trained = DiffusionBackbone(unet_folder, blocks=(1,), steps=(50,))
    image = torch.zeros(1, 3, 8, 8)
    assert random(image)[0].shape == trained(image)[0].shape
    assert not torch.allclose(random(image)[0], trained(image)[0])
    assert torch.equal(random(image)[0], again(image)[0])


def test_drawn_images_repeat_and_grow():
    items = [{"image": str(number)} for number in range(9)]
    few, more = draw_labelled(items, 2, seed=1), draw_labelled(items, 5, seed=1)
    assert few == more[:2]
    assert more == draw_labelled(items, 5, seed=1) != draw_labelled(items, 5, seed=2)
    assert draw_labelled(items) == items
    with pytest.raises(ValueError, match="num_labelled is 10, but the training split has only 9 images"):
        draw_labelled(items, 10)


@pytest.fixture
def options(bert_folder, unet_folder):
    return {
        "iterations": 2,
        "backbone": str(unet_folder),
        "text_encoder": str(bert_folder),
        "blocks": [1, 3],
        "head": {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": [8, 8]},
        "resize": 32,
    }


def test_every_network_is_measured_and_a_stopped_comparison_goes_on(options, data_folder, tmp_path, capsys):
    arguments = (str(data_folder), str(tmp_path / "out"), (2,))
    for networks in (["unet"], ["pretrained", "random", "silent"]):
        compare(*arguments, 1, networks=networks, captions=["own", "swapped"], **options)
    capsys.readouterr()
    table = compare(*arguments, seeds=2, captions=["none", "swapped", "reworded"], **options)
    printed = capsys.readouterr().err
    assert "seed 1" in printed
    assert "Epoch" not in printed
    assert "pretrained, 2 labelled images, seed 0" in printed  # without captions it was not yet tested
    assert "unet, 2 labelled images, seed 0" not in printed
    kinds = ["own", "none", "swapped", "reworded"]
    expected = [(network, kind) for network in ("pretrained", "detail") for kind in kinds] + [("silent", "own")]
    expected += [("random", kind) for kind in kinds] + [("pixels", "own"), ("unet", "own")]
    expected += [("unet_text", kind) for kind in kinds]
    assert [(row["network"], row["captions"]) for row in table] == expected
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == table
    runs = read_rows(tmp_path / "out" / "runs.csv")
    assert len(runs) == 2 * len(expected)
    assert {run["iterations"] for run in runs} == {"2"}
    for row in table:
        mine = [run for run in runs if (run["network"], run["captions"]) == (row["network"], row["captions"])]
        assert row["mean_dice"] == pytest.approx(sum(float(run["mean_dice"]) for run in mine) / 2, abs=1e-5)
        assert row["low"] <= row["mean_dice"] <= row["high"]
        assert (row["seeds"], row["images"]) == (2, 4)
    assert Image.open(tmp_path / "out" / "curves.png").size[0] > 500
    assert compare(*arguments, networks=["unet"], **options | {"cache_dir": str(tmp_path / "elsewhere")})
    with pytest.raises(ValueError, match=r"holds a comparison with iterations 2 \(now 3\)"):
        compare(*arguments, **options | {"iterations": 3})


def test_a_mistake_that_left_no_run_can_be_mended_in_the_same_folder(options, data_folder, tmp_path):
    arguments = (str(data_folder), str(tmp_path / "out"), (2,), 1)
    only = {"networks": ["random"], "captions": ["own"]}
    with pytest.raises(RuntimeError, match="DiffusionBackbone"):
        compare(*arguments, **only, **options | {"blocks": [1, 99]})
    assert len(compare(*arguments, **only, **options)) == 1


def test_what_cannot_be_compared_is_refused_before_any_work(options, data_folder, tmp_path):
    arguments = (str(data_folder), str(tmp_path / "out"))
    with pytest.raises(ValueError, match="choose from pretrained, detail, silent, random, pixels, unet, unet_text"):
        compare(*arguments, networks=["u-net"], **options)
    with pytest.raises(ValueError, match="choose from own, none, other, swapped, reworded"):
        compare(*arguments, captions=["mine"], **options)
    for few in ({"labelled": []}, {"labelled": [2, 0]}, {"seeds": 0}, {"iterations": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(few))} 0: expected 1 or more"):
            compare(*arguments, **options | few)
    shutil.copytree(data_folder, tmp_path / "strange")
    table = (data_folder / "text.csv").read_text()
    (tmp_path / "strange" / "text.csv").write_text(re.sub("The nuclei.*high", "Blorp 肺", table))
    unread = pytest.warns(UserWarning, match="have words that the text encoder does not know")
    with unread, pytest.raises(ValueError, match="none of 4 captions is understood"):
        compare(tmp_path / "strange", tmp_path / "out", (2,), captions=["reworded"], **options)
    with pytest.raises(ValueError, match="--num_labelled is set by compare, from --labelled"):
        compare(*arguments, (2,), num_labelled=3, **options)
    with pytest.raises(FileNotFoundError, match="nowhere: is not a folder"):
        compare(*arguments, (2,), **options | {"backbone": str(tmp_path / "nowhere")})
    with pytest.raises(ValueError, match="num_labelled is 20, but the training split has only 4 images"):
        compare(*arguments, (2, 20), **options)
    shutil.copytree(data_folder, tmp_path / "untested")
    (tmp_path / "untested" / "text.csv").write_text(table.replace(",test", ",val"))
    with pytest.raises(DataError, match="no item is in the split test"):
        compare(tmp_path / "untested", tmp_path / "out", (2,), **options)
    assert not (tmp_path / "out").exists()

"""What a few labels buy: every network trained and measured on the same images."""

from __future__ import annotations

import json

import pytest
import torch

from textdiff_monai import DiffusionBackbone, draw_labelled
from textdiff_monai.apps.compare import compare, random_backbone
from textdiff_monai.data.files import read_rows


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
    with pytest.raises(ValueError, match="10 labelled images asked for, of 9"):
        draw_labelled(items, 10)


def test_every_network_is_measured_and_a_stopped_comparison_goes_on(
    unet_folder, bert_folder, data_folder, tmp_path, capsys
):
    options = {
        "text_encoder": str(bert_folder),
        "blocks": [1, 3],
        "head": {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": [8, 8]},
        "resize": 32,
    }
    arguments = (str(data_folder), str(tmp_path / "out"), (2,))
    with pytest.raises(ValueError, match="expected some of pretrained, random, unet"):
        compare(*arguments, networks=["u-net"])
    for networks in (["unet"], ["pretrained", "random"]):
        compare(*arguments, 1, iterations=2, backbone=str(unet_folder), networks=networks, **options)
    capsys.readouterr()
    table = compare(*arguments, seeds=2, iterations=2, backbone=str(unet_folder), **options)
    printed = capsys.readouterr().out
    assert "seed 1" in printed
    assert "seed 0" not in printed
    assert [(row["network"], row["labelled"], row["seeds"]) for row in table] == [
        ("pretrained", 2, 2),
        ("random", 2, 2),
        ("unet", 2, 2),
    ]
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == table
    runs = read_rows(tmp_path / "out" / "runs.csv")
    assert [run["iterations"] for run in runs] == ["2"] * 6
    assert all(0 <= float(run["mean_dice"]) <= 1 for run in runs)

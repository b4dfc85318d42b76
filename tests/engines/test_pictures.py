"""A small picture of each case shows the image, the truth and what was found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from PIL import Image

from textdiff_monai import CasePictures
from textdiff_monai.data.pictures import strip

RED = np.array([255, 64, 64])


def evaluated(folder, image, truth, found, **more):
    """An evaluation of one case."""
    one_hot = [torch.stack([1 - mask, mask]) for mask in (truth, found)]
    output = {"image": MetaTensor(image), "label": one_hot[0], "pred": one_hot[1], **more}
    engine = Engine(lambda engine, batch: [output])
    CasePictures(str(folder), side=64).attach(engine)
    engine.run([[{"id": "a_1"}]])
    return np.asarray(Image.open(folder / "a_1.webp").convert("RGB")).astype(int)


def panels(picture, width):
    return [picture[:, place : place + width] for place in range(0, picture.shape[1], width + 2)]


def reddish(panel):
    return panel[..., 0] - panel[..., 1] > 60


def test_image_truth_and_prediction_stand_side_by_side(tmp_path):
    truth, found = torch.zeros(32, 64), torch.zeros(32, 64)
    truth[8:24, 4:24], found[8:24, 40:60] = 1, 1
    plain, true, predicted = panels(evaluated(tmp_path / "new", torch.zeros(3, 32, 64), truth, found), 64)
    assert plain.shape == true.shape == predicted.shape == (32, 64, 3)
    assert abs(plain - 127).max() < 20
    for panel, mask in ((true, truth), (predicted, found)):
        assert (reddish(panel) == mask.numpy().astype(bool)).mean() > 0.9


def test_where_heads_disagree_comes_last(tmp_path):
    nothing, apart = torch.zeros(32, 64), torch.zeros(1, 32, 64)
    apart[:, 8:24, 8:24] = 1
    *_, last = panels(evaluated(tmp_path, torch.zeros(3, 32, 64), nothing, nothing, disagreement=apart), 64)
    assert last[10:22, 10:22].min() > 120
    assert last[:, 32:].max() < 30


@pytest.mark.parametrize("empty", [False, True])
def test_of_a_volume_the_slice_with_most_of_the_truth_is_shown_else_of_what_was_found(empty, tmp_path):
    truth, found = torch.zeros(32, 32, 5), torch.zeros(32, 32, 5)
    truth[8:24, 8:24, 1], truth[8:12, 8:12, 2], found[4:28, 4:28, 3] = 1, 1, 1
    image = torch.linspace(-1, 1, 5).expand(1, 32, 32, 5)
    plain, *_ = panels(evaluated(tmp_path, image, truth * (not empty), found), 64)
    assert plain.mean() == pytest.approx(255 / 4 * (3 if empty else 1), abs=8)


def test_large_images_are_reduced_and_no_small_target_gets_lost():
    truth = np.zeros((1000, 500), np.uint8)
    truth[500:503, 250:253] = 1
    picture = np.asarray(strip(np.zeros((1000, 500, 3)), [truth, np.zeros_like(truth)], side=100))
    assert picture.shape == (100, 3 * 50 + 2 * 2, 3)
    assert (picture[:, 52:102] > 60).any()
    assert not picture[:, 104:].any()

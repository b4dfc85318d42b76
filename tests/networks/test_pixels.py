"""Pixel classifiers see what is at a pixel, and nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from textdiff_monai import DiffusionBackbone, TextDiff, TextEncoder
from textdiff_monai.networks.pixels import PixelHead

IMAGE = torch.zeros(2, 3, 8, 8)  # its size alone counts


def maps(*sides):
    torch.manual_seed(0)
    return [torch.randn(2, width, side, side) for width, side in zip((5, 7), sides, strict=True)]


def test_it_is_an_mlp_on_the_upsampled_features_of_a_pixel():
    head = PixelHead([5, 7], 16, hidden_channels=(6, 4), norm=("instance", {"affine": True}))
    features = maps(4, 8)
    upsampled = torch.cat([F.interpolate(one, (8, 8), mode="bilinear") for one in features], dim=1)
    plain = nn.Sequential(head.first, *head.classifier)(upsampled)
    torch.testing.assert_close(head(features, None, None, IMAGE), plain)


def test_a_pixel_does_not_depend_on_its_neighbours():
    head = PixelHead([5, 7], 16, hidden_channels=(6, 4)).eval()  # its norm's statistics stand still
    features = maps(8, 8)
    changed = [one.clone() for one in features]
    for one in changed:
        one[..., 3, 5] += 1
    difference = (head(changed, None, None, IMAGE) - head(features, None, None, IMAGE)).abs().sum((0, 1))
    assert difference[3, 5] > 0
    assert difference.count_nonzero() == 1


def test_textdiff_with_it_reads_no_sentence_and_a_recipe_makes_it_again(unet_folder, bert_folder):
    branches = DiffusionBackbone(unet_folder, (1, 3), (50,)), TextEncoder(bert_folder)
    network = TextDiff(*branches, head={"kind": "pixels", "hidden_channels": (6, 4)}, heads=2).eval()
    image = torch.rand(2, 3, 16, 16)
    assert torch.equal(network(image, ["left", "right"]), network(image))
    known = network.recipe.options
    again = TextDiff(*branches, head=known["head"] | {"norm": known["norm"]}, heads=known["heads"])
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(image), network(image))


def test_another_kind_of_head_is_an_error_that_names_those_that_are(unet_folder, bert_folder):
    branches = DiffusionBackbone(unet_folder, (1, 3), (50,)), TextEncoder(bert_folder)
    with pytest.raises(ValueError, match="kind 'mlp': expected attention or pixels"):
        TextDiff(*branches, head={"kind": "mlp"})
    with pytest.raises(ValueError, match="detail_channels is 16: a head of the kind 'pixels' has none"):
        TextDiff(*branches, head={"kind": "pixels", "detail_channels": 16})

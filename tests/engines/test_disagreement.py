"""Disagreement is run as the masks are: resized, slice by slice, with each image's own sentence."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from textdiff_monai import DiffusionBackbone, MeanDisagreement, TextDiff, TextEncoder, TextInferer
from textdiff_monai.engines.disagreement import Disagreement
from textdiff_monai.networks.ensemble import disagreement


@pytest.fixture
def network(unet_folder, bert_folder):
    branches = DiffusionBackbone(unet_folder, (1, 3), (50,)), TextEncoder(bert_folder)
    head = {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": (8, 8), "norm": "instance"}
    network = TextDiff(*branches, head=head, heads=3).eval()
    torch.manual_seed(0)
    for parameter in network.head.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    return network


def test_it_is_that_of_the_heads_whatever_the_inferer_does_to_masks(network):
    images = MetaTensor(torch.rand(2, 3, 16, 16) * 2 - 1, meta={"text": ["left", "right"]})
    found = Disagreement(network, TextInferer(16, temperature=3.0, least_presence=1.0))(images)
    with network.head.apart(), torch.no_grad():
        expected = disagreement(network(images, ["left", "right"]))
    torch.testing.assert_close(found, expected)
    assert expected.max() > 0.01
    assert Disagreement(network, TextInferer(32))(images).shape == (2, 16, 16)


def test_of_a_volume_it_is_0_in_slices_that_the_sentence_is_not_about(network):
    meta = {"text": ["left"], "slices": ["1-2"]}
    found = Disagreement(network, TextInferer(16))(MetaTensor(torch.rand(1, 1, 16, 16, 4), meta=meta))
    assert found.shape == (1, 16, 16, 4)
    assert [bool(found[..., number].any()) for number in range(4)] == [False, True, True, False]


def test_one_head_has_nobody_to_disagree_with(unet_folder, bert_folder):
    network = TextDiff(DiffusionBackbone(unet_folder, (1, 3), (50,)), TextEncoder(bert_folder), head={"channels": 16})
    with pytest.raises(ValueError, match="--heads 5"):
        Disagreement(network, TextInferer(16))


def test_of_a_mask_it_is_the_mean_over_what_is_marked():
    apart = torch.rand(1, 4, 4)
    marked = torch.zeros(4, 4)
    marked[1:3] = 1
    metric = MeanDisagreement()
    metric([torch.stack([1 - marked, marked])], [apart])
    metric([torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])], [apart])  # nothing marked, nothing to say
    assert metric.aggregate().item() == pytest.approx(apart[0, 1:3].mean().item())
    assert metric.get_buffer().isnan().tolist() == [[False], [True]]

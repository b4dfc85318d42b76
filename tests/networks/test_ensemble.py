"""Several heads on the same features: alone in training, their mean in use."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.losses import DiceCELoss
from torch import nn

from textdiff_monai import DiffusionBackbone, EachHead, TextDiff, TextEncoder
from textdiff_monai.networks.ensemble import disagreement

HEAD = {
    "channels": 16,
    "heads": 2,
    "head_channels": 8,
    "hidden_channels": (8, 8),
    "norm": ("instance", {"affine": True}),
}
IMAGE = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
TEXT = ["left lung", "the right"]


@pytest.fixture
def branches(unet_folder, bert_folder):
    return DiffusionBackbone(unet_folder, blocks=(1, 3), steps=(50,)), TextEncoder(bert_folder)


def spread(network):
    """With weights large enough that heads differ."""
    torch.manual_seed(1)
    for parameter in network.head.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    return network


@pytest.mark.parametrize("fast", [True, False])
def test_the_prediction_is_the_heads_mean_probability(branches, fast):
    network = spread(TextDiff(*branches, head=HEAD, heads=3, fast=fast)).eval()
    found = network(IMAGE, TEXT).softmax(1)
    each = []
    for head in network.head:
        single = TextDiff(*branches, head=HEAD, fast=fast).eval()
        single.head.load_state_dict(head.state_dict())
        each.append(single(IMAGE, TEXT).softmax(1))
    assert (each[0] - each[1]).abs().max() > 0.1
    torch.testing.assert_close(found, torch.stack(each).mean(0))


def test_features_are_computed_once_for_all_heads(branches, monkeypatch):
    calls = []
    call = DiffusionBackbone.forward
    monkeypatch.setattr(DiffusionBackbone, "forward", lambda self, image: calls.append(1) or call(self, image))
    TextDiff(*branches, head=HEAD, heads=3).eval()(IMAGE, TEXT)
    assert len(calls) == 1


def test_each_head_has_the_gradients_that_it_would_have_alone(branches):
    together = spread(TextDiff(*branches, head=HEAD, heads=2)).train()
    alone = TextDiff(*branches, head=HEAD).train()
    alone.head = copy.deepcopy(together.head[1])
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    label = (IMAGE[:, :1] > 0).float()
    for network in (together, alone):
        EachHead(loss)(network(IMAGE, TEXT), label).backward()
    for one, other in zip(together.head[1].parameters(), alone.head.parameters(), strict=True):
        torch.testing.assert_close(2 * one.grad, other.grad, rtol=1e-4, atol=1e-5)  # Adam does not see the 2


def test_heads_begin_with_weights_of_their_own_and_the_recipe_counts_them(branches):
    network = TextDiff(*branches, head=HEAD, heads=2)
    first, second = (head.classifier[0].weight for head in network.head)
    assert not torch.equal(first, second)
    assert network.recipe.options["heads"] == 2
    assert "heads" not in TextDiff(*branches, head=HEAD).recipe.options
    with pytest.raises(ValueError, match="heads is 0: expected 1 or more"):
        TextDiff(*branches, head=HEAD, heads=0)


def test_heads_disagree_where_they_are_sure_of_different_things_and_nowhere_else():
    sure, torn = [20.0, -20.0], [0.0, 0.0]
    pixels = {"same": [sure, sure], "both torn": [torn, torn], "opposite": [sure, sure[::-1]], "one torn": [sure, torn]}
    logits = torch.tensor(list(pixels.values())).permute(1, 2, 0)[None, ..., None]  # (1, heads, classes, pixels, 1)
    same, torn, opposite, one = disagreement(logits).flatten().tolist()
    assert (same, torn, opposite) == pytest.approx((0, 0, 1), abs=1e-5)
    assert one == pytest.approx(0.8113 - 0.5, abs=1e-3)  # the entropy of 3/4 and 1/4, in bits


def test_heads_apart_give_their_own_logits_and_then_the_mean_again(branches):
    network = spread(TextDiff(*branches, head=HEAD, heads=3)).eval()
    before = network(IMAGE, TEXT)
    with network.head.apart():
        each = network(IMAGE, TEXT)
    assert each.shape == (2, 3, 2, 16, 16)
    torch.testing.assert_close(each.softmax(2).mean(1), before.softmax(1))
    assert torch.equal(network(IMAGE, TEXT), before)

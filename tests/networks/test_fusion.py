"""A U-Net that is given the sentence beside the pixels."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNet

from textdiff_monai import EarlyFusion, Recipe, TextEncoder

IMAGE = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def network(bert_folder):
    torch.manual_seed(0)
    unet = UNet(spatial_dims=2, in_channels=5, out_channels=2, channels=(4, 8), strides=(2,), num_res_units=2)
    return EarlyFusion(unet, TextEncoder(bert_folder), maps=2, side=4, recipe=Recipe(read_text=True))


def test_logits_depend_on_each_images_own_sentence(network):
    both = network.eval()(IMAGE, ["left", "right"])
    assert both.shape == (2, 2, 32, 48)
    assert not torch.allclose(both, network(IMAGE, "left"), atol=1e-3)
    torch.testing.assert_close(both[:1], network(IMAGE[:1], ["left"]))
    torch.testing.assert_close(both[1:], network(IMAGE[1:], "right"))
    torch.testing.assert_close(network(IMAGE), network(IMAGE, ["", ""]))


def test_padding_of_a_batch_is_not_read(network):
    alone = network.eval()(IMAGE[:1], ["left"])
    beside = network(IMAGE, ["left", "the nuclei in the left lower lung is high"])
    torch.testing.assert_close(beside[:1], alone)


def test_it_learns_which_half_a_sentence_asks_for(network):
    left = torch.zeros(32, 48, dtype=torch.long)
    left[:, :24] = 1
    asked, truth = ["left", "right"], torch.stack([left, 1 - left])
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(IMAGE[:1].expand(2, -1, -1, -1), asked), truth).backward()
        optimizer.step()
    found = network.eval()(IMAGE[:1].expand(2, -1, -1, -1), asked).argmax(1)
    assert (found == truth).float().mean() > 0.9


def test_checkpoints_hold_what_was_trained_and_name_the_text_encoder(network):
    state = network.state_dict()
    assert {name.split(".")[0] for name in state} == {"draw", "network", "recipe"}
    assert network.recipe.options["max_tokens"] == 24
    assert set(network.recipe.options["encoders"]) == {"text_encoder"}


def test_another_number_of_texts_than_images_is_an_error(network):
    with pytest.raises(ValueError, match="1 texts for 2 images"):
        network(IMAGE, ["left"])

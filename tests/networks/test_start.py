"""Training that begins with another head's weights, whatever the recipe says of pixels."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import BasicUNet

from textdiff_monai import Recipe, start_from, with_recipe


def unet(width=4, **recipe):
    return with_recipe(BasicUNet(2, 3, 2, features=(width,) * 6), Recipe(**recipe))


def test_weights_are_taken_and_the_recipe_is_not(tmp_path):
    trained, network = unet(resize=32), unet(resize=64)
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    start_from(network, tmp_path / "model.pt")
    for name, weight in trained.named_parameters():
        assert torch.equal(network.get_parameter(name), weight)
    assert network.recipe.options == {"resize": 64}


def test_a_head_of_other_features_is_refused(tmp_path):
    torch.save(unet(steps=[50], resize=32).state_dict(), tmp_path / "model.pt")
    with pytest.raises(
        ValueError,
        match=r"model\.pt: cannot start from a head of other features: trained with steps \[50\], given \[60\]; give",
    ):
        start_from(unet(steps=[60]), tmp_path / "model.pt")


def test_a_head_of_another_shape_is_named(tmp_path):
    torch.save(unet().state_dict(), tmp_path / "model.pt")
    with pytest.raises(
        ValueError, match=r"model\.pt: cannot start from a head of another shape: .* is \(4,.*\) in it, \(6,.*\) here"
    ):
        start_from(unet(6), tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt does not exist"):
        start_from(unet(), tmp_path / "nothing.pt")

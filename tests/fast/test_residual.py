"""Short residual units: diffusers' numbers, for every unit that is taken."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from textdiff_monai.fast.convolution import ShortConvolutions
from textdiff_monai.fast.residual import residual_can_be_short, short_residual

SIZES = {"large": (8, 12), "medium": (6, 6), "small": (4, 4), "between": (5, 7)}


pytestmark = pytest.mark.usefixtures("_short_convolutions_of_small_maps", "library")


def unit(**options):
    torch.manual_seed(0)
    options = {"in_channels": 8, "temb_channels": 10, "groups": 4, "time_embedding_norm": "scale_shift"} | options
    made = ResnetBlock2D(**options).eval().requires_grad_(False)
    for norm in (made.norm1, made.norm2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return made


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"time_embedding_norm": "default"},
        {"out_channels": 12},
        {"up": True, "out_channels": 8},
        {"up": True, "kernel": "sde_vp"},
        {"down": True},
        {"skip_time_act": True, "output_scale_factor": 1.5},
        {"groups": 2, "groups_out": 8, "eps": 0.1, "time_embedding_norm": "default"},
    ],
    ids=str,
)
def test_it_computes_what_diffusers_unit_computes(options, size):
    residual = unit(**options)
    # Far from zero, and unlike each other: what a norm is for.
    hidden = torch.randn(2, 8, *size) * torch.rand(2, 8, 1, 1) + 10 * torch.randn(2, 8, 1, 1)
    given, embedding = hidden.clone(), torch.randn(2, 10)
    expected = residual(hidden, embedding)
    assert residual_can_be_short(residual)
    with torch.no_grad(), ShortConvolutions() as short:
        ours = short_residual(residual, hidden, embedding, short)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert torch.equal(hidden, given), "a skip connection reads it later"


@pytest.mark.parametrize("options", [{"non_linearity": "gelu"}, {"temb_channels": None}])
def test_a_unit_that_it_does_not_know_is_left_to_diffusers(options):
    assert not residual_can_be_short(unit(**options))
    assert not residual_can_be_short(nn.Conv2d(8, 8, 3))
    assert not residual_can_be_short(None)

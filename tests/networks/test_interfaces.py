"""The contract of image backbones, text encoders and heads: a new kind is a class, and a line here."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from textdiff_monai import DiffusionBackbone, TextDiff, TextEncoder

BACKBONES = {
    "diffusion": lambda unet, bert: DiffusionBackbone(unet, blocks=(1, 3), steps=(50, 250)),
    "diffusion, one block and step, without noise": lambda unet, bert: DiffusionBackbone(unet, (2,), (50,), None),
}
ENCODERS = {
    "encoder": lambda unet, bert: TextEncoder(bert),
    "encoder, padding unmasked": lambda unet, bert: TextEncoder(bert, max_length=10, mask_padding=False),
}
HEADS = {
    "attention": {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": (8, 8)},
    "attention, with details": {"channels": 16, "hidden_channels": (8, 8), "detail_channels": 4},
    "pixels": {"kind": "pixels", "hidden_channels": (8, 8)},
}


@pytest.fixture(params=BACKBONES)
def backbone(request, unet_folder, bert_folder):
    return BACKBONES[request.param](unet_folder, bert_folder)


@pytest.fixture(params=ENCODERS)
def encoder(request, unet_folder, bert_folder):
    return ENCODERS[request.param](unet_folder, bert_folder)


def images(count, height, width):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_backbone_gives_a_map_of_each_scale_as_wide_as_it_says(backbone):
    side = 2 * backbone.divisor
    features = backbone(images(2, side, 2 * side))
    assert [scale.shape[1] for scale in features] == backbone.out_channels
    for scale in features:
        assert scale.shape[0] == 2
        assert 2 * scale.shape[2] == scale.shape[3] <= 2 * side
        assert torch.isfinite(scale).all()
        assert scale.std() > 0


def test_a_backbone_refuses_channels_and_sizes_that_it_cannot_take(backbone):
    side = 2 * backbone.divisor
    with pytest.raises(ValueError, match="expected an image"):
        backbone(torch.zeros(1, 4, side, side))
    if backbone.divisor > 1:
        with pytest.raises(ValueError, match=f"{side} x {side + 1}.*multiples of {backbone.divisor}"):
            backbone(torch.zeros(1, 3, side, side + 1))


def test_an_encoder_gives_embeddings_as_wide_as_it_says_and_a_mask(encoder):
    sentences = ["left upper lung", "", "the nuclei in the right is high"]
    embeddings, mask = encoder(sentences)
    assert embeddings.shape == (3, mask.shape[1], encoder.out_channels)
    assert mask.shape[0] == 3
    assert mask.dtype == torch.bool
    assert mask.any(1).all(), "the attention needs a token to look at"
    assert torch.isfinite(embeddings).all()
    alone = [encoder([sentence])[0][0] for sentence in sentences]
    for one, among, seen in zip(alone, embeddings, mask, strict=True):
        torch.testing.assert_close(among[seen], one[: int(seen.sum())])


def test_both_are_frozen_repeatable_and_say_what_they_are(backbone, encoder):
    image = images(1, 2 * backbone.divisor, 2 * backbone.divisor)
    for branch, given in ((backbone, image), (encoder, ["left"])):
        assert isinstance(branch, nn.Module)
        assert json.loads(json.dumps(branch.identity)) == branch.identity
        assert not any(parameter.requires_grad for parameter in branch.parameters())
        assert branch.state_dict() == {}
        first, second = branch.train()(given)[0], branch(given)[0]
        assert not branch.training
        assert not first.requires_grad
        assert torch.equal(first, second)


@pytest.mark.parametrize("head", HEADS)
def test_textdiff_trains_with_them(backbone, encoder, head):
    network = TextDiff(backbone, encoder, head=HEADS[head])
    side = 16 * backbone.divisor
    logits = network(images(2, side, side), ["left", ""])
    assert logits.shape == (2, 2, side, side)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.head.parameters())
    assert not any(name.startswith(("backbone", "text_encoder")) for name in network.state_dict())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("heads", [1, 2])
def test_a_head_computes_the_same_fast_and_plain_and_is_made_again_from_its_options(backbone, encoder, head, heads):
    side = 16 * backbone.divisor
    fast = TextDiff(backbone, encoder, head=HEADS[head], heads=heads).eval()
    options = json.loads(json.dumps(fast.head.options))
    plain = TextDiff(backbone, encoder, head=options, heads=heads, fast=False).eval()
    plain.load_state_dict(fast.state_dict())
    given = images(2, side, side), ["left", "the right lung"]
    torch.testing.assert_close(fast(*given), plain(*given), rtol=1e-4, atol=1e-5)

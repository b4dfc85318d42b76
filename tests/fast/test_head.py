"""The short head: the plain head's logits and gradients, whatever the sizes, sentences and precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.measure import multiply_adds
from textdiff_monai import SegmentationHead
from textdiff_monai.fast import head as fast
from textdiff_monai.fast.head import attention_to, linear, short_logits
from textdiff_monai.networks.attention import ImageTextBlock

HEAD = {"channels": 16, "heads": 2, "head_channels": 8, "hidden_channels": (8, 8)}
FOLDED, AS_THEY_ARE = 4, 9  # tokens, with heads of 8 channels


def build(widths, **options):
    torch.manual_seed(0)
    head = SegmentationHead(widths, 16, **{"num_classes": 3} | HEAD | options).eval()
    for parameter in head.parameters():  # larger than at the start of training, so that all of it counts
        nn.init.normal_(parameter, 0.0, 0.3)
    return head


def sentence(batch, tokens=FOLDED):
    mask = torch.arange(tokens) < torch.randint(1, tokens + 1, (batch, 1))
    return torch.randn(batch, tokens, 16), mask


def assert_near(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("tokens", [FOLDED, AS_THEY_ARE])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("batch", "places", "size"),
    [
        *[(2, [(2, 3), (5, 7)], size) for size in [(11, 6), (5, 7), (16, 28), (3, 2), (1, 1)]],
        (1, [(70, 90), (9, 45)], (140, 180)),  # more pixels than are computed at once
        (3, [(64, 40)], (75, 41)),
        (1, [(33, 129)], (20, 90)),
    ],
)
def test_logits_and_gradients_are_the_plain_heads(batch, places, size, masked, tokens):
    head = build([24, 16, 24][: len(places)])
    maps = [torch.randn(batch, width, *place) for width, place in zip((24, 16), places, strict=False)]
    text, mask = sentence(batch, tokens)
    mask = mask if masked else None
    image = torch.zeros(batch, 3, *size)
    ours, theirs = short_logits(head, maps, text, mask, image), head(maps, text, mask, image)
    assert_near(ours, theirs)
    gradients = [torch.autograd.grad(x.square().sum(), [*head.parameters()]) for x in (ours, theirs)]
    for name, one, other in zip(dict(head.named_parameters()), *gradients, strict=True):
        assert (one - other).abs().max() <= 1e-3 * other.abs().max() + 1e-3, name


def test_every_kind_of_projection_and_norm_is_the_plain_heads():
    maps, image = [torch.randn(2, width, 4, 6) for width in (24, 24, 16, 40)], torch.randn(2, 3, 32, 48)
    instance = ("instance", {"affine": True})
    for norm, detail in (("batch", 0), (instance, 0), (("group", {"num_groups": 4}), 0), (instance, 4)):
        head = build([24, 24, 16, 40], norm=norm, detail_channels=detail)
        text, mask = sentence(2)
        assert_near(short_logits(head, maps, text, mask, image), head(maps, text, mask, image))


def test_batch_statistics_move_alike():
    heads, maps, (text, mask) = [build([24, 16]) for _ in range(2)], [torch.randn(2, 24, 4, 6)], sentence(2)
    maps.append(torch.randn(2, 16, 8, 12))
    image = torch.zeros(2, 3, 8, 12)
    short_logits(heads[0].train(), maps, text, mask, image)
    heads[1].train()(maps, text, mask, image)
    for name, ours in heads[0].named_buffers():
        torch.testing.assert_close(ours, heads[1].get_buffer(name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tokens", [3, 5])  # a head has 4 channels
def test_the_attentions_gradients_are_right(tokens):
    torch.manual_seed(0)
    block = ImageTextBlock(6, 7, 2, 4).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    names, weights = zip(*block.named_parameters(), strict=True)
    pixels, text = torch.randn(2, 5, 6).double() + 1, torch.randn(2, tokens, 7).double()
    mask = torch.tensor([[True] * tokens, [True] * (tokens - 1) + [False]])

    class Attended(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = block

        def forward(self, pixels, text):
            return attention_to(self.block, text, mask)(pixels)

    def attend(pixels, text, *weights):
        state = {f"block.{name}": weight for name, weight in zip(names, weights, strict=True)}
        return torch.func.functional_call(Attended(), state, (pixels, text))

    assert torch.autograd.gradcheck(attend, (pixels.requires_grad_(), text.requires_grad_(), *weights))
    torch.testing.assert_close(attend(pixels, text, *weights), block(pixels, text, mask))


def test_pixels_far_from_zero_are_attended_alike():
    torch.manual_seed(0)
    block, pixels, text = ImageTextBlock(64, 32, 2, 16), torch.randn(2, 20, 64) + 30, torch.randn(2, 4, 32)
    assert_near(attention_to(block, text, None)(pixels), block(pixels, text))


@pytest.mark.parametrize("tokens", [FOLDED, AS_THEY_ARE])
def test_autocast_computes_in_its_precision_close_to_float32(tokens):
    head, (text, mask) = build([24, 16]), sentence(2, tokens)
    maps, results = [torch.randn(2, 24, 3, 4), torch.randn(2, 16, 6, 8)], []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = short_logits(head, maps, text, mask, torch.zeros(2, 3, 12, 16))
            gradients = torch.autograd.grad(logits.square().sum(), [*head.attention.parameters()])
        assert logits.dtype == (torch.bfloat16 if enabled else torch.float32)
        results.append(torch.cat([x.float().flatten() for x in (logits, *gradients)]))
    exact, rounded = results
    assert not torch.equal(rounded, exact)
    assert F.cosine_similarity(rounded, exact, dim=0) > 0.98


def test_a_first_call_in_inference_mode_leaves_a_head_that_trains():
    head, maps, (text, mask) = build([16]), [torch.randn(1, 16, 5, 3)], sentence(1)
    image = torch.zeros(1, 3, 13, 11)
    with torch.inference_mode():
        short_logits(head, maps, text, mask, image)
    short_logits(head, maps, text, mask, image).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_fewer_multiply_adds_are_counted():
    head = build([16, 16], channels=32, hidden_channels=(32, 8))
    maps, (text, mask) = [torch.randn(1, 16, 4, 4), torch.randn(1, 16, 8, 8)], sentence(1)
    with torch.no_grad():
        less, plain = (
            multiply_adds(lambda way=way: way(maps, text, mask, torch.zeros(1, 3, 32, 32)))[1]
            for way in (lambda *given: short_logits(head, *given), head)
        )
    assert 0 < less < 0.5 * plain


@pytest.mark.parametrize("wide", [0, 2**30])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_its_gradients_are_pytorchs(wide, bias, monkeypatch):
    monkeypatch.setattr(fast, "_WIDE", wide)
    given = [torch.randn(2, 30, 8), torch.randn(12, 8), torch.randn(12)][: 2 + bias]
    given = [tensor.requires_grad_() for tensor in given]
    ours, theirs = linear(*given), F.linear(*given)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(x.square().sum(), given) for x in (ours, theirs)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

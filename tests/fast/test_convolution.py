"""Short convolutions: the same numbers, only where they may be, and in the thread that asked for them only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.measure import multiply_adds
from benchmarks.reference import published_features
from textdiff_monai.fast import convolution
from textdiff_monai.fast.convolution import Activation, ShortConvolutions, short_precision

pytestmark = pytest.mark.usefixtures("_short_convolutions_of_small_maps", "library")


@pytest.fixture
def ways(monkeypatch):
    """The ways taken, in turn: the side of a tile, or "product"."""
    taken = []
    filtered, one_product = ShortConvolutions._filtered, ShortConvolutions._one_product
    monkeypatch.setattr(ShortConvolutions, "_filtered", lambda *a: (taken.append(a[4].tile), filtered(*a))[1])
    monkeypatch.setattr(ShortConvolutions, "_one_product", lambda *a: (taken.append("product"), one_product(*a))[1])
    return taken


def case(count=1, channels=5, out=7, height=8, width=12):
    generator = torch.Generator().manual_seed(height * width + channels)
    shapes = (count, channels, height, width), (out, channels, 3, 3), (out,)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def short(*args, **kwargs):
    with ShortConvolutions():
        return F.conv2d(*args, **kwargs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("options", "way"),
    [
        ({}, 4),
        ({"count": 3, "height": 4, "width": 20}, 4),
        ({"count": 3, "height": 8, "width": 4}, 4),  # several images at once, not all of them
        ({"height": 20, "width": 16}, 4),  # weights in order; bands that do not divide the height
        ({"height": 32, "width": 4, "channels": 2, "out": 2}, 4),
        ({"height": 6, "width": 10}, 2),
        ({"count": 5, "height": 4, "width": 6}, 2),
        ({"height": 4, "width": 4, "count": 2}, "product"),
        ({"height": 3, "width": 5}, "product"),
        ({"height": 9, "width": 12}, None),
        ({"height": 7, "width": 10}, None),
        ({"channels": 1}, None),
    ],
)
def test_it_equals_pytorchs_convolution(options, way, bias, layout, ways):
    image, weight, offset = case(**options)
    arguments = image.contiguous(memory_format=layout), weight, offset if bias else None
    ours, theirs = short(*arguments, padding=1), F.conv2d(*arguments, padding=1)
    assert ways == ([way] if way else [])
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("size", [(8, 12), (6, 10), (4, 4), (3, 5)])
def test_under_autocast_to_bfloat16_it_is_nearly_as_exact_as_pytorchs(size, ways):
    image, weight, bias = case(count=3, channels=64, out=48, height=size[0], width=size[1])
    expected = F.conv2d(image, weight, bias, padding=1)
    with torch.autocast("cpu", torch.bfloat16), ShortConvolutions(torch.bfloat16):
        ours = F.conv2d(image, weight, bias, padding=1)
    assert ways
    assert ours.dtype == torch.bfloat16
    assert 0 < (ours - expected).norm() < (0.03 if ways == [4] else 0.01) * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(4, 4), (3, 5), (16, 20)])
@pytest.mark.parametrize("out", [7, 1])
def test_a_doubled_map_is_convolved_before_it_is_doubled(out, size, dtype):
    image, weight, bias = case(count=3, channels=16, out=out, height=size[0], width=size[1])
    image, layer = image.to(dtype), nn.Conv2d(16, out, 3, padding=1).requires_grad_(False)
    layer.weight, layer.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
    activation = Activation(torch.rand(3, 16), torch.rand(3, 16))
    expected = layer(F.interpolate(activation(image.float()), scale_factor=2))
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16), ShortConvolutions(dtype) as short:
        ours = short.of_doubled(image, activation, layer)
    assert ours.shape == expected.shape
    assert (ours - expected).norm() <= (1e-6 if dtype == torch.float32 else 0.01) * expected.norm()


@pytest.mark.parametrize(
    "options",
    [{}, {"padding": 2}, {"padding": 1, "stride": 2}, {"padding": 1, "dilation": 2}, {"padding": "same"}],
)
def test_another_convolution_is_pytorchs(options, ways):
    arguments = case()
    torch.testing.assert_close(short(*arguments, **options), F.conv2d(*arguments, **options), rtol=0, atol=0)
    assert not ways


def test_a_gradient_another_precision_and_a_trace_are_pytorchs(ways):
    image, weight, bias = case()
    assert short(image, weight.requires_grad_(), bias, padding=1).requires_grad
    weight.requires_grad_(False)
    assert short(image.double(), weight.double(), bias.double(), padding=1).dtype == torch.float64
    for entered, autocast in ((torch.float32, torch.bfloat16), (torch.float32, torch.float16)):
        with torch.autocast("cpu", autocast), ShortConvolutions(entered):
            assert F.conv2d(image, weight, bias, padding=1).dtype == autocast
    trace = torch.jit.trace(lambda x: short(x, weight, bias, padding=1), image, check_trace=False)
    assert "aten::_convolution" in str(trace.graph)
    assert not ways
    assert short_precision(image, weight, None) == torch.float32


def heads(count=2, tokens=12, width=16):
    return [torch.randn(count, 3, tokens, width, generator=torch.Generator().manual_seed(n)) for n in range(3)]


@pytest.fixture
def multiplied(monkeypatch):
    """Shapes of what was multiplied here, not by PyTorch's attention."""
    seen, own = [], convolution.product
    monkeypatch.setattr(convolution, "product", lambda a, b: (seen.append(tuple(a.shape)), own(a, b))[1])
    return seen


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_attention_a_head_at_a_time_is_pytorchs(library, multiplied, dtype, tolerance):
    given = heads()
    expected = F.scaled_dot_product_attention(*given)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32), ShortConvolutions(dtype):
        ours = F.scaled_dot_product_attention(*(x.to(dtype) for x in given), attn_mask=None, dropout_p=0.0)
    assert ours.dtype == dtype
    assert ours.shape == expected.shape
    assert (ours - expected).norm() <= tolerance * expected.norm()
    # A BLAS is not faster than PyTorch's attention in float32.
    assert len(multiplied) == (0 if library == "blas" and dtype == torch.float32 else 2 * 2 * 3)


@pytest.mark.parametrize("options", [{"is_causal": True}, {"scale": 0.5}, {"attn_mask": torch.rand(12, 12)}], ids=str)
def test_another_attention_is_pytorchs(options, multiplied):
    with ShortConvolutions():
        ours = F.scaled_dot_product_attention(*heads(), **options)
    torch.testing.assert_close(ours, F.scaled_dot_product_attention(*heads(), **options), rtol=0, atol=0)
    assert not multiplied


def test_a_gradient_through_attention_and_few_or_many_tokens_are_pytorchs(multiplied):
    query, key, value = heads()
    with ShortConvolutions():
        assert F.scaled_dot_product_attention(query.requires_grad_(), key, value).requires_grad
        F.scaled_dot_product_attention(*heads(tokens=3))
        F.scaled_dot_product_attention(*heads(tokens=40))
    assert not multiplied


def test_scratch_memory_is_used_again_and_given_up_when_far_too_much():
    mode = ShortConvolutions()
    first = mode._take("a", 100)
    assert mode._take("a", 5, 10).data_ptr() == first.data_ptr()
    assert mode._take("a", 10).untyped_storage().nbytes() == 40


def test_fewer_multiply_adds_are_counted():
    arguments = case(channels=64, out=64, height=32, width=32)
    plain, less = (multiply_adds(lambda way=way: way(*arguments, padding=1))[1] for way in (F.conv2d, short))
    assert 0 < less < 0.6 * plain


def test_only_the_thread_that_entered_takes_the_short_way(ways):
    layer = nn.Conv2d(4, 4, 3, padding=1).requires_grad_(False)
    image = torch.randn(1, 4, 8, 8)
    with ThreadPoolExecutor(1) as pool, ShortConvolutions():
        pool.submit(layer, image).result()
        assert not ways
        layer(image)
    layer(image)
    assert ways == [4]


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 0.05)])
def test_features_agree_with_the_published_way_which_stays_plain(network, ways, precision, tolerance):
    backbone, image = network.backbone, torch.rand(2, 3, 16, 16) * 2 - 1
    expected = published_features(backbone, image)
    assert not ways
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        features = backbone(image)
    assert {scale.dtype for scale in features} == {precision}
    for ours, theirs in zip(features, expected, strict=True):
        assert (ours - theirs).norm() <= tolerance * theirs.norm()
    assert len(ways) > 4


def test_features_of_threads_at_once_are_those_of_one_after_the_other(network):
    images = [torch.rand(1, 3, 16, 16) * 2 - 1 for _ in range(8)]
    alone = [network.backbone(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(network.backbone, images))
    for first, second in zip(alone, together, strict=True):
        for ours, theirs in zip(first, second, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_trace_of_the_backbone_holds_convolutions(network, ways):
    trace = torch.jit.trace(network.backbone, torch.zeros(1, 3, 16, 16), check_trace=False)
    assert not ways
    assert "_convolution" in str(trace.inlined_graph)


def test_float16_is_left_to_pytorch(network, monkeypatch):
    monkeypatch.setattr(convolution, "ShortConvolutions", None)  # would fail if it was entered
    with torch.autocast("cpu", torch.float16):
        network.backbone(torch.zeros(1, 3, 16, 16))


def test_a_narrow_unet_is_pytorchs(network, ways, monkeypatch):
    monkeypatch.setattr(convolution, "CHANNELS", 1024)
    network.backbone(torch.zeros(1, 3, 16, 16))
    assert not ways

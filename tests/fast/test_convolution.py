"""Short convolutions: the same numbers, only where they may be, and in the thread that asked for them only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from benchmarks.measure import multiply_adds
from textdiff_monai.fast.convolution import ShortConvolutions, conv_by_filtering, conv_of_doubled

pytestmark = pytest.mark.usefixtures("small_is_large")
SIZES = [(1, 4, 4), (1, 8, 12), (3, 4, 20), (2, 20, 5), (3, 32, 7), (1, 64, 64)]


def case(count=1, height=8, width=12, channels=5, out=7):
    generator = torch.Generator().manual_seed(height * width + channels)
    shapes = (count, channels, height, width), (out, channels, 3, 3), (out,)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def short(*args, **kwargs):
    with ShortConvolutions():
        return F.conv2d(*args, **kwargs)


def cost(job):
    return multiply_adds(job)[1]


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 2e-5 * theirs.abs().max()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_filtering_equals_pytorchs_convolution(size, layout):
    image, weight, bias = case(*size)
    image = image.contiguous(memory_format=layout)
    given = image.clone()
    assert_close(conv_by_filtering(image, weight, bias), F.conv2d(image, weight, bias, padding=1))
    assert torch.equal(image, given)


@pytest.mark.parametrize("size", [*SIZES, (2, 3, 5), (1, 1, 1)], ids=str)
def test_a_doubled_map_is_convolved_before_it_is_doubled(size):
    image, weight, bias = case(*size)
    doubled = F.interpolate(image, scale_factor=2)
    assert_close(conv_of_doubled(image, weight, bias), F.conv2d(doubled, weight, bias, padding=1))


@pytest.mark.parametrize("bias", [True, False])
def test_a_wide_convolution_takes_fewer_products(bias):
    image, weight, offset = case(height=32, width=32, channels=64, out=64)
    arguments = image, weight, offset if bias else None
    assert_close(short(*arguments, padding=1), F.conv2d(*arguments, padding=1))
    plain, less = (cost(lambda way=way: way(*arguments, padding=1)) for way in (F.conv2d, short))
    assert 0.5 * plain < less < 0.7 * plain


def doubled_and_convolved(image, weight, bias, between=lambda x: x):
    return F.conv2d(between(F.interpolate(image, scale_factor=2)), weight, bias, padding=1)


def test_a_doubled_maps_convolution_takes_fewer_products_still():
    arguments = case(height=32, width=32, channels=64, out=64)
    with ShortConvolutions():
        ours = doubled_and_convolved(*arguments)
        less = cost(lambda: doubled_and_convolved(*arguments))
    assert_close(ours, doubled_and_convolved(*arguments))
    assert less < 0.5 * cost(lambda: doubled_and_convolved(*arguments))


@pytest.mark.parametrize("between", [lambda x: x.add_(1), lambda x: x * 2, lambda x: torch.relu_(x)])
def test_a_doubled_map_that_was_changed_is_convolved_as_it_became(between):
    arguments = case(height=8, width=8)
    with ShortConvolutions():
        ours = doubled_and_convolved(*arguments, between)
    assert_close(ours, doubled_and_convolved(*arguments, between))


@pytest.mark.parametrize("options", [{"scale_factor": 4}, {"scale_factor": 2, "mode": "bilinear"}, {"size": (16, 24)}])
def test_another_upsampling_is_convolved_as_it_is(options):
    image, weight, bias = case()
    with ShortConvolutions():
        ours = F.conv2d(F.interpolate(image, **options), weight, bias, padding=1)
    assert_close(ours, F.conv2d(F.interpolate(image, **options), weight, bias, padding=1))


@pytest.mark.parametrize(
    ("changed", "options"),
    [
        ({}, {}),
        ({}, {"padding": 2}),
        ({}, {"padding": 1, "stride": 2}),
        ({}, {"padding": 1, "dilation": 2}),
        ({}, {"padding": "same"}),
        ({"height": 9}, {"padding": 1}),
        ({"height": 4, "width": 2}, {"padding": 1}),
        ({"channels": 3}, {"padding": 1}),
        ({"out": 3}, {"padding": 1}),
    ],
)
def test_another_convolution_is_pytorchs(changed, options):
    arguments = case(**changed)
    assert torch.equal(short(*arguments, **options), F.conv2d(*arguments, **options))


def test_a_gradient_another_precision_and_a_trace_are_pytorchs():
    image, weight, bias = case()
    trained = weight.clone().requires_grad_()
    assert torch.equal(short(image, trained, bias, padding=1), F.conv2d(image, trained, bias, padding=1))
    assert short(image, trained, bias, padding=1).requires_grad
    double = [x.double() for x in (image, weight, bias)]
    assert torch.equal(short(*double, padding=1), F.conv2d(*double, padding=1))
    for autocast in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", autocast):
            ours = short(image, weight, bias, padding=1)
            assert ours.dtype == autocast
            assert torch.equal(ours, F.conv2d(image, weight, bias, padding=1))
    trace = torch.jit.trace(lambda x: short(x, weight, bias, padding=1), image, check_trace=False)
    assert "aten::_convolution" in str(trace.graph)


def test_only_the_thread_that_entered_takes_the_short_way():
    image, weight, bias = case()
    exact, less = F.conv2d(image, weight, bias, padding=1), short(image, weight, bias, padding=1)
    assert not torch.equal(exact, less)
    with ThreadPoolExecutor(1) as pool, ShortConvolutions():
        assert torch.equal(pool.submit(F.conv2d, image, weight, bias, padding=1).result(), exact)
        assert torch.equal(F.conv2d(image, weight, bias, padding=1), less)
    assert torch.equal(F.conv2d(image, weight, bias, padding=1), exact)


@pytest.mark.parametrize("options", [{}, {"up": True}, {"down": True}, {"out_channels": 12}], ids=str)
def test_diffusers_residual_units_compute_the_same_with_less(options):
    torch.manual_seed(0)
    unit = ResnetBlock2D(in_channels=8, temb_channels=10, groups=4, time_embedding_norm="scale_shift", **options)
    unit = unit.eval().requires_grad_(False)
    for norm in (unit.norm1, unit.norm2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    image, time = torch.randn(2, 8, 16, 24) + 3, torch.randn(2, 10)
    expected, plain = unit(image, time), cost(lambda: unit(image, time))
    with ShortConvolutions():
        ours, less = unit(image, time), cost(lambda: unit(image, time))
    assert_close(ours, expected)
    assert less < 0.9 * plain


def test_features_agree_with_plain_ones(network):
    image = torch.rand(2, 3, 16, 16) * 2 - 1
    expected, plain = network.backbone(image), cost(lambda: network.backbone(image))
    with ShortConvolutions():
        features, less = network.backbone(image), cost(lambda: network.backbone(image))
    for ours, theirs in zip(features, expected, strict=True):
        assert_close(ours, theirs)
    assert less < 0.9 * plain


def test_features_of_threads_at_once_are_those_of_one_after_the_other(network):
    images = [torch.rand(1, 3, 16, 16) * 2 - 1 for _ in range(8)]

    def features(image):
        with ShortConvolutions():
            return network.backbone(image)

    alone = [features(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(features, images))
    for first, second in zip(alone, together, strict=True):
        for ours, theirs in zip(first, second, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)

"""Matrix products: the same numbers by either library, and the choice between them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor

from benchmarks.measure import multiply_adds
from textdiff_monai.fast import products
from textdiff_monai.fast.products import (
    PackedMatrices,
    add_product,
    linear,
    product,
    product_of_transposed,
)


@pytest.fixture
def calls(monkeypatch):
    """Shapes of what oneDNN multiplied."""
    seen, own = [], products._onednn
    monkeypatch.setattr(products, "_onednn", lambda *a: (seen.append(tuple(a[0].shape)), own(*a))[1])
    return seen


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def assert_near(actual, expected):
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(300, 64), (2, 300, 64), (2, 10, 30, 64)])
def test_linear_and_its_gradients(library, calls, shape, bias):
    tensors = [random(*shape), random(96, 64), random(96)][: 2 + bias]
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    expected = F.linear(*exact)
    gradient = random(*expected.shape)
    expected.backward(gradient.double())
    ours = [tensor.requires_grad_() for tensor in tensors]
    actual = linear(*ours)
    actual.backward(gradient)
    assert_near(actual.detach(), expected.detach())
    for tensor, other in zip(ours, exact, strict=True):
        assert_near(tensor.grad, other.grad)
    assert bool(calls) == (library == "onednn")
    with torch.no_grad():
        torch.testing.assert_close(linear(*ours), actual)


@pytest.mark.parametrize("part", [slice(None), slice(16, 80)])
@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_with_gaps(library, calls, part, transposed):
    weight = (random(128, 96).T if transposed else random(96, 128))[:, part]
    input = random(500, 128)[:, part]
    assert_near(linear(input, weight), F.linear(input.double(), weight.double()))
    assert bool(calls) == (library == "onednn")


@pytest.mark.parametrize("batch", [(), (1,), (3,)])
def test_products(library, calls, batch):
    a, b, other = random(*batch, 256, 80), random(*batch, 80, 64), random(*batch, 256, 64)
    expected = a.double() @ b.double()
    assert_near(product(a, b), expected)
    assert_near(product(a, b, torch.full_like(other, float("nan"))), expected)
    assert bool(calls) == (library == "onednn")
    assert_near(product_of_transposed(a, other), a.double().mT @ other.double())
    if batch:
        total = other.clone()
        assert_near(add_product(other, a, b), other.double() + expected)
        with torch.no_grad():
            assert add_product(total, a, b) is total
        assert_near(total, other.double() + expected)


@pytest.mark.parametrize("rows", [1, 40, 50])
@pytest.mark.parametrize("count", [1, 3])
def test_packed_matrices_multiply_rows_of_their_own(count, rows):
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        pytest.skip("PyTorch without oneDNN")
    matrices, a = random(count, 80, 64), random(rows, count, 80)
    packed = PackedMatrices(matrices, 40)
    found, counted = multiply_adds(lambda: packed.product(a))
    assert_near(found, (a.transpose(0, 1).double() @ matrices.double()).transpose(0, 1))
    assert counted == rows * count * 80 * 64


def test_products_with_gradients(library, calls):
    a, b = random(256, 80).requires_grad_(), random(80, 64)
    product(a, b).sum().backward()
    assert_near(a.grad, b.double().sum(dim=1).expand(256, -1))
    assert not calls


@pytest.mark.parametrize("library", ["onednn"], indirect=True)
def test_monais_tensors_too(library, calls):
    input, weight = random(500, 64), random(96, 64)
    assert torch.equal(linear(MetaTensor(input), weight).as_tensor(), linear(input, weight))
    assert len(calls) == 2


@pytest.mark.parametrize("library", ["onednn"], indirect=True)
def test_another_precision_and_a_trace_are_pytorchs_own(library, calls):
    linear(random(500, 64).double(), random(96, 64).double())
    product(random(500, 64).bfloat16(), random(64, 96).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(random(500, 64), random(96, 64)).dtype == torch.bfloat16
    torch.jit.trace(lambda x: linear(x, x[:96]), random(500, 64), check_trace=False)
    assert not calls


def test_multiply_adds_are_counted(library):
    input, weight = random(2, 300, 64), random(96, 64)
    assert multiply_adds(lambda: linear(input, weight))[1] == 2 * 300 * 64 * 96


def test_small_products_are_pytorchs_own(monkeypatch, calls):
    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    linear(random(10, 64), random(96, 64))
    assert not calls

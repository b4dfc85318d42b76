from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch.utils.flop_counter import FlopCounterMode

from textdiff_monai import products
from textdiff_monai.measure import multiply_adds
from textdiff_monai.products import add_product, linear, onednn_is_faster, product, product_of_transposed


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    seen, own = [], products._onednn
    monkeypatch.setattr(products, "_onednn", lambda *a: (seen.append(tuple(a[0].shape)), own(*a))[1])
    return seen


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def assert_near(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(300, 64), (2, 300, 64), (2, 10, 30, 64)])
def test_linear_and_its_gradients(
    library: str, calls: list[tuple[int, ...]], shape: tuple[int, ...], bias: bool
) -> None:
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
def test_matrices_with_gaps(library: str, calls: list[tuple[int, ...]], part: slice, transposed: bool) -> None:
    weight = (random(128, 96).T if transposed else random(96, 128))[:, part]
    input = random(500, 128)[:, part]
    assert_near(linear(input, weight), F.linear(input.double(), weight.double()))
    assert bool(calls) == (library == "onednn")


@pytest.mark.parametrize("batch", [(), (1,), (3,)])
def test_products(library: str, calls: list[tuple[int, ...]], batch: tuple[int, ...]) -> None:
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


def test_products_with_gradients(library: str, calls: list[tuple[int, ...]]) -> None:
    a, b = random(256, 80).requires_grad_(), random(80, 64)
    product(a, b).sum().backward()
    assert_near(a.grad, b.double().sum(dim=1).expand(256, -1))
    assert not calls


@pytest.mark.parametrize("library", ["onednn"], indirect=True)
def test_another_precision_and_a_trace_are_pytorchs_own(library: str, calls: list[tuple[int, ...]]) -> None:
    linear(random(500, 64).double(), random(96, 64).double())
    product(random(500, 64).bfloat16(), random(64, 96).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(random(500, 64), random(96, 64)).dtype == torch.bfloat16
    torch.jit.trace(lambda x: linear(x, x[:96]), random(500, 64), check_trace=False)
    assert not calls
    assert isinstance(linear(MetaTensor(random(500, 64)), random(96, 64)), torch.Tensor)
    assert calls


def test_multiply_adds_are_counted(library: str) -> None:
    input, weight = random(2, 300, 64), random(96, 64)
    result, count = multiply_adds(lambda: linear(input, weight))
    assert count == 2 * 300 * 64 * 96
    with FlopCounterMode(display=False):
        assert torch.equal(result, linear(input, weight))


def test_small_products_are_pytorchs_own(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, ...]]) -> None:
    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    linear(random(10, 64), random(96, 64))
    assert not calls


def test_the_faster_library_is_found_once_and_for_good() -> None:
    assert onednn_is_faster() is onednn_is_faster()
    assert onednn_is_faster.cache_info().currsize == 1

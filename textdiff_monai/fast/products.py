"""Matrix products on a CPU in float32, by the faster of the two libraries that PyTorch has for them.

PyTorch gives these products to a BLAS, which may know less of a processor than oneDNN, to which it gives convolutions:
MKL uses half of the vector units of AMD's Zen 5. Where oneDNN is clearly faster it computes what is asked for here.
Everything else, on whatever device and in whatever precision, is PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

# Multiply-adds below which a product is over before oneDNN has begun.
_FEW = 2**20


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` of inputs (..., K), a weight (N, K) and a bias (N,); returns (..., N)."""
    if not _suits(input, weight, weight.shape[0]):
        return F.linear(input, weight, bias)
    return _Linear.apply(input, weight, bias) if _learns(input, weight, bias) else _onednn(input, weight, bias)


def product(a: Tensor, b: Tensor, scratch: Tensor | None = None) -> Tensor:
    """``a @ b`` of matrices (M, K) and (K, N), or of as many of each (B, M, K) and (B, K, N).

    Without gradients the result may be written to ``scratch``, of its shape.
    """
    if not _suits(a, b, b.shape[-1]) or _learns(a, b):
        return a @ b if scratch is None else (torch.mm if a.ndim == 2 else torch.bmm)(a, b, out=scratch)
    if a.ndim == 2:
        return _onednn(a, b.T)
    if scratch is None:
        return _each(product, a, b)
    return torch.stack([_onednn(left, right) for left, right in zip(a, b.mT, strict=True)], out=scratch)


class PackedMatrices:
    """Matrices (B, K, N) in oneDNN's own order, for many products with few rows each: on a CPU, without gradients.

    They are the weights of a grouped 1x1 convolution, which multiplies all of them at once.
    """

    def __init__(self, matrices: Tensor, rows: int) -> None:
        """For products of about so many rows."""
        count, width, _ = matrices.shape
        kernels = matrices.mT.reshape(-1, width, 1, 1).to_mkldnn()
        reorder: Callable[..., Tensor] = torch._C._nn.mkldnn_reorder_conv2d_weight
        self._weight = reorder(kernels, groups=count, input_size=(1, count * width, rows, 1))

    def product(self, a: Tensor) -> Tensor:
        """Rows (M, B, K), each matrix's row by row, times these: (M, B, N)."""
        rows, count, width = a.shape
        image = a.reshape(1, rows, 1, count * width).permute(0, 3, 1, 2)
        found = torch.ops.mkldnn._convolution_pointwise(
            image, self._weight, None, (0, 0), (1, 1), (1, 1), count, "none", [], ""
        )
        return found.permute(0, 2, 3, 1).reshape(rows, count, -1)


def add_product(total: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``torch.baddbmm`` of (B, M, N), (B, M, K) and (B, K, N); without gradients it may write to the total."""
    if torch.is_grad_enabled() or torch.is_autocast_enabled(a.device.type):
        return torch.baddbmm(total, a, b)
    return total.add_(product(a, b)) if _suits(a, b, b.shape[-1]) else total.baddbmm_(a, b)


def product_of_transposed(a: Tensor, b: Tensor) -> Tensor:
    """``a.mT @ b`` of rows (R, M) and (R, N), or of as many of each (B, R, M) and (B, R, N), without gradients."""
    if not _suits(a, b, b.shape[-1]):
        return a.mT @ b
    if a.ndim == 3:
        return _each(product_of_transposed, a, b)
    # The gradient of a 1x1 convolution's kernel is such a product, and oneDNN reads both as they lie.
    grad, image = (rows[None, None].permute(0, 3, 1, 2) for rows in (a, b))
    return conv2d_weight(image, (a.shape[1], b.shape[1], 1, 1), grad)[:, :, 0, 0]


class _Linear(torch.autograd.Function):
    """What oneDNN's 1x1 convolution does with its gradients, which PyTorch gives to the BLAS on one thread."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _onednn(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            _onednn(grad, weight.T) if needs_input else None,
            product_of_transposed(rows, input.flatten(0, -2)) if needs_weight else None,
            rows.sum(dim=0) if needs_bias else None,
        )


def _each(function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    if len(a) == 1:
        return function(a[0], b[0])[None]
    return torch.stack([function(left, right) for left, right in zip(a, b, strict=True)])


def _onednn(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` as PyTorch's compiler calls it; it has no public name and no gradient."""
    return torch.ops.mkldnn._linear_pointwise(_dense(input), _dense(weight), bias, "none", [], "")


def _dense(matrix: Tensor) -> Tensor:
    """Rows or columns without gaps: for others oneDNN has only its reference code, a thousand times slower."""
    return matrix if matrix.is_contiguous() or matrix.mT.is_contiguous() else matrix.contiguous()


def _suits(a: Tensor, b: Tensor, columns: int) -> bool:
    return (
        a.dtype == b.dtype == torch.float32
        and a.device.type == b.device.type == "cpu"
        and a.numel() * columns >= _FEW
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
        and onednn_is_faster()
    )


def _learns(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


@cache
def onednn_is_faster() -> bool:
    """Whether PyTorch has oneDNN's products, which are at least as fast as the BLAS's.

    Tried out, the answer would vary with the machine's load, and equal runs would differ in their last bits.
    """
    return all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_convolution_pointwise")) and hasattr(
        torch._C._nn, "mkldnn_reorder_conv2d_weight"
    )

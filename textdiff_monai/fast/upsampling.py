"""The classifier's first convolution, computed where its input still is small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from textdiff_monai.fast.products import linear

# Pixels that a CPU upsamples to at once, of a row or a column.
_REACH = 32


class Strip(NamedTuple):
    """Some rows of a feature map.

    Attributes:
        pixels: (B, rows x width, C).
        mixes: (9 x O, C), the part of :func:`nine_mixes` for this map's channels.
        width, height: of the map.
        top: the strip's first row.
    """

    pixels: Tensor
    mixes: Tensor
    width: int
    height: int
    top: int


def nine_mixes(weight: Tensor) -> Tensor:
    """A 3x3 kernel (O, C, 3, 3) as 1x1 mixes (dx x dy x O, C): what is summed along rows of pixels comes together."""
    return weight.permute(3, 2, 0, 1).flatten(0, 2)


def conv_of_upsampled(strips: Iterable[Strip], bias: Tensor, size: tuple[int, int]) -> Tensor:
    """A 3x3 convolution (zero-padded) of bilinearly upsampled and concatenated maps, without upsampling their channels.

    The convolution splits by map, and mixing channels commutes with upsampling and with shifting, so the kernel's nine
    1x1 mixes run at each map's own resolution; what is left is linear along rows and along columns: products with small
    matrices that hold both the interpolation and the kernel's shifts.

    Args:
        strips: all rows of all maps, at least one; each is asked for when it is needed.
        bias: (O,).
        size: (H, W) to upsample to, ``align_corners=False``.

    Returns:
        (B, O, H, W), channels innermost in memory; equal to
        ``conv2d(cat([interpolate(x, size) for x in maps], 1), weight, bias, padding=1)``.
    """
    total = None
    for strip in strips:
        batch, out = strip.pixels.shape[0], bias.shape[0]
        mixed = linear(strip.pixels, strip.mixes).view(batch, -1, strip.width, 3, 3, out)
        if total is None:
            total = bias.to(mixed.dtype).expand(batch, *size, out).clone(memory_format=torch.contiguous_format)
        add = _AddUpsampled.apply if torch.is_grad_enabled() and not torch.jit.is_tracing() else _add_upsampled
        total = add(total, mixed, strip.top, strip.height)
    assert total is not None, "at least one strip is needed"
    return total.permute(0, 3, 1, 2)


class _AddUpsampled(torch.autograd.Function):
    """Linear: nothing is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, mixed: Tensor, top: int, height: int) -> Tensor:
        ctx.shape, ctx.top, ctx.height = mixed.shape, top, height
        ctx.mark_dirty(total)
        return _add_upsampled(total, mixed, top, height)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad = grad.contiguous()  # once: strips before this one get what is returned here
        return grad, _read_upsampled(grad, ctx.shape, ctx.top, ctx.height), None, None


def _add_upsampled(total: Tensor, mixed: Tensor, top: int, height: int) -> Tensor:
    """Add rows of mixes (B, n, w, dx, dy, O), upsampled and shifted, to a total (B, H, W, O), in place."""
    batch, count, width, *_, out = mixed.shape
    mixed = mixed.reshape(-1, 3 * width, 3 * out)  # what is summed along a row is together already
    rows = total.new_zeros(mixed.shape[0], 3, total.shape[2], out)
    for band, reached, matrix in _bands(width, total.shape[2], 0, width, total.device, total.dtype):
        product = matrix.expand(mixed.shape[0], -1, -1) @ mixed[:, 3 * band.start : 3 * band.stop]
        rows[:, :, reached] += product.unflatten(2, (3, out)).transpose(1, 2)
    rows = rows.view(batch, 3 * count, -1)
    for band, reached, matrix in _bands(height, total.shape[1], top, top + count, total.device, total.dtype):
        part = rows[:, 3 * (band.start - top) : 3 * (band.stop - top)]
        total[:, reached].flatten(2).baddbmm_(matrix.expand(batch, -1, -1), part)
    return total


def _read_upsampled(grad: Tensor, shape: torch.Size, top: int, height: int) -> Tensor:
    """The transpose of :func:`_add_upsampled`: what a gradient of the total is to the mixes of a shape."""
    batch, count, width, *_, out = shape
    rows = grad.new_empty(batch, 3 * count, grad.shape[2] * out)
    for band, reached, matrix in _bands(height, grad.shape[1], top, top + count, grad.device, grad.dtype):
        part = rows[:, 3 * (band.start - top) : 3 * (band.stop - top)]
        torch.bmm(matrix.T.expand(batch, -1, -1), grad[:, reached].flatten(2), out=part)
    rows = rows.view(-1, grad.shape[2], out)
    mixed = grad.new_empty(shape)
    for band, reached, matrix in _bands(width, grad.shape[2], 0, width, grad.device, grad.dtype):
        columns = matrix.T.expand(rows.shape[0], -1, -1) @ rows[:, reached]
        mixed[:, :, band] = columns.view(batch, count, 3, -1, 3, out).permute(0, 1, 3, 4, 2, 5)
    return mixed


def _bands(
    inside: int, outside: int, first: int, last: int, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Places inside, the places outside that they reach, and the matrix between them.

    A CPU takes a few places at once: those that lie far apart would only add multiplications by 0.
    """
    size = max(1, _REACH * inside // outside) if device.type == "cpu" else last - first
    for start in range(first, last, size):
        stop = min(start + size, last)
        matrix, reached = _upsampling(inside, outside, start, stop, device, dtype)
        yield slice(start, stop), reached, matrix


@lru_cache(maxsize=512)
def _upsampling(
    inside: int, outside: int, first: int, last: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, slice]:
    """Bilinear upsampling of a line, read one place before, at, and one place after each place.

    Returns:
        The part (reached, (last - first) x 3) of its matrix for some places inside, and the places outside they reach.
    """
    scale = outside / inside
    reached = slice(max(0, math.floor((first - 1) * scale) - 1), min(outside, math.ceil((last + 1) * scale) + 1))
    with torch.inference_mode(False):
        line = torch.eye(inside, dtype=torch.float64)[:, None]
        upsampling = F.interpolate(line, outside, mode="linear", align_corners=False)[:, 0].T
        padded = F.pad(upsampling, (0, 0, 1, 1))
        shifted = torch.stack([padded[shift : shift + outside] for shift in range(3)], dim=-1)
        return shifted[reached, first:last].flatten(1).to(device, dtype), reached

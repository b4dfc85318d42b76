"""A UNet's 3x3 convolutions on a CPU with a quarter of the multiplications, without touching its modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from textdiff_monai.products import linear, onednn_is_faster, product

# Tiles of a map from where putting its weights in the order of the products first is a small part, with a BLAS in
# float32.
_MANY = 1024
# Products of each channel that are made at once: with weights in order to stay in a core's cache; without, so that few
# products read the weights.
_BAND, _WIDE_BAND = 36 * 64, 36 * 256
# Weights are transformed so many at a time where they are rounded: while they are in a core's cache.
_WEIGHTS_AT_ONCE = 2**15
# Below, there is too little to save.
CHANNELS = 128
# Pixels of a map up to where one product is the shortest way, if its sides allow no other.
_SMALL = 16**2


class Filtering(NamedTuple):
    """How a tile of outputs comes from products of transformed inputs with transformed weights.

    Attributes:
        tile: pixels of an output tile's side.
        step: pixels of the input from one patch to the next; patches overlap by 2.
        patches: (P, patch pixels) makes a patch's P values.
        weights: (P, 9) makes the P values of a 3x3 kernel.
        products: (tile pixels, P) makes the outputs of the products of both.
    """

    tile: int
    step: int
    patches: Tensor
    weights: Tensor
    products: Tensor

    @classmethod
    def of_lines(cls, step: int, patches: Tensor, weights: Tensor, products: Tensor) -> Filtering:
        """From the matrices of one axis."""
        both = (torch.kron(matrix, matrix).float() for matrix in (patches, weights, products))
        return cls(len(products), step, *both)


def _winograd(tile: int, points: list[float]) -> Filtering:
    """F(tile x tile, 3x3): Cook and Toom's products at tile + 1 points and infinity."""
    places = torch.tensor(points, dtype=torch.float64)

    def powers(count: int) -> Tensor:
        infinity = torch.eye(count, dtype=torch.float64)[-1:]
        return torch.cat([torch.vander(places, count, increasing=True), infinity])

    patches = torch.linalg.inv(powers(tile + 2)).T
    least = patches.abs().where(patches.abs() > 1e-9, math.inf).amin(dim=1, keepdim=True)
    # The weights take what bfloat16 could not hold exactly.
    return Filtering.of_lines(tile, (patches / least).round(decimals=6), powers(3) * least, powers(tile).T)


def _doubled() -> Filtering:
    """For an input of which every pixel counts twice along both axes: 2.25 products for an output, none of them large.

    Of pixels a, b, c the middle one makes the outputs v a + (w + x) b and (v + w) b + x c for the kernel (v, w, x).
    """
    patches = [[-1, 1, 0], [0, 1, 0], [0, -1, 1]]
    weights = [[-1, 0, 0], [1, 1, 1], [0, 0, 1]]
    products = [[1, 1, 0], [0, 1, 1]]
    return Filtering.of_lines(1, *(torch.tensor(matrix) for matrix in (patches, weights, products)))


_DOUBLED = _doubled()
# With the pixels of a map from where transforming the weights is a small part.
_WINOGRAD = {32**2: _winograd(4, [0, 1, -1, 0.5, -2]), 16**2: _winograd(2, [0, 1, -1])}


class Activation(NamedTuple):
    """SiLU of a map that is scaled and shifted before: a norm and what follows it, as far as pixels matter.

    Attributes:
        scale, shift: (N, C).
    """

    scale: Tensor
    shift: Tensor

    def __call__(self, image: Tensor) -> Tensor:
        """Of maps (N, C, H, W)."""
        scale, shift = (values.to(image.dtype)[:, :, None, None] for values in self)
        return F.silu(torch.addcmul(shift, image, scale), inplace=True)


class ShortConvolutions(TorchFunctionMode):
    """While entered, the thread's ``F.conv2d`` takes a shorter way where that is as good as exact and pays.

    Maps with many channels go through Winograd's minimal filtering (Lavin & Gray 2015, arXiv 1509.09308), large ones
    F(4x4, 3x3) (relative error about 5e-6 in float32, 2e-2 in bfloat16), others F(2x2, 3x3) (a fifth of that), and the
    smallest through one matrix product. All are for a CPU, 3x3 with stride 1 and padding 1, without gradients; all else
    is PyTorch's. Results come with channels last. Each instance has a scratch memory of its own: use one for each
    forward pass.

    Args:
        dtype: what is computed in, as :func:`short_precision` tells.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        self._scratch: dict[str, Tensor] = {}

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        way = self._conv2d if func is F.conv2d else _linear if func is F.linear else func
        return way(*args, **(kwargs or {}))

    def _conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        if (
            short_precision(input, weight, bias) == self.dtype
            and _is_wide(weight)
            and input.ndim == 4
            and all(value in (1, (1, 1)) for value in (stride, padding, dilation, groups))
        ):
            if way := _winograd_for(input):
                return self._filtered(input.to(self.dtype), weight, bias, way)
            if input.shape[2:].numel() <= _SMALL:
                return self._one_product(input.to(self.dtype), weight, bias)
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)

    def of_activation(
        self, image: Tensor, activation: Activation, convolution: nn.Conv2d, passing: bool = False
    ) -> Tensor:
        """``convolution(activation(image))`` with stride and padding 1; a large map is activated where it is read.

        Passing results may lie in scratch memory: they are lost with the next of them.
        """
        way = _winograd_for(image) if _is_wide(convolution.weight) else None
        if way is not None:
            return self._filtered(image, convolution.weight, convolution.bias, way, activation, passing)
        return convolution(activation(image))

    def of_doubled(
        self, image: Tensor, activation: Activation, convolution: nn.Conv2d, passing: bool = False
    ) -> Tensor:
        """``convolution(doubled(activation(image)))``, doubled being the nearest neighbours of twice the size."""
        if _is_wide(convolution.weight):
            return self._filtered(image, convolution.weight, convolution.bias, _DOUBLED, activation, passing)
        return convolution(F.interpolate(activation(image), scale_factor=2.0, mode="nearest"))

    def _filtered(
        self,
        image: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        way: Filtering,
        activation: Activation | None = None,
        passing: bool = False,
    ) -> Tensor:
        (count, _, height, width), out = image.shape, len(weight)
        down, across = height // way.step, width // way.step
        in_order = self.dtype == torch.float32 and down * across >= _MANY and not onednn_is_faster()
        filters = self._filters(weight, way, in_order)
        bias = image.new_zeros(()) if bias is None else bias.to(image.dtype)

        at_once = (_BAND if in_order else _WIDE_BAND * 4 // image.dtype.itemsize) // len(filters)
        samples, rows = max(1, at_once // (down * across)), max(1, at_once // across)
        shape = count, down, way.tile, across, way.tile, out
        result = self._take("passing", *shape) if passing else image.new_empty(shape)
        pixels = image.permute(0, 2, 3, 1)
        for first in range(0, count, samples):
            some = slice(first, first + samples)
            own = None if activation is None else Activation(activation.scale[some], activation.shift[some])
            for top in range(0, down, rows):
                bottom = min(top + rows, down)
                band = self._band(pixels[some], top, bottom, filters, way, own)
                torch.add(band, bias, out=result[some, top:bottom])
        return result.view(count, down * way.tile, across * way.tile, out).permute(0, 3, 1, 2)

    def _filters(self, weight: Tensor, way: Filtering, in_order: bool) -> Tensor:
        """Transformed weights (P, C, O); those in order cost more to make and less to use."""
        out, channels = weight.shape[:2]
        filters = self._take("filters", len(way.weights), out * channels)
        taps = weight.permute((2, 3, 1, 0) if in_order else (2, 3, 0, 1)).reshape(9, -1)
        if self.dtype == taps.dtype:
            torch.mm(way.weights, taps, out=filters)
        else:
            for rounded, some in zip(filters.split(_WEIGHTS_AT_ONCE, 1), taps.split(_WEIGHTS_AT_ONCE, 1), strict=True):
                exact = self._take("exact", *rounded.shape, dtype=some.dtype)
                rounded.copy_(torch.mm(way.weights, some, out=exact))
        return filters.view(-1, channels, out) if in_order else filters.view(-1, out, channels).transpose(1, 2)

    def _band(
        self, pixels: Tensor, top: int, bottom: int, filters: Tensor, way: Filtering, activation: Activation | None
    ) -> Tensor:
        """Rows of tiles (N, bottom - top, tile, tiles across, tile, O) of images (N, H, W, C)."""
        (count, height, width, channels), out = pixels.shape, filters.shape[-1]
        down, across, step, patch = bottom - top, width // way.step, way.step, way.step + 2

        padded = self._take("padded", count, down * step + 2, width + 2, channels)
        first = top * step - 1
        inside = slice(max(0, -first), min(padded.shape[1], height - first))
        for border in (padded[:, : inside.start], padded[:, inside.stop :], padded[:, :, :1], padded[:, :, -1:]):
            border.zero_()
        read, inner = pixels[:, inside.start + first : inside.stop + first], padded[:, inside, 1:-1]
        if activation is None:
            inner.copy_(read)
        else:
            scale, shift = (values.to(pixels.dtype)[:, None, None] for values in activation)
            F.silu(torch.addcmul(shift, read, scale, out=inner), inplace=True)
        patches = self._take("even", patch, patch, count, down, across, channels)
        patches.copy_(padded.unfold(1, patch, step).unfold(2, patch, step).permute(4, 5, 0, 1, 2, 3))

        tiles = count * down * across
        spectra = self._take("odd", len(filters), tiles * channels)
        spectra = product(way.patches.to(self.dtype), patches.view(patch**2, -1), spectra)
        products = self._take("even", len(filters), tiles, out)
        product(spectra.view(-1, tiles, channels), filters, products)
        outputs = self._take("odd", way.tile**2, tiles * out)
        outputs = product(way.products.to(self.dtype), products.view(len(filters), -1), outputs)
        return outputs.view(way.tile, way.tile, count, down, across, out).permute(2, 3, 0, 4, 1, 5)

    def _one_product(self, image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Every pixel's 3x3 surroundings times the weights."""
        padded = F.pad(image.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        surroundings = padded.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3)
        out, channels = weight.shape[:2]
        filters = self._take("filters", out, 3, 3, channels).copy_(weight.permute(0, 2, 3, 1))
        return linear(surroundings.flatten(3), filters.flatten(1), bias).permute(0, 3, 1, 2)

    def _take(self, name: str, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Memory used before, if it is not far too much: new pages from the system cost as much as a transform."""
        size = torch.Size(shape).numel()
        kept = self._scratch.get(name)
        if kept is None or not size <= kept.numel() <= 4 * size:
            self._scratch[name] = kept = torch.empty(size, dtype=dtype or self.dtype)
        return kept[:size].view(shape)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Of tokens that do not lie in order PyTorch would repeat the weight for every sample."""
    return linear(input.contiguous(), weight, bias)


def _is_wide(weight: Tensor) -> bool:
    return weight.shape[2:] == (3, 3) and min(weight.shape[:2]) >= CHANNELS


def _winograd_for(image: Tensor) -> Filtering | None:
    """The way that saves most, of those whose tiles fit."""
    height, width = image.shape[2:]
    for pixels, way in _WINOGRAD.items():
        if height * width >= pixels and height % way.tile == width % way.tile == 0:
            return way
    return None


def short_precision(*tensors: Tensor | None) -> torch.dtype | None:
    """What to compute in: float32, or bfloat16 under autocast to it.

    None where these tensors are of another kind or on another device, or a gradient, a trace or a compiler asks for
    PyTorch's own convolutions.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    autocast = torch.is_autocast_enabled("cpu")
    precision = torch.get_autocast_dtype("cpu") if autocast else torch.float32
    if (
        precision in (torch.float32, torch.bfloat16)
        and all(tensor.device.type == "cpu" and tensor.dtype in (torch.float32, precision) for tensor in given)
        and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given))
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
    ):
        return precision
    return None

"""A UNet's 3x3 convolutions on a CPU with a quarter of the multiplications, without touching its modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from textdiff_monai.fast.filtering import DOUBLED, WINOGRAD_2X2, WINOGRAD_4X4, Filtering
from textdiff_monai.fast.products import PackedMatrices, linear, onednn_is_faster, product

# Tiles of a map from where putting its weights in the order of the products first is a small part, with a BLAS in
# float32.
_MANY = 1024
# Products of each channel that are made at once: with weights in order to stay in a core's cache; without, so that few
# products read the weights.
_BAND, _WIDE_BAND = 36 * 64, 36 * 256
# Values of patches that are transformed at once: few enough to stay in a core's cache, and for what a library
# returns to be memory that was there before.
_GATHERED = 36 * 64 * 256
# Transformed weights that are held at once, if they are used once: new memory from the system costs more than to read
# the weights again.
_FILTERS = 5 * 2**22
# Weights are transformed so many at a time where they are rounded: while they are in a core's cache.
_WEIGHTS_AT_ONCE = 2**15
# Scores of a head with which attention is faster a head at a time; more of them would be large new memory.
_SCORES = range(256**2, 1024**2 + 1)
# Below, there is too little to save.
CHANNELS = 128
# Pixels of a map up to where one product is the shortest way, if its sides allow no other.
_SMALL = 16**2


# With the pixels of a map from where transforming the weights is a small part.
_WINOGRAD = {32**2: WINOGRAD_4X4, 16**2: WINOGRAD_2X2}


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
    is PyTorch's. Results come with channels last. ``F.linear`` and ``F.scaled_dot_product_attention`` take the faster
    library's products. Each instance has a scratch memory of its own: use one for each forward pass.

    Args:
        dtype: what is computed in, as :func:`short_precision` tells.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        self._scratch: dict[str, Tensor] = {}

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        ways: dict[Any, Callable[..., Any]] = {
            F.conv2d: self._conv2d,
            F.linear: _linear,
            F.scaled_dot_product_attention: self._attention,
        }
        return ways.get(func, func)(*args, **(kwargs or {}))

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

    def _attention(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Of (N, heads, T, D), a head at a time: PyTorch's blocks of it are small products."""
        given = query, key, value
        if (
            (self.dtype != torch.float32 or onednn_is_faster())
            and short_precision(*given) == self.dtype == query.dtype
            and all(tokens.ndim == 4 for tokens in given)
            and query.shape[2] * key.shape[2] in _SCORES
            and not (args or any(isinstance(option, Tensor) or option for option in kwargs.values()))
        ):
            heads = zip(*(tokens.flatten(0, 1) for tokens in given), strict=True)
            found = [product(product(q * q.shape[1] ** -0.5, k.T).softmax(dim=1), v) for q, k, v in heads]
            return torch.stack(found).unflatten(0, query.shape[:2])
        return F.scaled_dot_product_attention(query, key, value, *args, **kwargs)

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
            return self._filtered(image, convolution.weight, convolution.bias, DOUBLED, activation, passing)
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
        in_order = self.dtype == torch.float32 and down * across >= _MANY
        at_once = (_BAND if in_order else _WIDE_BAND * 4 // image.dtype.itemsize) // len(way.weights)
        samples, rows = max(1, at_once // (down * across)), max(1, at_once // across)
        packs = in_order and onednn_is_faster()
        is_used_once = not packs and count <= samples and down <= rows
        filters: Iterable[Tensor] = self._filters(weight, way, in_order and not packs, in_parts=is_used_once)
        if not is_used_once:
            (whole,) = filters = list(filters)
        packed = PackedMatrices(whole, rows * across) if packs else None
        bias = image.new_zeros(out) if bias is None else bias.to(image.dtype)

        shape = count, down, way.tile, across, way.tile, out
        result = self._take("passing", *shape) if passing else image.new_empty(shape)
        pixels = image.permute(0, 2, 3, 1)
        for first in range(0, count, samples):
            some = slice(first, first + samples)
            own = None if activation is None else Activation(activation.scale[some], activation.shift[some])
            for top in range(0, down, rows):
                bottom = min(top + rows, down)
                padded = self._padded(pixels[some], top * way.step - 1, bottom * way.step + 1, own)
                tiles = self._packed_band(padded, packed, way) if packed else self._band(padded, filters, out, way)
                torch.add(tiles, bias, out=result[some, top:bottom])
        return result.view(count, down * way.tile, across * way.tile, out).permute(0, 3, 1, 2)

    def _filters(self, weight: Tensor, way: Filtering, in_order: bool, in_parts: bool) -> Iterator[Tensor]:
        """Transformed weights (P, C, O), maybe some of P at a time; in order they cost more to make and less to use."""
        out, channels = weight.shape[:2]
        taps = weight.permute((2, 3, 1, 0) if in_order else (2, 3, 0, 1)).reshape(9, -1)
        parts = math.ceil(len(way.weights) * taps.shape[1] / _FILTERS) if in_parts else 1
        for matrix in way.weights.chunk(parts):
            size = len(matrix) * taps.shape[1]
            filters = self._take("filters", max(_FILTERS, size))[:size].view(len(matrix), -1)
            if self.dtype == taps.dtype:
                torch.mm(matrix, taps, out=filters)
            else:
                pairs = zip(filters.split(_WEIGHTS_AT_ONCE, 1), taps.split(_WEIGHTS_AT_ONCE, 1), strict=True)
                for rounded, some in pairs:
                    exact = self._take("exact", *rounded.shape, dtype=some.dtype)
                    rounded.copy_(torch.mm(matrix, some, out=exact))
            yield filters.view(-1, channels, out) if in_order else filters.view(-1, out, channels).transpose(1, 2)

    def _padded(self, pixels: Tensor, top: int, bottom: int, activation: Activation | None) -> Tensor:
        """Rows of activated images (N, H, W, C), with the pixel that surrounds them."""
        count, height, width, channels = pixels.shape
        padded = self._take("padded", count, bottom - top, width + 2, channels)
        inside = slice(max(0, -top), min(bottom, height) - top)
        for border in (padded[:, : inside.start], padded[:, inside.stop :], padded[:, :, :1], padded[:, :, -1:]):
            border.zero_()
        read, inner = pixels[:, inside.start + top : inside.stop + top], padded[:, inside, 1:-1]
        if activation is None:
            inner.copy_(read)
        else:
            scale, shift = (values.to(pixels.dtype)[:, None, None] for values in activation)
            F.silu(torch.addcmul(shift, read, scale, out=inner), inplace=True)
        return padded

    def _band(self, padded: Tensor, filters: Iterable[Tensor], out: int, way: Filtering) -> Tensor:
        """Rows of tiles (N, tiles down, tile, tiles across, tile, O) of padded images (N, H, W, C)."""
        tiled = _tiles(padded, way)
        count, down, across, *_, channels = tiled.shape
        spectra = self._spectra(tiled, way).view(len(way.patches), -1, channels)
        products, done = self._take("even", *spectra.shape[:2], out), 0
        for some in filters:
            part = slice(done, done + len(some))
            product(spectra[part], some, products[part])
            done = part.stop
        outputs = self._take("odd", way.tile**2, products[0].numel())
        outputs = product(way.products.to(self.dtype), products.view(len(spectra), -1), outputs)
        return outputs.view(way.tile, way.tile, count, down, across, out).permute(2, 3, 0, 4, 1, 5)

    def _spectra(self, tiled: Tensor, way: Filtering) -> Tensor:
        """Transformed patches (P, tiles * C) of patches (N, tiles down, tiles across, patch, patch, C)."""
        spectra, done = self._take("odd", len(way.patches), tiled.numel() // len(way.patches)), 0
        rows = max(1, _GATHERED // tiled[0, 0].numel())
        for image in tiled.permute(0, 3, 4, 1, 2, 5):
            for some in image.split(rows, dim=2):
                patches = self._take("patches", *some.shape).copy_(some).view(len(way.patches), -1)
                part = spectra[:, done : done + patches.shape[1]]
                transformed = product(way.patches.to(self.dtype), patches, part)
                if transformed is not part:
                    part.copy_(transformed)
                done += patches.shape[1]
        return spectra

    def _packed_band(self, padded: Tensor, filters: PackedMatrices, way: Filtering) -> Tensor:
        """The same with the products of a tile side by side, as packed matrices take them."""
        tiled = _tiles(padded, way)
        count, down, across, *_, channels = tiled.shape
        patches = self._take("even", *tiled.shape).copy_(tiled).view(-1, len(way.patches), channels)
        spectra = self._take("odd", *patches.shape)
        torch.bmm(way.patches.expand(len(patches), -1, -1), patches, out=spectra)
        products = filters.product(spectra)
        outputs = self._take("outputs", len(patches), way.tile**2, products.shape[2])
        torch.bmm(way.products.expand(len(patches), -1, -1), products, out=outputs)
        return outputs.view(count, down, across, way.tile, way.tile, -1).transpose(2, 3)

    def _one_product(self, image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Every pixel's 3x3 surroundings times the weights."""
        padded = F.pad(image.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        surroundings = padded.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3)
        out, channels = weight.shape[:2]
        filters = self._take("filters", max(_FILTERS, weight.numel()))[: weight.numel()].view(out, 3, 3, channels)
        filters.copy_(weight.permute(0, 2, 3, 1))
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


def _tiles(padded: Tensor, way: Filtering) -> Tensor:
    """Overlapping patches (N, tiles down, tiles across, patch, patch, C) of padded images (N, H, W, C)."""
    patch = way.step + 2
    return padded.unfold(1, patch, way.step).unfold(2, patch, way.step).permute(0, 1, 2, 4, 5, 3)


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

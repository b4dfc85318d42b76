"""A UNet's 3x3 convolutions on a CPU with a quarter of the multiplications, without touching its modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

TILE = 4  # pixels of an output tile's side
_PATCH = TILE + 2  # pixels of the input that they depend on
# Tiles of a map from where putting its weights in the order of the products first is a small part.
_MANY = 1024
# Tiles transformed at once: to stay in a core's cache with weights in order; without, so that few products read them.
_BAND, _WIDE_BAND = 64, 256
# Below, there is too little to save.
CHANNELS = 128
# Pixels of a map from where transforming the weights is a small part, and up to where reordering them is a large one.
_LARGE, _SMALL = 32**2, 16**2


def _transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Of patches (36, 36), weights (36, 9) and products (16, 36): Cook and Toom's, at points of small powers of two."""
    points = torch.tensor([0, 1, -1, 0.5, -2], dtype=torch.float64)

    def powers(count: int) -> Tensor:
        infinity = torch.eye(count, dtype=torch.float64)[-1:]
        return torch.cat([torch.vander(points, count, increasing=True), infinity])

    one_sided = torch.linalg.inv(powers(_PATCH)).T, powers(3), powers(TILE).T
    patches, weights, products = (torch.kron(side, side).float() for side in one_sided)
    return patches, weights, products


_PATCHES, _WEIGHTS, _PRODUCTS = _transforms()


class Activation(NamedTuple):
    """SiLU of a map that is scaled and shifted before: a norm and what follows it, as far as pixels matter.

    Attributes:
        scale, shift: (N, C).
    """

    scale: Tensor
    shift: Tensor

    def __call__(self, image: Tensor) -> Tensor:
        """Of maps (N, C, H, W)."""
        shift, scale = self.shift[:, :, None, None], self.scale[:, :, None, None]
        return F.silu(torch.addcmul(shift, image, scale), inplace=True)


class ShortConvolutions(TorchFunctionMode):
    """While entered, the thread's ``F.conv2d`` takes a shorter way where that is as good as exact and pays.

    Large maps with many channels go through Winograd's minimal filtering F(4x4, 3x3) (Lavin & Gray 2015, arXiv
    1509.09308; relative error about 5e-6), small maps through one matrix product that takes the weights as they lie.
    Both are for float32 on a CPU, 3x3 with stride 1 and padding 1, without gradients; all else is PyTorch's. Results
    come with channels last. Each instance has a scratch memory of its own: use one for each forward pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self._scratch: dict[str, Tensor] = {}

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        way = self._conv2d if func is F.conv2d else func
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
            convolutions_can_be_short(input, weight, bias)
            and weight.shape[2:] == (3, 3)
            and min(weight.shape[:2]) >= CHANNELS
            and input.ndim == 4
            and all(value in (1, (1, 1)) for value in (stride, padding, dilation, groups))
        ):
            if _many_tiles(input):
                return self._winograd(input, weight, bias)
            if input.shape[2:].numel() <= _SMALL:
                return _one_product(input, weight, bias)
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)

    def of_activation(self, image: Tensor, activation: Activation, convolution: nn.Conv2d) -> Tensor:
        """``convolution(activation(image))`` with stride and padding 1; a large map is activated where it is read."""
        weight, bias = convolution.weight, convolution.bias
        if weight.shape[2:] == (3, 3) and min(weight.shape[:2]) >= CHANNELS and _many_tiles(image):
            return self._winograd(image, weight, bias, activation)
        return convolution(activation(image))

    def _winograd(
        self, image: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation | None = None
    ) -> Tensor:
        (count, _, height, width), out = image.shape, len(weight)
        down, across = height // TILE, width // TILE
        many = down * across >= _MANY
        filters = self._filters(weight, in_order=many)
        rows = max(1, (_BAND if many else _WIDE_BAND) // across)
        result = image.new_empty(count, down, TILE, across, TILE, out)
        for index, (pixels, tiles) in enumerate(zip(image.permute(0, 2, 3, 1), result, strict=True)):
            own = None if activation is None else Activation(activation.scale[index], activation.shift[index])
            for top in range(0, down, rows):
                band = self._band(pixels, top, min(top + rows, down), filters, own)
                torch.add(band, 0.0 if bias is None else bias, out=tiles[top : top + rows])
        return result.view(count, height, width, out).permute(0, 3, 1, 2)

    def _filters(self, weight: Tensor, in_order: bool) -> Tensor:
        """Transformed weights (36, C, O); those in order cost more to make and less to use."""
        out, channels = weight.shape[:2]
        filters = self._take("filters", _PATCH**2, out * channels)
        taps = weight.permute((2, 3, 1, 0) if in_order else (2, 3, 0, 1))
        torch.mm(_WEIGHTS, taps.reshape(9, -1), out=filters)
        return filters.view(-1, channels, out) if in_order else filters.view(-1, out, channels).transpose(1, 2)

    def _band(self, pixels: Tensor, top: int, bottom: int, filters: Tensor, activation: Activation | None) -> Tensor:
        """Rows of tiles (bottom - top, 4, W / 4, 4, O) of an image (H, W, C); scale and shift of its own are (C,)."""
        (height, width, channels), out = pixels.shape, filters.shape[-1]
        down, across = bottom - top, width // TILE
        count = down * across

        padded = self._take("padded", down * TILE + 2, width + 2, channels)
        first = top * TILE - 1
        inside = slice(max(0, -first), min(len(padded), height - first))
        for border in (padded[: inside.start], padded[inside.stop :], padded[:, :1], padded[:, -1:]):
            border.zero_()
        read, inner = pixels[inside.start + first : inside.stop + first], padded[inside, 1:-1]
        if activation is None:
            inner.copy_(read)
        else:
            F.silu(torch.addcmul(activation.shift, read, activation.scale, out=inner), inplace=True)
        patches = self._take("patches", _PATCH, _PATCH, down, across, channels)
        patches.copy_(padded.unfold(0, _PATCH, TILE).unfold(1, _PATCH, TILE).permute(3, 4, 0, 1, 2))

        spectra = self._take("spectra", _PATCH**2, count * channels)
        torch.mm(_PATCHES, patches.view(_PATCH**2, -1), out=spectra)
        products = self._take("products", _PATCH**2, count, out)
        torch.bmm(spectra.view(-1, count, channels), filters, out=products)
        tiles = self._take("tiles", TILE**2, count * out)
        torch.mm(_PRODUCTS, products.view(_PATCH**2, -1), out=tiles)
        return tiles.view(TILE, TILE, down, across, out).permute(2, 0, 3, 1, 4)

    def _take(self, name: str, *shape: int) -> Tensor:
        """Memory used before, if it is not far too much: new pages from the system cost as much as a transform."""
        size = torch.Size(shape).numel()
        kept = self._scratch.get(name)
        if kept is None or not size <= kept.numel() <= 4 * size:
            self._scratch[name] = kept = torch.empty(size)
        return kept[:size].view(shape)


def _many_tiles(image: Tensor) -> bool:
    height, width = image.shape[2:]
    return height * width >= _LARGE and height % TILE == width % TILE == 0


def _one_product(image: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Every pixel's 3x3 surroundings times the weights, which are most of what is read."""
    surroundings = F.pad(image, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5)
    return F.linear(surroundings.flatten(3), weight.flatten(1), bias).permute(0, 3, 1, 2)


def convolutions_can_be_short(*tensors: Tensor | None) -> bool:
    """Whether these are float32 on a CPU, and no gradient, autocast, trace or compiler asks for PyTorch's own."""
    given = [tensor for tensor in tensors if tensor is not None]
    return (
        all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in given)
        and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given))
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
    )

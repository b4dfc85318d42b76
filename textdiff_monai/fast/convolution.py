"""A UNet's large 3x3 convolutions on a CPU with fewer multiplications, without touching its modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Channels and pixels below which there is too little to save.
_CHANNELS, _PIXELS = 128, 64**2
# Values of a map that are transformed at once: they take twice the memory.
_AT_ONCE = 2**23

# Four outputs in a line from six products instead of twelve: F(4, 3) of Lavin & Gray 2015, arXiv 1509.09308.
_PATCH = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_KERNEL = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
# Where a kernel's three taps fall in a line that was doubled: two pixels around each even and each odd place.
_DOUBLED = [[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]]


class ShortConvolutions(TorchFunctionMode):
    """While entered, the thread's ``F.conv2d`` takes a shorter way where that is as good as exact and pays.

    That is in wide 3x3 convolutions of large maps, stride and padding 1, on a CPU, in float32, without gradients. All
    else is PyTorch's.
    """

    def __init__(self) -> None:
        super().__init__()
        self._doubled: tuple[Tensor, Tensor] | None = None

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.conv2d:
            return self._conv2d(*args, **kwargs)
        result = func(*args, **kwargs)
        if getattr(func, "__name__", "") != "__get__":  # reading a shape changes nothing
            self._doubled = None
        if func is F.interpolate and kwargs.get("scale_factor") == 2 and kwargs.get("mode", "nearest") == "nearest":
            self._doubled = result, args[0]
        return result

    def _conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        *others: Any,
        **options: Any,
    ) -> Tensor:
        doubled, self._doubled = self._doubled, None
        usual = all(value in (1, (1, 1)) for value in (stride, padding, *others, *options.values()))
        if not usual or not _can_be_short(input, weight, bias):
            return F.conv2d(input, weight, bias, stride, padding, *others, **options)
        bias = input.new_zeros(len(weight)) if bias is None else bias
        if doubled is not None and input is doubled[0]:
            return conv_of_doubled(doubled[1], weight, bias)
        return conv_by_filtering(input, weight, bias)


def _can_be_short(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    given = [tensor for tensor in (input, weight, bias) if tensor is not None]
    return (
        all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in given)
        and weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= _CHANNELS
        and input.ndim == 4
        and input.shape[2:].numel() >= _PIXELS
        and input.shape[2] % 4 == 0
        and not torch.is_autocast_enabled("cpu")
        and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given))
        and not torch.jit.is_tracing()
    )


def conv_by_filtering(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 convolution with padding 1 by half of its products, without gradients.

    Down the columns, four outputs come from six lines: sums of the pixels' lines, each convolved along itself with its
    own sum of the kernel's lines. Channels lie innermost throughout.

    Args:
        image: (N, C, H, W); 4 divides H.
        weight: (O, C, 3, 3).
        bias: (O,).

    Returns:
        (N, O, H, W), with a relative error of about 5e-6.
    """
    (count, channels, height, width), out = image.shape, len(weight)
    of_patch, of_kernel, of_output = (torch.tensor(matrix, dtype=torch.float) for matrix in (_PATCH, _KERNEL, _OUTPUT))
    kernels = (of_kernel @ weight.permute(0, 2, 3, 1).flatten(2)).transpose(0, 1).contiguous()
    kernels = kernels.view(6, out, 1, 3, channels).permute(0, 1, 4, 2, 3)
    lines = F.pad(image.permute(0, 2, 3, 1).flatten(2), (0, 0, 1, 1))
    patches = lines.unfold(1, 6, 4).mT  # (N, H/4, 6, W C), overlapping
    result = image.new_empty(count, height // 4, 4, width * out)
    at_once = max(1, _AT_ONCE // (4 * width * channels))
    for sample in range(count):
        for some, outputs in zip(patches[sample].split(at_once), result[sample].split(at_once), strict=True):
            rows = len(some)
            sums = image.new_empty(6, rows, width * channels)
            torch.bmm(of_patch.expand(rows, -1, -1), some, out=sums.transpose(0, 1))
            maps = sums.view(6, 1, rows, width, channels).permute(0, 1, 4, 2, 3)
            convolved = [F.conv2d(maps[i], kernels[i], padding=(0, 1)) for i in range(6)]
            products = torch.cat(convolved).permute(0, 2, 3, 1).reshape(6, rows, -1).transpose(0, 1)
            torch.baddbmm(bias.repeat(width), of_output.expand(rows, -1, -1), products, out=outputs)
    return result.view(count, height, width, out).permute(0, 3, 1, 2)


def conv_of_doubled(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 convolution with padding 1 of ``F.interpolate(image, scale_factor=2)``, by 16 products instead of 36.

    Each of a doubled pixel's four places sees 2x2 pixels of the image.

    Args:
        image: (N, C, H, W).
        weight: (O, C, 3, 3).
        bias: (O,).

    Returns:
        (N, O, 2 H, 2 W), channels innermost in memory.
    """
    (count, _, height, width), out = image.shape, len(weight)
    taps = torch.tensor(_DOUBLED, dtype=weight.dtype)
    kernels = torch.einsum("ait,bju,octu->aboijc", taps, taps, weight).flatten(0, 2).permute(0, 3, 1, 2)
    places = F.conv2d(image, kernels, bias.repeat(4), padding=1).permute(0, 2, 3, 1).unflatten(3, (2, 2, out))
    result = image.new_empty(count, height, 2, width, 2, out)
    for a in range(2):
        for b in range(2):
            result[:, :, a, :, b] = places[:, a : a + height, b : b + width, a, b]
    return result.view(count, 2 * height, 2 * width, out).permute(0, 3, 1, 2)

"""Head layers computed where they are cheap, with the same parameters and the same numbers to rounding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def conv_of_upsampled(x: Tensor, weight: Tensor, size: Sequence[int]) -> Tensor:
    """A 3x3 convolution (zero-padded, without bias) of a bilinearly upsampled map, without upsampling its channels.

    Mixing channels commutes with upsampling and with shifting, so the kernel's nine 1x1 mixes run at the map's own
    resolution; what is left is linear along rows and along columns: two products with small matrices that hold both
    the interpolation and the kernel's shifts.

    Args:
        x: (B, C, h, w).
        weight: (O, C, 3, 3).
        size: (H, W) to upsample to, ``align_corners=False``.

    Returns:
        (B, O, H, W), equal to ``conv2d(interpolate(x, size), weight, padding=1)``.
    """
    height, width = x.shape[-2:]
    if (height, width) == tuple(size):
        return F.conv2d(x, weight, padding=1)
    out, channels = weight.shape[:2]
    mixed = F.conv2d(x, weight.permute(3, 2, 0, 1).reshape(9 * out, channels, 1, 1))
    across = _shifted_upsampling(width, size[1], x.device, mixed.dtype)
    along = _shifted_upsampling(height, size[0], x.device, mixed.dtype)
    by_column = mixed.unflatten(1, (3, 3, out))
    left, middle, right = (by_column[:, dx] @ across[dx].T for dx in range(3))  # each (B, 3, O, h, W)
    rows = left + middle + right
    return along[0] @ rows[:, 0] + along[1] @ rows[:, 1] + along[2] @ rows[:, 2]


@lru_cache(maxsize=32)
def _shifted_upsampling(inside: int, outside: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(3, outside, inside): bilinear upsampling of a line, read one place before, at, and one place after."""
    with torch.inference_mode(False):
        line = torch.eye(inside, dtype=torch.float64)[:, None]
        upsampling = F.interpolate(line, outside, mode="linear", align_corners=False)[:, 0].T
        padded = F.pad(upsampling, (0, 0, 1, 1))
        return torch.stack([padded[shift : shift + outside] for shift in range(3)]).to(device, dtype)


def folded_attention(
    pixels: Tensor, keys: Tensor, values: Tensor, query: Tensor, out: Tensor, mask: Tensor | None
) -> Tensor:
    """Attention over a few tokens, with the query and output projections folded into the tokens.

    Args:
        pixels: (B, N, C).
        keys, values: (B, heads, L, d).
        query: weight (heads x d, C) that makes queries of pixels.
        out: weight (C', heads x d) that mixes the heads' results.
        mask: (B, L) True where a token may be seen, or None.

    Returns:
        (B, N, C'), without the output projection's bias. Cheaper than projecting every pixel while L < d.
    """
    heads, channels = keys.shape[1], keys.shape[-1]
    folded_keys = torch.einsum("bhld,hdc->bhlc", keys, query.unflatten(0, (heads, channels))) * channels**-0.5
    folded_values = torch.einsum("bhld,chd->bhlc", values, out.unflatten(1, (heads, channels)))
    scores = (pixels @ folded_keys.flatten(1, 2).transpose(1, 2)).unflatten(-1, (heads, -1))  # (B, N, heads, L)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
    return scores.softmax(dim=-1).flatten(2) @ folded_values.flatten(1, 2)

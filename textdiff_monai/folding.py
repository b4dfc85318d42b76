"""Head layers computed where they are cheap, with the same parameters and the same numbers to rounding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_of_upsampled(maps: Sequence[Tensor], weight: Tensor, bias: Tensor, size: Sequence[int]) -> Tensor:
    """A 3x3 convolution (zero-padded) of bilinearly upsampled and concatenated maps, without upsampling their channels.

    The convolution splits by map, and mixing channels commutes with upsampling and with shifting, so the kernel's nine
    1x1 mixes run at each map's own resolution; what is left is linear along rows and along columns: products with small
    matrices that hold both the interpolation and the kernel's shifts.

    Args:
        maps: each (B, C_i, h_i, w_i); fastest where channels lie innermost in memory.
        weight: (O, sum of C_i, 3, 3).
        bias: (O,).
        size: (H, W) to upsample to, ``align_corners=False``.

    Returns:
        (B, O, H, W), equal to ``conv2d(cat([interpolate(x, size) for x in maps], 1), weight, bias, padding=1)``.
    """
    batch, out = maps[0].shape[0], weight.shape[0]
    total = None
    for x, part in zip(maps, weight.split([x.shape[1] for x in maps], dim=1), strict=True):
        height, width = x.shape[-2:]
        across = _shifted_upsampling(width, size[1], x.device, x.dtype)
        along = _shifted_upsampling(height, size[0], x.device, x.dtype)
        rows = None
        # (dx, out x dy, C): what is summed next, the rows of a map read at three places, lies side by side.
        for kernel, shift in zip(part.permute(3, 0, 2, 1).flatten(1, 2), across, strict=True):
            mixed = torch.bmm(kernel.expand(batch, -1, -1), x.flatten(2)).view(-1, width)
            rows = mixed @ shift.T.to(mixed.dtype) if rows is None else rows.addmm_(mixed, shift.T.to(mixed.dtype))
        assert rows is not None
        rows = rows.view(-1, 3 * height, size[1])
        columns = along.transpose(0, 1).flatten(1).expand(batch * out, -1, -1).to(rows.dtype)
        if total is None:
            total = torch.baddbmm(bias.expand(batch, -1).reshape(-1, 1, 1), columns, rows)
        else:
            total.baddbmm_(columns, rows)
    assert total is not None, "at least one map is needed"
    return total.view(batch, out, *size)


@lru_cache(maxsize=32)
def _shifted_upsampling(inside: int, outside: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(3, outside, inside): bilinear upsampling of a line, read one place before, at, and one place after."""
    with torch.inference_mode(False):
        line = torch.eye(inside, dtype=torch.float64)[:, None]
        upsampling = F.interpolate(line, outside, mode="linear", align_corners=False)[:, 0].T
        padded = F.pad(upsampling, (0, 0, 1, 1))
        return torch.stack([padded[shift : shift + outside] for shift in range(3)]).to(device, dtype)


def folded_attention(
    pixels: Tensor,
    keys: Tensor,
    values: Tensor,
    query: Tensor,
    out: nn.Linear,
    norm: nn.LayerNorm,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Attention over a few tokens with what surrounds it folded into the tokens; cheaper while L is below d.

    Whatever the pixel, the result is a sum of heads x L vectors: projected values. The norm after the output projection
    is therefore computed from their products with each other, and no pixel's result has to be written down.

    Args:
        pixels: (B, N, C).
        keys, values: (B, heads, L, d).
        query: weight (heads x d, C) that makes queries of pixels.
        out: mixes the heads' results, (heads x d) to C.
        norm: of the mixed results.
        mask: (B, L) True where a token may be seen, or None.

    Returns:
        weights (B, N, heads x L + 1) and vectors (B, heads x L + 1, C), whose product is ``norm(out(attended))``.
    """
    heads, channels = keys.shape[1], keys.shape[-1]
    folded_keys = torch.einsum("bhld,hdc->bhlc", keys, query.unflatten(0, (heads, channels))) * channels**-0.5
    scores = (pixels @ folded_keys.flatten(1, 2).transpose(1, 2)).unflatten(-1, (heads, -1))  # (B, N, heads, L)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
    weights = scores.softmax(dim=-1).flatten(2)

    folded_values = torch.einsum("bhld,chd->bhlc", values, out.weight.unflatten(1, (heads, channels))).flatten(1, 2)
    folded_values = folded_values + out.bias / heads  # a head's weights add up to 1
    centred = folded_values - folded_values.mean(dim=-1, keepdim=True)
    products = centred @ centred.transpose(1, 2) / centred.shape[-1]
    variance = (weights @ products * weights).sum(dim=-1, keepdim=True)
    scale = (variance.clamp(min=0) + norm.eps).rsqrt()  # rounding may leave a tiny variance below 0
    weights = F.pad(weights * scale, (0, 1), value=1.0)
    return weights, torch.cat([centred * norm.weight, norm.bias.expand(centred.shape[0], 1, -1)], dim=1)

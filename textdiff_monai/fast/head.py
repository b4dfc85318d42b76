"""The head's logits, computed where its maps still are small and while its sentence is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from textdiff_monai.networks.attention import ImageTextAttention, ImageTextBlock
    from textdiff_monai.networks.head import SegmentationHead

# Pixels that a CPU works on at once: what it makes of them should stay in its caches.
_AT_ONCE = 4096
# Weights of a layer from where a CPU multiplies by oneDNN: with fewer, calling it costs more than it saves.
_WIDE = 2**16


def short_logits(
    head: SegmentationHead, features: Sequence[Tensor], text: Tensor, mask: Tensor | None, image: Tensor
) -> Tensor:
    """What ``head(features, text, mask, image)`` computes, without a map of all channels at the logits' size.

    The classifier's first convolution splits by scale, and mixing channels commutes with upsampling and with shifting:
    the kernel's nine 1x1 mixes run at each scale's own resolution. What is left works along lines and along columns, as
    products with matrices that hold both the upsampling and the kernel's shifts.
    """
    (height, width), batch = image.shape[-2:], len(text)
    weight, bias = head.classifier[0].parameters()
    attend = attention_to(head.attention, text, mask)
    total = bias.repeat(width)  # (B, H, W O) in the end
    kernels = weight.chunk(len(features), dim=1)
    for scale, project, kernel in zip(features, head.projections(), kernels, strict=True):
        mixes = kernel.permute(2, 3, 0, 1).flatten(1, 2)  # (3, 3 O, C): for each line of the kernel, its three taps
        columns = []
        for strip in _strips(scale):
            pixels = attend(project(strip).flatten(2).transpose(1, 2))
            across = _shifted_upsampling(scale.shape[3], width, pixels).permute(1, 2, 0).flatten(1)  # (W, 3 w)
            taps = [linear(pixels, mix).reshape(batch, -1, across.shape[1], len(bias)) for mix in mixes]
            columns.append(torch.stack([across @ tap for tap in taps], dim=1))  # (B, 3, h, W, O)
        down = _shifted_upsampling(scale.shape[2], height, pixels).permute(1, 0, 2).flatten(1)  # (H, 3 h)
        stacked = torch.cat(columns, dim=2).flatten(3).flatten(1, 2)
        total = torch.baddbmm(total, down.expand(batch, -1, -1), stacked)
    mixed = total.unflatten(2, (width, -1)).permute(0, 3, 1, 2)
    return head.classify(mixed, image)


def attention_to(block: ImageTextBlock, text: Tensor, mask: Tensor | None) -> Callable[[Tensor], Tensor]:
    """The block as a function of pixels (B, N, C); the sentence (B, L, D) is read once."""
    first, second = (_folded(attention, text, mask) for attention in (block.attention1, block.attention2))

    def attend(pixels: Tensor) -> Tensor:
        pixels = pixels + first(block.norm1(pixels))
        pixels = pixels + second(block.norm2(pixels))
        return pixels + linear(F.gelu(block.norm3(pixels)), block.linear.weight, block.linear.bias)

    return attend


def _folded(attention: ImageTextAttention, text: Tensor, mask: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Attention with the layers before and after it multiplied into the tokens, where those are smaller matrices."""
    keys, values = attention.split(attention.to_k(text)), attention.split(attention.to_v(text))
    heads, tokens, channels = keys.shape[1:]
    if tokens >= channels:
        return lambda pixels: attention(pixels, text, mask)
    queried = attention.to_q.weight.unflatten(0, (heads, channels)) * channels**-0.5
    mixed = attention.to_out.weight.unflatten(1, (heads, channels))
    keys = torch.einsum("bhlk,hkc->bchl", keys, queried).flatten(2)
    values = torch.einsum("bhlk,chk->bhlc", values, mixed).flatten(1, 2)
    seen = text.new_ones(text.shape[:2], dtype=torch.bool) if mask is None else mask
    offsets = keys.new_zeros(seen.shape).masked_fill(~seen, float("-inf")).repeat(1, heads)[:, None]

    def attend(pixels: Tensor) -> Tensor:
        scores = torch.baddbmm(offsets, pixels, keys).unflatten(2, (heads, tokens))
        return attention.norm(torch.baddbmm(attention.to_out.bias, scores.softmax(dim=-1).flatten(2), values))

    return attend


def linear(pixels: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` of pixels (B, N, C) and a weight (O, C).

    On a CPU in float32 PyTorch gives products to a BLAS, which may know less of a processor than oneDNN, and 1x1
    convolutions to oneDNN: MKL uses half of the vector units of AMD's Zen 5.
    """
    if pixels.device.type != "cpu" or pixels.dtype != torch.float32 or weight.numel() < _WIDE:
        return F.linear(pixels, weight, bias)
    mixed = F.conv2d(pixels[:, None].permute(0, 3, 1, 2), weight[:, :, None, None], bias)
    return mixed.permute(0, 2, 3, 1)[:, 0]


def _strips(scale: Tensor) -> Sequence[Tensor]:
    """Rows of maps (B, C, h, w): pixels do not depend on each other, and a CPU's caches are small."""
    batch, _, height, width = scale.shape
    return scale.split(max(1, _AT_ONCE // (batch * width)) if scale.device.type == "cpu" else height, dim=2)


def _shifted_upsampling(inside: int, outside: int, like: Tensor) -> Tensor:
    return _matrix(int(inside), int(outside), like.device, like.dtype)


@lru_cache(maxsize=64)
def _matrix(inside: int, outside: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Bilinear upsampling of a line, read one place before, at, and one place after each place (3, outside, inside)."""
    with torch.inference_mode(False):
        line = torch.eye(inside, dtype=torch.float64)[:, None]
        upsampling = F.interpolate(line, outside, mode="linear", align_corners=False)[:, 0].T
        padded = F.pad(upsampling, (0, 0, 1, 1))
        return torch.stack([padded[shift : shift + outside] for shift in range(3)]).to(device, dtype)

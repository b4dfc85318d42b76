"""Image-to-text attention: every pixel's feature looks the sentence's tokens up (TextDiff, section 2.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ImageTextAttention(nn.Module):
    """Multi-head attention from pixels (queries) to tokens (keys, values), with a normalised output.

    MONAI's ``CrossAttentionBlock`` computes the same, but takes no padding mask.
    """

    def __init__(self, channels: int, text_channels: int, heads: int, head_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, heads * head_channels, bias=False)
        self.to_k = nn.Linear(text_channels, heads * head_channels, bias=False)
        self.to_v = nn.Linear(text_channels, heads * head_channels, bias=False)
        self.to_out = nn.Linear(heads * head_channels, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, pixels: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        """What pixels (B, N, C) find in tokens (B, L, D), of which those may be seen whose mask (B, L) is True."""
        queries, keys, values = map(self.split, (self.to_q(pixels), self.to_k(text), self.to_v(text)))
        seen = None if mask is None else mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        return self.norm(self.to_out(attended.transpose(1, 2).flatten(2)))

    def shares(self, pixels: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        """Of each pixel's attention the share that each token gets (B, N, L), mean over the heads; they sum to 1."""
        queries, keys = self.split(self.to_q(pixels)), self.split(self.to_k(text))
        each = torch.eye(text.shape[1], dtype=keys.dtype, device=text.device).expand(*keys.shape[:2], -1, -1)
        seen = None if mask is None else mask[:, None, None, :]
        return F.scaled_dot_product_attention(queries, keys, each, attn_mask=seen).mean(1)

    def split(self, tokens: Tensor) -> Tensor:
        """(B, L, heads x c) to (B, heads, L, c)."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class ImageTextBlock(nn.Module):
    """Two rounds of image-to-text attention and a pointwise layer, each on a residual branch."""

    def __init__(self, channels: int, text_channels: int, heads: int = 8, head_channels: int = 64) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention1 = ImageTextAttention(channels, text_channels, heads, head_channels)
        self.norm2 = nn.LayerNorm(channels)
        self.attention2 = ImageTextAttention(channels, text_channels, heads, head_channels)
        self.norm3 = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, channels)

    def forward(self, pixels: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        """pixels (B, N, C), text (B, L, D), mask (B, L); returns (B, N, C)."""
        pixels = pixels + self.attention1(self.norm1(pixels), text, mask)
        pixels = pixels + self.attention2(self.norm2(pixels), text, mask)
        return pixels + self.linear(F.gelu(self.norm3(pixels)))

    def shares(self, pixels: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        """Of each pixel's attention the share that each token gets (B, N, L), mean over both rounds."""
        first = self.norm1(pixels)
        second = self.norm2(pixels + self.attention1(first, text, mask))
        return (self.attention1.shares(first, text, mask) + self.attention2.shares(second, text, mask)) / 2

"""Image-to-text attention: every pixel's feature looks the sentence's tokens up (TextDiff, section 2.2)."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from textdiff_monai.folding import folded_attention

# What is cheap is computed again in the backward pass rather than kept for it: a tenth more time, a fifth less memory.
_twice = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


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

    def forward(
        self, pixels: Tensor, text: Tensor, mask: Tensor | None = None, branch: nn.LayerNorm | None = None
    ) -> Tensor:
        """Attended pixels; or, as a residual branch that begins with a norm, ``pixels + attended(branch(pixels))``.

        Args:
            pixels: (B, N, C).
            text: (B, L, D).
            mask: (B, L), True where a token may be seen; None: all of them.
            branch: the norm.

        Returns:
            (B, N, C)
        """
        norm = branch or nn.Identity()
        keys, values = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.to_k(text), self.to_v(text)))
        if text.shape[1] < keys.shape[-1]:
            query, out = self.to_q.weight, self.to_out
            weights, vectors = _twice(
                lambda x: folded_attention(norm(x), keys, values, query, out, self.norm, mask), pixels
            )
            return weights @ vectors if branch is None else torch.baddbmm(pixels, weights, vectors)
        queries = self.to_q(norm(pixels)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        seen = None if mask is None else mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        attended = self.norm(self.to_out(attended.transpose(1, 2).flatten(2)))
        return attended if branch is None else pixels + attended


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

    def forward(self, features: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
        """features (B, C, h, w), text (B, L, D), mask (B, L); returns (B, C, h, w)."""
        size = features.shape[-2:]
        pixels = features.flatten(2).transpose(1, 2)
        pixels = self.attention1(pixels, text, mask, branch=self.norm1)
        pixels = self.attention2(pixels, text, mask, branch=self.norm2)
        pixels = self.linear(_twice(lambda x: F.gelu(self.norm3(x)), pixels)).add_(pixels)
        return pixels.transpose(1, 2).unflatten(-1, size)

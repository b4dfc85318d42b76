"""Image-to-text attention: every pixel's feature looks the sentence's tokens up (TextDiff, section 2.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from textdiff_monai.fast.folding import fold_tokens
from textdiff_monai.fast.products import linear


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
        return self.read(text, mask)(pixels)

    def read(
        self, text: Tensor, mask: Tensor | None = None, branch: nn.LayerNorm | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Read a sentence once, for any number of pixels.

        Args:
            text: (B, L, D).
            mask: (B, L), True where a token may be seen; None: all of them.
            branch: with a norm, the attention becomes a residual branch that begins with it.

        Returns:
            ``attended``, from pixels (B, N, C) to as many; or ``pixels + attended(branch(pixels))``.
        """
        keys, values = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.to_k(text), self.to_v(text)))
        if text.shape[1] < keys.shape[-1]:
            tokens = fold_tokens(keys, values, mask, branch, self.to_q, self.to_out, self.norm)

            def attend(pixels: Tensor) -> Tensor:
                return tokens.attended(pixels) if branch is None else tokens.branch(pixels, branch.eps)
        else:
            seen = None if mask is None else mask[:, None, None, :]

            def attend(pixels: Tensor) -> Tensor:
                queries = self.to_q(pixels if branch is None else branch(pixels))
                queries = queries.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
                attended = self.norm(self.to_out(attended.transpose(1, 2).flatten(2)))
                return attended if branch is None else pixels + attended

        return attend


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
        return self.read(text, mask)(pixels)

    def read(self, text: Tensor, mask: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """Read a sentence (B, L, D) once; returns the block as a function of pixels (B, N, C)."""
        first = self.attention1.read(text, mask, branch=self.norm1)
        second = self.attention2.read(text, mask, branch=self.norm2)

        def attend(pixels: Tensor) -> Tensor:
            pixels = second(first(pixels))
            # Cheap enough to be computed again in the backward pass rather than kept for it.
            active = checkpoint(lambda x: F.gelu(self.norm3(x)), pixels, use_reentrant=False, preserve_rng_state=False)
            return pixels + linear(active, self.linear.weight, self.linear.bias)

        return attend

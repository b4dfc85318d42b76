"""Attention over a few tokens, with the layers around it multiplied into the tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FoldedTokens(NamedTuple):
    """What pixels need of a sentence; cheaper than attending to it as long as it has fewer tokens than a head channels.

    Whatever the pixel, the result of attention is a sum of heads x L vectors: projected values. The norm after the
    output projection is therefore computed from their products with each other, and no pixel's result has to be written
    down before it is normalised.

    Attributes:
        keys: (B, C, heads x L), what pixels are compared with.
        offsets: (B, 1, heads x L) of the comparison; -inf where a token may not be seen.
        products: (B, heads x L, heads x L) of the vectors, an average over their channels.
        vectors: (B, heads x L + 1, C), and the norm's bias.
        heads: of the attention.
        eps: of the norm.
    """

    keys: Tensor
    offsets: Tensor
    products: Tensor
    vectors: Tensor
    heads: int
    eps: float

    def weights(self, pixels: Tensor) -> Tensor:
        """(B, N, heads x L + 1) for pixels (B, N, C); times :attr:`vectors`, the normalised result of the attention."""
        scores = torch.baddbmm(self.offsets, pixels, self.keys)
        weights = scores.unflatten(-1, (self.heads, -1)).softmax(dim=-1).flatten(2)
        variance = (weights @ self.products * weights).sum(dim=-1, keepdim=True)
        scale = (variance.clamp(min=0) + self.eps).rsqrt()  # rounding may leave a tiny variance below 0
        return F.pad(weights * scale, (0, 1), value=1.0)


def fold_tokens(
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    before: nn.LayerNorm | None,
    query: nn.Linear,
    out: nn.Linear,
    after: nn.LayerNorm,
) -> FoldedTokens:
    """Fold the layers around an attention into its tokens.

    Args:
        keys, values: (B, heads, L, d).
        mask: (B, L) True where a token may be seen, or None.
        before: the norm of the pixels before the attention, of which the weight and bias are folded; or None.
        query: makes queries (heads x d) of pixels (C).
        out: mixes the heads' results, (heads x d) to C.
        after: the norm of what is mixed (C).
    """
    heads, channels = keys.shape[1], keys.shape[-1]
    folded = torch.einsum("bhld,hdc->bhlc", keys, query.weight.unflatten(0, (heads, channels))) * channels**-0.5
    folded = folded.flatten(1, 2)
    if before is None:
        offsets = folded.new_zeros(folded.shape[:2])
    else:
        offsets, folded = folded @ before.bias, folded * before.weight
    if mask is not None:
        offsets = offsets.masked_fill(~mask.repeat(1, heads), float("-inf"))

    vectors = torch.einsum("bhld,chd->bhlc", values, out.weight.unflatten(1, (heads, channels))).flatten(1, 2)
    vectors = vectors + out.bias / heads  # a head's weights add up to 1
    vectors = vectors - vectors.mean(dim=-1, keepdim=True)
    products = vectors @ vectors.transpose(1, 2) / vectors.shape[-1]
    vectors = torch.cat([vectors * after.weight, after.bias.expand(vectors.shape[0], 1, -1)], dim=1)
    return FoldedTokens(folded.transpose(1, 2), offsets[:, None], products, vectors, heads, after.eps)

"""Attention over a few tokens, with the layers around it multiplied into the tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from textdiff_monai.fast.products import add_product, product, product_of_transposed


class FoldedTokens(NamedTuple):
    """What pixels need of a sentence; cheaper than attending to it as long as it has fewer tokens than a head channels.

    Whatever the pixel, the result of attention is a sum of heads x L vectors: projected values. The norm after the
    output projection is therefore computed from their products with each other, and no pixel's result has to be written
    down before it is normalised.

    Attributes:
        keys: (B, C, heads x L), what pixels are compared with.
        offsets: (B, 1, heads x L) of the comparison; -inf where a token may not be seen.
        products: (B, heads x L, heads x L) of the vectors, an average over their channels.
        vectors: (B, heads x L, C), of which the normalised result of the attention is a sum.
        bias: (C,), of the norm.
        heads: of the attention.
        eps: of the norm.
    """

    keys: Tensor
    offsets: Tensor
    products: Tensor
    vectors: Tensor
    bias: Tensor
    heads: int
    eps: float

    def attended(self, pixels: Tensor) -> Tensor:
        """The normalised result of the attention of pixels (B, N, C)."""
        return product(self.weights(pixels), self.vectors) + self.bias

    def branch(self, pixels: Tensor, eps: float) -> Tensor:
        """Pixels (B, N, C) with the attention of the normalised pixels added; ``eps`` is that of the norm before it."""
        if torch.is_grad_enabled() and not torch.is_autocast_enabled(pixels.device.type) and not torch.jit.is_tracing():
            return _Branch.apply(pixels, *self, eps)
        normalised = F.layer_norm(pixels, pixels.shape[-1:], eps=eps)
        return add_product(pixels + self.bias, self.weights(normalised), self.vectors)

    def weights(self, pixels: Tensor) -> Tensor:
        """(B, N, heads x L) for pixels (B, N, C): of :attr:`vectors` in the normalised result, without its bias."""
        scores = product(pixels, self.keys) + self.offsets
        weights = _softmax(scores, self.heads)
        variance = (product(weights, self.products) * weights).sum(dim=-1, keepdim=True)
        return weights * _rate(variance, self.eps)


class _Branch(torch.autograd.Function):
    """:meth:`FoldedTokens.branch` for training in one precision.

    Autograd would keep the normalised pixels, and write a map of all channels for each norm and sum on its way back.
    As the keys' channels add up to 0, a pixel's mean does not matter to its scores, and its norm is one factor of them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pixels: Tensor,
        keys: Tensor,
        offsets: Tensor,
        products: Tensor,
        vectors: Tensor,
        bias: Tensor,
        heads: int,
        eps: float,
        eps_before: float,
    ) -> Tensor:
        mean = pixels.mean(dim=-1, keepdim=True)
        squares = torch.linalg.vector_norm(pixels, dim=-1, keepdim=True).square() / pixels.shape[-1]
        rate = _rate(squares - mean.square(), eps_before)
        scores = product(pixels, keys).mul_(rate)
        weights = _softmax(scores + offsets, heads)
        mixed = product(weights, products)
        rate_after = _rate((mixed * weights).sum(dim=-1, keepdim=True), eps)
        ctx.save_for_backward(pixels, keys, vectors, mean, rate, scores, weights, mixed, rate_after)
        ctx.heads = heads
        return add_product(pixels + bias, weights * rate_after, vectors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pixels, keys, vectors, mean, rate, scores, weights, mixed, rate_after = ctx.saved_tensors
        of_vectors = product_of_transposed(weights * rate_after, grad)
        of_scaled = product(grad, vectors.transpose(1, 2))
        of_variance = (of_scaled * weights).sum(dim=-1, keepdim=True) * rate_after.pow(3) / -2
        of_products = product_of_transposed(weights, weights * of_variance)
        of_weights = of_scaled.mul_(rate_after).addcmul_(mixed, of_variance, value=2)  # the products are symmetric
        of_weights, shares = (x.unflatten(-1, (ctx.heads, -1)) for x in (of_weights, weights))
        of_scores = (shares * (of_weights - (of_weights * shares).sum(dim=-1, keepdim=True))).flatten(2)
        of_offsets = of_scores.sum(dim=1, keepdim=True)
        of_rate = (of_scores * scores).sum(dim=-1, keepdim=True) * rate.square() / -pixels.shape[-1]
        of_scores = of_scores * rate
        of_keys, of_pixels = product_of_transposed(pixels, of_scores), None
        if ctx.needs_input_grad[0]:
            of_pixels = torch.addcmul(grad, pixels, of_rate).sub_(mean * of_rate)
            add_product(of_pixels, of_scores, keys.transpose(1, 2))
        return of_pixels, of_keys, of_offsets, of_products, of_vectors, grad.sum(dim=(0, 1)), None, None, None


def _softmax(scores: Tensor, heads: int) -> Tensor:
    """Over the tokens, for each head."""
    return scores.unflatten(-1, (heads, -1)).softmax(dim=-1).flatten(2)


def _rate(variance: Tensor, eps: float) -> Tensor:
    """What a norm multiplies by; rounding may leave a tiny variance below 0."""
    return (variance.clamp(min=0) + eps).rsqrt()


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
        folded = folded - folded.mean(dim=-1, keepdim=True)  # normalised pixels have no mean to be compared
    if mask is not None:
        offsets = offsets.masked_fill(~mask.repeat(1, heads), float("-inf"))

    vectors = torch.einsum("bhld,chd->bhlc", values, out.weight.unflatten(1, (heads, channels))).flatten(1, 2)
    vectors = vectors + out.bias / heads  # a head's weights add up to 1
    vectors = vectors - vectors.mean(dim=-1, keepdim=True)
    products = vectors @ vectors.transpose(1, 2) / vectors.shape[-1]
    keys, vectors = folded.transpose(1, 2), vectors * after.weight
    return FoldedTokens(keys, offsets[:, None], products, vectors, after.bias, heads, after.eps)

"""The published way of computing, plainly: what the benchmark measures this project against, on the same weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textdiff_monai.networks.attention import ImageTextAttention
from textdiff_monai.networks.backbone import DiffusionBackbone
from textdiff_monai.networks.head import SegmentationHead
from textdiff_monai.networks.textdiff import TextDiff


def published_logits(network: TextDiff, image: Tensor, sentences: Sequence[str]) -> Tensor:
    """Logits (B, num_classes, H, W) of images (B, 3, H, W), everything computed anew: sentences, features, head."""
    text = torch.stack([network.text_encoder._encode(sentence) for sentence in sentences]).to(image.device)
    return published_head(network.head, published_features(network.backbone, image), text, image.shape[-2:])


@torch.no_grad()
def published_features(backbone: DiffusionBackbone, image: Tensor) -> list[Tensor]:
    """Maps (B, channels x steps, h, w), one a block: the whole UNet, one step after the other, watched by hooks."""
    activations: dict[int, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, block=block: activations.update({block: output}))
        for block, module in _units(backbone.unet).items()
        if block in backbone.blocks
    ]
    per_step = []
    try:
        for step in backbone.steps:
            signal, noise = backbone.alphas_cumprod[step], backbone.noise(*image.shape[-2:]).to(image)
            backbone.unet((signal.sqrt() * image + (1 - signal).sqrt() * noise).to(image.dtype), step)
            per_step.append([activations[block] for block in backbone.blocks])
    finally:
        for hook in hooks:
            hook.remove()
    return [torch.cat(maps, dim=1) for maps in zip(*per_step, strict=True)]


def _units(unet: nn.Module) -> dict[int, nn.Module]:
    """Decoder units by number: a level's last one is the level itself, which returns what its upsampler makes."""
    units: list[nn.Module] = []
    for level in unet.up_blocks:  # type: ignore[union-attr]
        units += [*getattr(level, "attentions", level.resnets)[:-1], level]
    return dict(enumerate(units))


def published_head(head: SegmentationHead, features: Sequence[Tensor], text: Tensor, size: Sequence[int]) -> Tensor:
    """Logits (B, num_classes, *size): every map is upsampled, all are concatenated, then convolved.

    Args:
        head: whose parameters are used.
        features: maps (B, C_i, h_i, w_i).
        text: token embeddings (B, L, D), all of which may be seen.
        size: height and width of the logits.
    """
    block, upsampled = head.attention, []
    for index, scale in enumerate(features):
        shared = head.shared[index - 1] if index else None
        projection = head.project_later[shared] if shared else nn.Identity() if index else head.project_first
        x = projection(scale)
        place = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2)
        x = x + _attention(block.attention1, block.norm1(x), text)
        x = x + _attention(block.attention2, block.norm2(x), text)
        x = x + block.linear(F.gelu(block.norm3(x)))
        upsampled.append(F.interpolate(x.transpose(1, 2).unflatten(-1, place), tuple(size), mode="bilinear"))
    return head.classifier(torch.cat(upsampled, dim=1))


def _attention(layer: ImageTextAttention, pixels: Tensor, text: Tensor) -> Tensor:
    queries, keys, values = (
        x.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        for x in (layer.to_q(pixels), layer.to_k(text), layer.to_v(text))
    )
    weights = (queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5).softmax(dim=-1)
    return layer.norm(layer.to_out((weights @ values).transpose(1, 2).flatten(2)))

"""A UNet's residual unit on a CPU, with fewer maps written: norms are applied where the convolutions read."""

from __future__ import annotations

from typing import TypeGuard

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from textdiff_monai.fast.convolution import Activation, ShortConvolutions

# Rows of a map that are averaged at once: an even number.
_STRIP = 32


def residual_can_be_short(unit: nn.Module | None) -> TypeGuard[ResnetBlock2D]:
    """Whether it is a residual unit, with an activation and a use of the time that :func:`short_residual` knows."""
    return (
        isinstance(unit, ResnetBlock2D)
        and isinstance(unit.nonlinearity, nn.SiLU)
        and unit.time_emb_proj is not None
        and unit.time_embedding_norm in ("default", "scale_shift")
    )


def short_residual(unit: ResnetBlock2D, hidden: Tensor, embedding: Tensor, short: ShortConvolutions) -> Tensor:
    """What ``unit(hidden, embedding)`` computes, in eval mode and without gradients.

    To take memory for a large map from the system costs more than to compute a norm of it, and the unit as diffusers
    writes it takes ten.

    Args:
        hidden: (N, C, H, W).
        embedding: of the time, (N, E).
        short: entered; it computes the convolutions.
    """
    before, resample = _norm(unit.norm1, hidden), unit.upsample or unit.downsample
    if resample is None:
        inner = short.of_activation(hidden, before, unit.conv1, passing=True)
    elif isinstance(resample, Upsample2D):
        inner, hidden = short.of_doubled(hidden, before, unit.conv1, passing=True), resample(hidden)
    else:
        inner, hidden = unit.conv1(_resampled(before, hidden, resample)), resample(hidden)

    time = unit.time_emb_proj(embedding if unit.skip_time_act else unit.nonlinearity(embedding))
    if unit.time_embedding_norm == "default":
        between = _norm(unit.norm2, inner, offset=time)
    else:
        scale, shift = time.chunk(2, dim=1)
        normal = _norm(unit.norm2, inner)
        between = Activation(normal.scale * (1 + scale), normal.shift * (1 + scale) + shift)

    result = short.of_activation(inner, between, unit.conv2)
    result += hidden if unit.conv_shortcut is None else unit.conv_shortcut(hidden)
    return result if unit.output_scale_factor == 1 else result.div_(unit.output_scale_factor)


def _resampled(activation: Activation, image: Tensor, resample: nn.Module) -> Tensor:
    """``resample(activation(image))``; where pairs of rows are averaged, by strips, so that memory is used again."""
    if isinstance(resample, Downsample2D) and not resample.use_conv and image.shape[2] % 2 == 0:
        return torch.cat([resample(activation(strip)) for strip in image.split(_STRIP, dim=2)], dim=2)
    return resample(activation(image))


def _norm(norm: nn.GroupNorm, image: Tensor, offset: Tensor | None = None) -> Activation:
    """SiLU of the norm of maps (N, C, H, W) plus an offset (N, C)."""
    statistics = (torch.batch_norm_update_stats(sample[None], None, None, 0.0) for sample in image)
    means, variances = (torch.stack(values).float() for values in zip(*statistics, strict=True))  # of each channel
    offset = torch.zeros_like(means) if offset is None else offset
    means = means + offset
    variance, mean = torch.var_mean(means.unflatten(1, (norm.num_groups, -1)), dim=2, correction=0)
    variance = variance + variances.unflatten(1, (norm.num_groups, -1)).mean(dim=2)
    width = norm.num_channels // norm.num_groups
    scale = (variance + norm.eps).rsqrt().repeat_interleave(width, dim=1) * norm.weight
    return Activation(scale, (offset - mean.repeat_interleave(width, dim=1)) * scale + norm.bias)

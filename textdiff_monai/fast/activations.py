"""Activations of a UNet's decoder: nothing that they do not depend on is computed, and a CPU's memory is spared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from textdiff_monai.fast import convolution
from textdiff_monai.fast.residual import residual_can_be_short, short_residual

# Values of a batch's map beyond which a CPU works on it in pieces: together they would take memory and save no time.
_AT_ONCE_ON_CPU = 2**23
# Modules applied in turn, a residual unit or a convolution first: what makes one map of the encoder or the decoder.
_Unit = list[Any]


def decoder_activations(unet: UNet2DModel, noisy: Tensor, times: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """Outputs of decoder units, without gradients.

    Large maps of a CPU are worked on a few samples at a time, small ones all together: there the weights are what takes
    time to read.

    Args:
        unet: of plain and attention blocks, without class embedding.
        noisy: (N, C, H, W), in the range that the UNet was trained on.
        times: (N,), the diffusion time step of each.
        blocks: numbers of the units, as :class:`~textdiff_monai.networks.backbone.DiffusionBackbone` has them.

    Returns:
        One map (N, C_b, h_b, w_b) for each of ``blocks``.
    """
    embedding = unet.time_embedding(unet.time_proj(times).to(unet.dtype))
    hidden = 2 * noisy - 1 if unet.config["center_input_sample"] else noisy
    first_width = unet.config["block_out_channels"][0]
    precision = convolution.short_precision(hidden)
    if first_width < convolution.CHANNELS or precision is None:
        return _activations(unet, hidden, embedding, blocks, _layer)
    with convolution.ShortConvolutions(precision) as short:
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        return _activations(unet, hidden, embedding, blocks, partial(_short_layer, short))


def _activations(
    unet: UNet2DModel,
    hidden: Tensor,
    embedding: Tensor,
    blocks: Sequence[int],
    layer: Callable[[nn.Module, Tensor, Tensor], Tensor],
) -> list[Tensor]:
    def compute(units: Sequence[_Unit], count: int, hidden: Tensor, *skips: Tensor) -> list[Tensor]:
        """The last outputs of units that are applied in turn."""

        def of_piece(hidden: Tensor, embedding: Tensor, *skips: Tensor) -> list[Tensor]:
            hidden, outputs = torch.cat([hidden, *skips], dim=1) if skips else hidden, []
            for place, unit in enumerate(units):
                for module in unit:
                    hidden = layer(module, hidden, embedding)
                if place >= len(units) - count:
                    outputs.append(hidden)
            return outputs

        values = hidden[0, 0].numel() * max(map(_growth, units))
        return _in_pieces(of_piece, values, hidden, embedding, *skips)

    encoder, middle, decoder = _units(unet)
    decoder = decoder[: max(blocks) + 1]
    unread = sum(map(len, encoder)) - len(decoder)  # a decoder unit reads one map of the encoder, the last one first
    skips: list[Tensor] = []
    for level in encoder:
        read = len(level) - max(unread, 0)
        outputs = compute(level, max(read, 1), hidden)
        skips += outputs if read > 0 else []
        hidden, unread = outputs[-1], unread - len(level)
    for module in middle:
        hidden = layer(module, hidden, embedding)
    found: dict[int, Tensor] = {}
    for place, unit in enumerate(decoder):
        (hidden,) = compute([unit], 1, hidden, skips.pop())
        if place in blocks:
            found[place] = hidden
    return [found[b] for b in blocks]


def _units(unet: UNet2DModel) -> tuple[list[list[_Unit]], _Unit, list[_Unit]]:
    """The encoder's, by level; the middle; the decoder's, the last of a level with its upsampling."""

    def pairs(block: Any) -> list[_Unit]:
        found = zip_longest(block.resnets, getattr(block, "attentions", None) or ())
        return [[module for module in pair if module is not None] for pair in found]

    encoder = [[*pairs(block), *([sampler] for sampler in block.downsamplers or ())] for block in unet.down_blocks]
    encoder[0].insert(0, [unet.conv_in])
    middle = [] if unet.mid_block is None else [module for pair in pairs(unet.mid_block) for module in pair]
    decoder = []
    for block in unet.up_blocks:
        *others, last = pairs(block)
        decoder += [*others, [*last, *(block.upsamplers or ())]]
    return encoder, middle, decoder


def _growth(unit: _Unit) -> int:
    """Values of the largest map that a unit makes, for each pixel that it is given."""
    upsamples = any(isinstance(module, Upsample2D) or getattr(module, "up", False) for module in unit)
    return unit[0].out_channels * (4 if upsamples else 1)


def _in_pieces(function: Callable[..., list[Tensor]], values: int, *batches: Tensor) -> list[Tensor]:
    """Maps that a function makes of batches; on a CPU of a few samples at once, where it makes many values of each."""
    if batches[0].device.type != "cpu" or torch.jit.is_tracing():  # a trace would fix the number of pieces
        return function(*batches)
    at_once = max(1, _AT_ONCE_ON_CPU // values)
    pieces = [function(*parts) for parts in zip(*(batch.split(at_once) for batch in batches), strict=True)]
    return [torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*pieces, strict=True)]


def _layer(module: nn.Module, hidden: Tensor, embedding: Tensor) -> Tensor:
    """Residual units alone take the embedded time."""
    return module(hidden, embedding) if isinstance(module, ResnetBlock2D) else module(hidden)


def _short_layer(short: convolution.ShortConvolutions, module: nn.Module, hidden: Tensor, embedding: Tensor) -> Tensor:
    if residual_can_be_short(module):
        return short_residual(module, hidden, embedding, short)
    return _layer(module, hidden, embedding)

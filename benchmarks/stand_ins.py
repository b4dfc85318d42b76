"""Stand-ins for published checkpoints: their names and shapes, each tensor filled from its own name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

# guided-diffusion's channel multipliers by image size.
MULTIPLIERS = {512: (0.5, 1, 1, 2, 2, 4, 4), 256: (1, 1, 2, 2, 4, 4), 128: (1, 1, 2, 3, 4), 64: (1, 2, 3, 4)}


def fill(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state dict whose tensors depend on their names and shapes alone."""
    return {name: _tensor(name, shape) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith(("running_mean", "num_batches_tracked")):
        return torch.zeros(shape, dtype=torch.long if name.endswith("tracked") else torch.float)
    if name.endswith("running_var"):
        return torch.ones(shape)
    z = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if not name.endswith("weight"):
        z = 0.1 * z
    elif len(shape) == 1:
        z = 1 + 0.1 * z
    else:
        z = z / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(z, dtype=np.float32))


def adm_shapes(options: Mapping[str, Any]) -> Shapes:
    """Names and shapes of guided-diffusion's UNet: residual up/downsampling, scale-shift norm, learned sigma."""
    base, size = options["num_channels"], options["image_size"]
    multipliers = [float(m) for m in options["channel_mult"].split(",") if m] or MULTIPLIERS[size]
    attention = [size // resolution for resolution in (32, 16, 8)]
    resnets = 2
    shapes = Shapes()

    def layer(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    def resnet(name: str, inside: int, out: int) -> None:
        layer(f"{name}.in_layers.0", inside)
        layer(f"{name}.in_layers.2", out, inside, 3, 3)
        layer(f"{name}.emb_layers.1", 2 * out, 4 * base)
        layer(f"{name}.out_layers.0", out)
        layer(f"{name}.out_layers.3", out, out, 3, 3)
        if inside != out:
            layer(f"{name}.skip_connection", out, inside, 1, 1)

    def attend(name: str, width: int) -> None:
        layer(f"{name}.norm", width)
        layer(f"{name}.qkv", 3 * width, width, 1)
        layer(f"{name}.proj_out", width, width, 1)

    layer("time_embed.0", 4 * base, base)
    layer("time_embed.2", 4 * base, 4 * base)
    width = int(multipliers[0] * base)
    layer("input_blocks.0.0", width, 3, 3, 3)
    skips, block, scale = [width], 1, 1
    for level, multiplier in enumerate(multipliers):
        for _ in range(resnets):
            resnet(f"input_blocks.{block}.0", width, int(multiplier * base))
            width = int(multiplier * base)
            if scale in attention:
                attend(f"input_blocks.{block}.1", width)
            skips.append(width)
            block += 1
        if level < len(multipliers) - 1:
            resnet(f"input_blocks.{block}.0", width, width)
            skips.append(width)
            block, scale = block + 1, scale * 2
    resnet("middle_block.0", width, width)
    attend("middle_block.1", width)
    resnet("middle_block.2", width, width)
    block = 0
    for level, multiplier in reversed(list(enumerate(multipliers))):
        for i in range(resnets + 1):
            out, place = int(multiplier * base), 1
            resnet(f"output_blocks.{block}.0", width + skips.pop(), out)
            width = out
            if scale in attention:
                attend(f"output_blocks.{block}.{place}", width)
                place += 1
            if level and i == resnets:
                resnet(f"output_blocks.{block}.{place}", width, width)
                scale //= 2
            block += 1
    layer("out.0", width)
    layer("out.2", 6, width, 3, 3)
    return shapes


def head_shapes(widths: Sequence[int], scales: int = 4) -> Shapes:
    """Names and shapes of a published TextDiff head; widths: channels of its feature maps, steps concatenated."""
    shapes = Shapes()

    def layer(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, shape[:1]

    for name, inside, out in (("0", 768 * scales, 128), ("3", 128, 32), ("6", 32, 2)):
        layer(f"decodes.{name}", out, inside, 3, 3)
    for name, width in (("1", 128), ("4", 32)):
        layer(f"decodes.{name}", width)
        shapes[f"decodes.{name}.running_mean"] = shapes[f"decodes.{name}.running_var"] = (width,)
        shapes[f"decodes.{name}.num_batches_tracked"] = ()
    for i in (1, 2):
        for name in ("to_q", "to_k", "to_v"):
            shapes[f"cross1.attn{i}.{name}.weight"] = (512, 768)
        layer(f"cross1.attn{i}.to_out.0", 768, 512)
        layer(f"cross1.attn{i}.to_out.1", 768)
    for i in (1, 2, 3):
        layer(f"cross1.norm{i}", 768)
    layer("cross1.ff.net.2", 768, 768)
    layer("down1", 768, widths[0], 1, 1)
    layer("down2", 768, widths[1], 1, 1)
    return shapes

"""The published computation, written plainly from state dicts: the witness of the golden tests and of the benchmark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def adm_blocks(state: State, x: Tensor, step: int, head_channels: int, resnets: int = 2) -> list[Tensor]:
    """Activations of every output block of guided-diffusion's UNet: x (B, 3, H, W) noisy, at one time step."""

    def layer(name: str, h: Tensor) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if weight.ndim == 1:
            return F.group_norm(h, 32, weight, bias, 1e-5)
        if weight.ndim == 2:
            return F.linear(h, weight, bias)
        return (
            F.conv1d(h, weight, bias) if weight.ndim == 3 else F.conv2d(h, weight, bias, padding=weight.shape[-1] // 2)
        )

    def resnet(name: str, h: Tensor, resample: Callable[[Tensor], Tensor] = lambda h: h) -> Tensor:
        skip = resample(h)
        h = layer(f"{name}.in_layers.2", resample(F.silu(layer(f"{name}.in_layers.0", h))))
        scale, shift = layer(f"{name}.emb_layers.1", F.silu(embedding))[..., None, None].chunk(2, dim=1)
        h = layer(f"{name}.out_layers.0", h) * (1 + scale) + shift
        h = layer(f"{name}.out_layers.3", F.silu(h))
        return h + (layer(f"{name}.skip_connection", skip) if f"{name}.skip_connection.weight" in state else skip)

    def attend(name: str, h: Tensor) -> Tensor:
        if f"{name}.qkv.weight" not in state:
            return h
        pixels = h.flatten(2)
        q, k, v = layer(f"{name}.qkv", layer(f"{name}.norm", pixels)).unflatten(1, (-1, 3, head_channels)).unbind(2)
        weight = torch.softmax(torch.einsum("bhct,bhcs->bhts", q, k) / math.sqrt(head_channels), dim=-1)
        attended = torch.einsum("bhts,bhcs->bhct", weight, v).flatten(1, 2)
        return (pixels + layer(f"{name}.proj_out", attended)).view_as(h)

    def down(h: Tensor) -> Tensor:
        return F.avg_pool2d(h, 2)

    def up(h: Tensor) -> Tensor:
        return F.interpolate(h, scale_factor=2, mode="nearest")

    blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("output_blocks."))
    half = state["time_embed.0.weight"].shape[1] // 2
    angles = step * torch.exp(-math.log(10000) * torch.arange(half, device=x.device) / half)
    embedding = torch.cat([angles.cos(), angles.sin()])[None].expand(len(x), -1)
    embedding = layer("time_embed.2", F.silu(layer("time_embed.0", embedding)))

    h = layer("input_blocks.0.0", x)
    skips = [h]
    for block in range(1, blocks):
        is_down = block % (resnets + 1) == 0
        h = resnet(f"input_blocks.{block}.0", h, *([down] if is_down else []))
        h = attend(f"input_blocks.{block}.1", h)
        skips.append(h)
    h = resnet("middle_block.0", h)
    h = resnet("middle_block.2", attend("middle_block.1", h))
    activations = []
    for block in range(blocks):
        h = resnet(f"output_blocks.{block}.0", torch.cat([h, skips.pop()], dim=1))
        h = attend(f"output_blocks.{block}.1", h)
        for place in (1, 2):
            if f"output_blocks.{block}.{place}.in_layers.0.weight" in state:
                h = resnet(f"output_blocks.{block}.{place}", h, up)
        activations.append(h)
    return activations


def features(state: State, image: Tensor, noise: Tensor, options: Mapping[str, Any]) -> list[Tensor]:
    """The published image features: chosen blocks of every step, concatenated on channels."""
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0)
    per_step = list[list[Tensor]]()
    for step in options["steps"]:
        noisy = math.sqrt(kept[step]) * image + math.sqrt(1 - kept[step]) * noise
        activations = adm_blocks(state, noisy, step, options["num_head_channels"])
        per_step.append([activations[block] for block in options["blocks"]])
    return [torch.cat(maps, dim=1) for maps in zip(*per_step, strict=True)]


def embeddings(encoder: Any, tokenizer: Any, sentence: str) -> Tensor:
    """The published text features (1, L, D), of a Hugging Face encoder and its tokenizer."""
    return encoder(**tokenizer(sentence, return_tensors="pt").to(encoder.device)).last_hidden_state


def head(state: State, maps: Sequence[Tensor], text: Tensor, size: Sequence[int], training: bool = False) -> Tensor:
    """The published head: everything upsampled to the image's size and concatenated before it is convolved."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def attention(name: str, x: Tensor) -> Tensor:
        q, k, v = (
            linear(f"{name}.to_{part}", source).unflatten(-1, (8, 64)).transpose(1, 2)
            for part, source in (("q", x), ("k", text), ("v", text))
        )
        attended = torch.softmax(q @ k.transpose(-1, -2) / 8, dim=-1) @ v
        return norm(f"{name}.to_out.1", linear(f"{name}.to_out.0", attended.transpose(1, 2).flatten(2)))

    upsampled = []
    for scale, x in enumerate(maps):
        if x.shape[1] != 768:
            name = "down1" if scale == 0 else "down2"
            x = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])
        place = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2)
        x = x + attention("cross1.attn1", norm("cross1.norm1", x))
        x = x + attention("cross1.attn2", norm("cross1.norm2", x))
        x = x + linear("cross1.ff.net.2", F.gelu(norm("cross1.norm3", x)))
        upsampled.append(F.interpolate(x.transpose(1, 2).unflatten(-1, place), tuple(size), mode="bilinear"))
    x = torch.cat(upsampled, dim=1)
    for i in (0, 3, 6):
        x = F.conv2d(x, state[f"decodes.{i}.weight"], state[f"decodes.{i}.bias"], padding=1)
        if i < 6:
            name = f"decodes.{i + 1}"
            mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
            x = F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], training=training)
            x = F.relu(x)
    return x


def loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy and 1.5 times a Dice term on the raw logits."""
    total = F.cross_entropy(logits, label)
    for k in range(logits.shape[1]):
        score, target = logits[:, k], (label == k).float()
        dice = (2 * (score * target).sum() + 1e-5) / ((score * score).sum() + (target * target).sum() + 1e-5)
        total = total + 1.5 * (1 - dice) / logits.shape[1]
    return total

"""Published checkpoints to ours: OpenAI's guided-diffusion UNets and the published TextDiff heads."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from torch import Tensor

from textdiff_monai.data.files import written_whole
from textdiff_monai.networks.head import SegmentationHead

State = dict[str, Tensor]

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_HEAD = {
    r"decodes\.(\d)\.(.+)": r"classifier.\1.\2",
    r"cross1\.attn(\d)\.to_out\.0\.(.+)": r"attention.attention\1.to_out.\2",
    r"cross1\.attn(\d)\.to_out\.1\.(.+)": r"attention.attention\1.norm.\2",
    r"cross1\.attn(\d)\.(to_[qkv])\.weight": r"attention.attention\1.\2.weight",
    r"cross1\.norm(\d)\.(.+)": r"attention.norm\1.\2",
    r"cross1\.ff\.net\.2\.(.+)": r"attention.linear.\1",
    r"down1\.(.+)": r"project_first.\1",
}


def import_adm(checkpoint: str | Path, folder: str | Path, head_channels: int = 64) -> Path:
    """Convert OpenAI's unconditional guided-diffusion checkpoint to a diffusers folder with its noise schedule.

    Sizes and options are inferred from the tensors. Query, key and value are taken to be interleaved per head, OpenAI's
    legacy order.

    Args:
        checkpoint: such as 256x256_diffusion_uncond.pt.
        folder: the new folder; train with --backbone FOLDER.
        head_channels: channels of an attention head; tensors do not show it (64 in all models published by OpenAI).

    Raises:
        ValueError: for anything that is not such a UNet, naming every leftover or missing key; nothing is written.
        FileExistsError: for a folder that exists, before any work.
    """
    with written_whole(folder) as partial:
        try:
            config, state = adm_to_diffusers(load_state(checkpoint), head_channels)
            unet = UNet2DModel(**config)
            unet.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{checkpoint}: not an unconditional guided-diffusion UNet: {error}") from error
        unet.save_pretrained(partial)
        DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear").save_pretrained(partial)
    return Path(folder)


def adm_to_diffusers(adm: Mapping[str, Tensor], head_channels: int) -> tuple[dict[str, Any], State]:
    """A guided-diffusion state dict to ``UNet2DModel``'s options and state dict; every key must find its place."""
    if "label_emb.weight" in adm:
        raise ValueError("it is class-conditional; take an unconditional one")
    left, state, missing = dict(adm), State(), list[str]()

    def take(key: str) -> Tensor:
        if key not in left:
            missing.append(key)
        return left.pop(key, torch.zeros(3 * head_channels, 1, 1)).float()

    def move(old: str, new: str) -> None:
        for kind in ("weight", "bias"):
            state[f"{new}.{kind}"] = take(f"{old}.{kind}")

    def move_resnet(old: str, new: str) -> None:
        for part, name in _RESNET.items():
            convolution = adm.get(f"{old}.in_layers.2.weight")
            widens = convolution is not None and convolution.shape[0] != convolution.shape[1]
            if part != "skip_connection" or widens or f"{old}.{part}.weight" in left:
                move(f"{old}.{part}", f"{new}.{name}")

    def move_attention(old: str, new: str) -> None:
        move(f"{old}.norm", f"{new}.group_norm")
        for kind in ("weight", "bias"):
            qkv = take(f"{old}.qkv.{kind}")
            if len(qkv) % (3 * head_channels):
                raise ValueError(
                    f"{old}.qkv has {len(qkv) // 3} channels, which is not a multiple of head_channels {head_channels}"
                )
            # (heads x (q, k, v) x head channels, ...): interleaved per head.
            parts = qkv.squeeze(-1).unflatten(0, (-1, 3, head_channels)).unbind(1)
            for name, part in zip("qkv", parts, strict=True):
                state[f"{new}.to_{name}.{kind}"] = part.flatten(0, 1).contiguous()
        state[f"{new}.to_out.0.weight"] = take(f"{old}.proj_out.weight").squeeze(-1)
        state[f"{new}.to_out.0.bias"] = take(f"{old}.proj_out.bias")

    outputs = 1 + max((int(key.split(".")[1]) for key in adm if key.startswith("output_blocks.")), default=-1)
    if not outputs:
        raise ValueError("it has no key output_blocks.*")
    # The first decoder block with a second residual block (the upsampler) ends the coarsest level.
    units = 1 + next((b for b in range(outputs) if _upsampler(adm, b)), outputs - 1)
    levels, resnets = outputs // units, units - 1
    widths, attentive = [], []

    move("time_embed.0", "time_embedding.linear_1")
    move("time_embed.2", "time_embedding.linear_2")
    move("input_blocks.0.0", "conv_in")
    for level in range(levels):
        first = 1 + level * units
        widths.append(adm[f"input_blocks.{first}.0.out_layers.3.weight"].shape[0])
        attentive.append(f"input_blocks.{first}.1.qkv.weight" in adm)
        for i in range(resnets):
            move_resnet(f"input_blocks.{first + i}.0", f"down_blocks.{level}.resnets.{i}")
            if attentive[level]:
                move_attention(f"input_blocks.{first + i}.1", f"down_blocks.{level}.attentions.{i}")
        if level < levels - 1:
            move_resnet(f"input_blocks.{first + resnets}.0", f"down_blocks.{level}.downsamplers.0")
    move_resnet("middle_block.0", "mid_block.resnets.0")
    move_attention("middle_block.1", "mid_block.attentions.0")
    move_resnet("middle_block.2", "mid_block.resnets.1")
    for block in range(outputs):
        level, i = divmod(block, units)
        move_resnet(f"output_blocks.{block}.0", f"up_blocks.{level}.resnets.{i}")
        if attentive[levels - 1 - level]:
            move_attention(f"output_blocks.{block}.1", f"up_blocks.{level}.attentions.{i}")
        if i == resnets and level < levels - 1:
            move_resnet(f"output_blocks.{block}.{_upsampler(adm, block)}", f"up_blocks.{level}.upsamplers.0")
    move("out.0", "conv_norm_out")
    move("out.2", "conv_out")
    if left or missing:
        lines = [f"{len(left)} keys left over: {', '.join(sorted(left))}"] if left else []
        lines += [f"{len(missing)} keys missing: {', '.join(sorted(missing))}"] if missing else []
        raise ValueError("; ".join(lines))

    shift = adm["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * widths[0]
    config = {
        "in_channels": adm["input_blocks.0.0.weight"].shape[1],
        "out_channels": adm["out.2.weight"].shape[0],
        "block_out_channels": widths,
        "layers_per_block": resnets,
        "down_block_types": ["AttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attentive],
        "up_block_types": ["AttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in reversed(attentive)],
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift" if shift else "default",
        "attention_head_dim": head_channels,
        "attn_norm_num_groups": 32,
        "norm_eps": 1e-5,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
    }
    return config, state


def _upsampler(adm: Mapping[str, Tensor], block: int) -> int | None:
    """The place of a decoder block's upsampling residual block, after the residual and, if any, attention unit."""
    return next((i for i in (1, 2) if f"output_blocks.{block}.{i}.in_layers.0.weight" in adm), None)


def load_published_head(head: SegmentationHead, checkpoint: str | Path) -> None:
    """Load a published TextDiff head (``{"model_state_dict": ...}``) into ours.

    The published code always stores both projections; one that the head's scales do not need is left out.

    Raises:
        ValueError: naming the keys or shapes that do not fit; the head is unchanged.
    """
    published = load_state(checkpoint)
    state: State = {}
    for key, tensor in published.items():
        if key.startswith("down2."):
            new = f"project_later.{published['down2.weight'].shape[1]}.{key.removeprefix('down2.')}"
        else:
            found = [re.sub(old, new, key) for old, new in _HEAD.items() if re.fullmatch(old, key)]
            if not found:
                raise ValueError(f"{checkpoint}: not a published TextDiff head: key {key} is unknown")
            new = found[0]
        if new in head.state_dict() or not key.startswith("down"):
            state[new] = tensor.float() if tensor.is_floating_point() else tensor
    ours = head.state_dict()
    wrong = [f"{key} is missing" for key in sorted(ours.keys() - state.keys())]
    wrong += [f"{key} is left over" for key in sorted(state.keys() - ours.keys())]
    wrong += [
        f"{key} is {tuple(state[key].shape)}, the network's is {tuple(ours[key].shape)}"
        for key in sorted(ours.keys() & state.keys())
        if ours[key].shape != state[key].shape
    ]
    if wrong:
        raise ValueError(f"{checkpoint} does not fit these blocks and time steps: " + "; ".join(wrong))
    head.load_state_dict(state)


def load_state(checkpoint: str | Path) -> State:
    """The tensors of a ``.pt`` file, at the top or under ``model_state_dict``; no code in it is run."""
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"{checkpoint}: is not a file; give a checkpoint")
    try:
        mmap = zipfile.is_zipfile(checkpoint)  # the format since PyTorch 1.6
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # of zip, pickle and PyTorch, which tell pages
        raise ValueError(f"{checkpoint}: not a readable PyTorch checkpoint of tensors") from error
    state = content.get("model_state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{checkpoint}: expected a dictionary of tensors, at the top or under model_state_dict")
    return state

"""What the benchmark measures: networks of a given size, with weights that ship or random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from transformers import BertConfig, BertModel

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.language.grammar import sentences
from textdiff_monai.networks.backbone import DiffusionBackbone
from textdiff_monai.networks.text_encoder import TextEncoder
from textdiff_monai.networks.textdiff import TextDiff
from textdiff_monai.pretraining.vocabulary import characters, tokenizer_of

# OpenAI's unconditional 256 x 256 model, as `import-adm` reads it.
_ADM_256 = {
    "sample_size": 256,
    "in_channels": 3,
    "out_channels": 6,
    "block_out_channels": (256, 256, 512, 512, 1024, 1024),
    "layers_per_block": 2,
    "down_block_types": ("ResnetDownsampleBlock2D",) * 3 + ("AttnDownBlock2D",) * 3,
    "up_block_types": ("AttnUpBlock2D",) * 3 + ("ResnetUpsampleBlock2D",) * 3,
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "resnet_time_scale_shift": "scale_shift",
    "attention_head_dim": 64,
    "attn_norm_num_groups": 32,
    "norm_eps": 1e-5,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
}


@dataclass(frozen=True)
class Setting:
    """What is measured: a network, an image size and how often.

    Attributes:
        blocks, steps: of the backbone.
        size: side of the square images, in pixels.
        head: options of the head; the paper's by default.
        unet: options of a UNet that is filled with random numbers; None is the one that ships.
        text_channels: width of a BERT filled the same way; None is the encoder that ships.
        sizes, batches: for the growth of inference with the image's side and the batch.
        repeats: timings of each, of which the median counts.
    """

    blocks: tuple[int, ...]
    size: int
    steps: tuple[int, ...] = (50, 150, 250)
    head: Mapping[str, Any] = field(default_factory=dict)
    unet: Mapping[str, Any] | None = None
    text_channels: int | None = None
    sizes: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    repeats: int = 3


SETTINGS = {
    # train.json as it is.
    "tiny": Setting(
        blocks=(1, 3, 5),
        size=128,
        head={"channels": 128, "heads": 4, "head_channels": 32, "hidden_channels": (64, 32)}
        | {"norm": ("instance", {"affine": True})},
        sizes=(64, 128, 256),
        batches=(1, 2, 4, 8),
        repeats=11,
    ),
    # qata_cov19.json: the paper's encoders.
    "adm-256": Setting(
        blocks=(4, 6, 8, 12), size=256, unet=_ADM_256, text_channels=768, sizes=(128, 256), batches=(1, 2)
    ),
}


def frozen_folders(setting: Setting, folder: Path) -> tuple[Path, Path]:
    """Folders of the UNet and of the text encoder: those that ship, or filled with random numbers."""
    unet, text = (Path(bundle_root()) / "models" / name for name in ("diffusion_unet", "text_encoder"))
    torch.manual_seed(0)
    if setting.unet is not None:
        unet = folder / "unet"
        _fill(UNet2DModel(**setting.unet)).save_pretrained(unet)
    if setting.text_channels is not None:
        text = folder / "text"
        words = sorted(set(" ".join(islice(sentences(seed=0), 2000)).lower().split()) - set(characters()))
        tokenizer = tokenizer_of([*characters(), *words], 512)
        tokenizer.save_pretrained(text)
        width = setting.text_channels
        heads, inner = max(1, width // 64), 4 * width
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=width, num_attention_heads=heads, intermediate_size=inner
        )
        BertModel(config).save_pretrained(text)
    return unet, text


def build_network(setting: Setting, folders: tuple[Path, Path], device: torch.device, **options: Any) -> TextDiff:
    """The setting's network with the folders' encoders; the options are the backbone's."""
    backbone = DiffusionBackbone(folders[0], **{"blocks": setting.blocks, "steps": setting.steps} | options)
    return TextDiff(backbone, TextEncoder(folders[1]), head=dict(setting.head)).to(device)


@torch.no_grad()
def _fill(module: UNet2DModel) -> UNet2DModel:
    """Random weights that neither blow activations up nor let them fade."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(0.0, parameter[0].numel() ** -0.5)
        else:
            parameter.normal_(float(name.endswith("weight")), 0.1)
    return module

"""Heads that the published code trained, as checkpoints of this project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from textdiff_monai.apps.weights import load_published_head, load_state
from textdiff_monai.data.files import written_file
from textdiff_monai.networks.backbone import DiffusionBackbone
from textdiff_monai.networks.recipe import Recipe
from textdiff_monai.networks.text_encoder import TextEncoder
from textdiff_monai.networks.textdiff import TextDiff


def import_head(
    checkpoint: str | Path,
    output: str | Path,
    backbone: str | Path,
    text_encoder: str | Path = "emilyalsentzer/Bio_ClinicalBERT",
    blocks: Sequence[int] = (4, 6, 8, 12),
) -> Path:
    """Convert a head that the published TextDiff code trained to a checkpoint of this project.

    Args:
        checkpoint: model_best.pth, as written by the published code.
        output: the new checkpoint, with the published recipe.
        backbone: folder of the converted UNet that the head was trained with.
        text_encoder: folder or hub name of the text encoder that the head was trained with.
        blocks: decoder blocks that the head was trained with: 4,6,8,12 for QaTa-COV19, 6,8,12,16 for MoNuSeg.
    """
    load_state(checkpoint)  # an error before any work
    encoder = TextEncoder(text_encoder, max_length=10, mask_padding=False)
    pixels: dict[str, Any] = {
        "channels": "BGR",
        "intensity_range": None,
        "resize": 256,
        "scales": None,
        "tile": None,
        "read_text": True,
    }
    recipe = Recipe(num_classes=2, class_names=["background", "target"], **pixels)
    network = TextDiff(DiffusionBackbone(backbone, blocks), encoder, recipe=recipe)
    load_published_head(network.head, checkpoint)
    with written_file(output) as partial:
        torch.save(network.state_dict(), partial)
    return Path(output)

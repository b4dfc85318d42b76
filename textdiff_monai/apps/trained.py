"""A trained network and what belongs to it, as ``inference.json`` puts them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Transform
from torch import nn

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.apps.overrides import overrides
from textdiff_monai.data.problems import cause
from textdiff_monai.engines.inferer import TextInferer


def inference_config() -> str:
    """The file."""
    return f"{bundle_root()}/configs/inference.json"


def load_trained(checkpoint: str | Path, **options: Any) -> tuple[nn.Module, TextInferer, Transform]:
    """A trained network, what runs it on images, and what reads these, as in ``inference.json``.

    Args:
        checkpoint: the model.pt of a training, or the bundle's.
        options: of ``inference.json``: ``device="cpu"``; ``backbone`` and ``text_encoder``, of a head that was trained
            with others than the bundle's.

    Returns:
        The network, in eval mode on its device; the inferer; and the transform that makes of ``{"image": path}`` an
        ``image`` as both take it: (3, H, W) in [-1, 1], of a volume (1 or 3, H, W, slices).

    Raises:
        ValueError: for a checkpoint that cannot be read, or options that it was not trained with.
    """
    names = ("inferer", "reading")
    options = overrides(options, [inference_config()], load_trained, ("network", *names))
    network, inferer, reading = trained(names, options | {"checkpoint": str(checkpoint)})
    return network, inferer, reading


def trained(names: Sequence[str], options: Mapping[str, Any]) -> list[Any]:
    """The network of ``inference.json`` with the weights of its ``checkpoint``, in eval mode, and other nodes there.

    Args:
        names: of the other nodes.
        options: of the configuration.

    Raises:
        ValueError: for a checkpoint that cannot be read, or options that it was not trained with.
    """
    config = ConfigParser()
    config.read_config(inference_config())
    config.update(dict(options))
    try:
        network, checkpoint, *found = map(config.get_parsed_content, ("network", "checkpoint", *names))
    except RuntimeError as error:  # MONAI's, which wraps what an option was refused for
        raise cause(error) from None
    try:
        network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    return [network.eval(), *found]

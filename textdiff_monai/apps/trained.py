"""A trained network and what belongs to it, as ``inference.json`` puts them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.bundle import ConfigParser

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.data.problems import cause


def inference_config() -> str:
    """The file."""
    return f"{bundle_root()}/configs/inference.json"


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

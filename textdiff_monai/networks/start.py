"""Training that begins with the weights of a head trained before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from textdiff_monai.networks.recipe import differences, read_recipe

_RECIPE = "recipe."
_FEATURES = ("blocks", "steps", "noise_seed", "encoders")


def start_from(network: nn.Module, checkpoint: str | Path) -> None:
    """Loads a head's weights into a network, whose own recipe stays.

    Size, classes' names and intensities may be others than the head was trained with; its shape and the features that
    it reads may not.

    Args:
        network: a TextDiff.
        checkpoint: the ``model.pt`` of a training.

    Raises:
        FileNotFoundError: for a file that does not exist.
        ValueError: for a file that is no checkpoint, or a head of another shape or other features.
    """
    recipe: Any = network.recipe
    trained, wanted = read_recipe(checkpoint), recipe.options
    both = [name for name in _FEATURES if name in trained and name in wanted]
    if lines := [line for name in both for line in differences(name, trained[name], wanted[name])]:
        raise ValueError(
            f"{checkpoint}: cannot start from a head of other features: {'; '.join(lines)}; give the blocks, "
            "steps, noise_seed and encoders that it was trained with"
        )
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = {name: weight for name, weight in saved.items() if not name.startswith(_RECIPE)}
    own = {name: weight for name, weight in network.state_dict().items() if not name.startswith(_RECIPE)}
    shapes = ({name: tuple(weight.shape) for name, weight in each.items()} for each in (weights, own))
    there, here = shapes
    if other := sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name)):
        name = other[0]
        raise ValueError(
            f"{checkpoint}: cannot start from a head of another shape: {name} is {there.get(name, 'missing')} in it, "
            f"{here.get(name, 'missing')} here; give the blocks, steps, head, classes and encoders it was trained with"
        )
    network.load_state_dict(weights, strict=False)

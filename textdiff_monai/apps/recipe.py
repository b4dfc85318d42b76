"""What a checkpoint knows of itself, to read."""

from __future__ import annotations

import json
from pathlib import Path

from textdiff_monai.networks.recipe import read_recipe


def recipe(checkpoint: str | Path) -> None:
    """Print what a checkpoint was trained with, as JSON; inference and evaluation take it from there.

    Args:
        checkpoint: the model.pt of a training.
    """
    print(json.dumps(read_recipe(checkpoint), indent=2))

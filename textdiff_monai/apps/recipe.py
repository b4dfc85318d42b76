"""What a checkpoint knows of itself, to read."""

from __future__ import annotations

import json
from pathlib import Path

from textdiff_monai.networks.recipe import read_recipe

_LONG = 10000  # characters


def recipe(checkpoint: str | Path) -> None:
    """Print as JSON what a checkpoint was trained with; inference and evaluation take these settings from it.

    For entries that would fill pages, such as descriptions of the training pictures, it prints only the size.

    Args:
        checkpoint: the model.pt of a training.
    """
    told = {name: (value, len(json.dumps(value))) for name, value in read_recipe(checkpoint).items()}
    short = {name: value if size <= _LONG else f"{size} characters" for name, (value, size) in told.items()}
    print(json.dumps(short, indent=2))

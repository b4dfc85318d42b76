"""What a head can be asked for."""

from __future__ import annotations

from pathlib import Path

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.language.structures import read_targets
from textdiff_monai.networks.recipe import read_recipe


def targets(checkpoint: str | Path | None = None) -> None:
    """Print the targets that a head was trained to find and, for the shipped one, how well it finds them.

    Args:
        checkpoint: the model.pt of a training; default the shipped one.
    """
    recipe = read_recipe(checkpoint or f"{bundle_root()}/models/model.pt")
    figures = recipe.get("figures", {})
    for name in sorted(figures or recipe.get("targets", ())):
        known = read_targets().get(name)
        also = ", ".join(known.names[1:4]) if known else ""
        print(f"{name:26s} {_told(figures.get(name)):44s} {also and f'also: {also}'}".rstrip())
    if not figures and not recipe.get("targets"):
        print("its captions name no known structure or lesion; textdiff recipe prints their words")


def _told(figures: dict | None) -> str:
    """Dice where it is there, and how often something is marked where it is not."""
    if figures is None:
        return ""
    alarms = f", {figures['false_alarms']} of {figures['absent']} false alarms" if figures.get("absent") else ""
    return f"Dice {figures['dice']:.2f} on {figures['images']} images{alarms}"

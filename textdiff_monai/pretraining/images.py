"""Images without labels to learn from, and how often each is drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import WeightedRandomSampler

from textdiff_monai.data.layouts import load_images
from textdiff_monai.data.problems import DataError

_ENOUGH = 60  # images of a kind that may be drawn as often as any other kind


def unlabelled_images(
    sources: str | Path | Sequence[str | Path], split: str = "train", columns: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Images to learn from, or to measure with, each once: ``{"image": path, "source": index, "kind": name or ""}``.

    Args:
        sources: each as :func:`~textdiff_monai.load_images` takes it. A column ``kind`` may tell what an image shows.
        split: "train", or "val" for images that are held out. All images of a source without splits are for training.
        columns: other names of the sources' columns, as there.

    Raises:
        DataError: for a source without images to learn from.
    """
    items: list[dict[str, Any]] = []
    for index, source in enumerate([sources] if isinstance(sources, (str, Path)) else sources):
        found = load_images(source, columns=columns)
        kinds = {item["image"]: item.get("kind", "") for item in found if item.get("split", "train") == split}
        if split == "train" and not kinds:
            raise DataError(source, [f"{source}: no images to learn from; its rows are of other splits than train"])
        items.extend({"image": image, "source": index, "kind": kind} for image, kind in kinds.items())
    return items


def even_sampler(items: Sequence[Mapping[str, Any]], num_samples: int, seed: int) -> WeightedRandomSampler:
    """Draws ``num_samples`` items an epoch, every kind or source as often as any other, whatever their sizes.

    Images whose kind is told are drawn by kind, and others by source. A kind of few images would be learned by heart:
    one of n < 60 images is drawn sqrt(n / 60) times as often as a larger one.
    """
    groups = [item.get("kind") or item["source"] for item in items]
    sizes = Counter(groups)
    shares = {group: min(1.0, math.sqrt(n / _ENOUGH)) if isinstance(group, str) else 1.0 for group, n in sizes.items()}
    weights = [shares[group] / sizes[group] for group in groups]
    return WeightedRandomSampler(weights, num_samples, generator=torch.Generator().manual_seed(seed))

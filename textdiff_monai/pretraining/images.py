"""Images without labels to learn from, and how often each is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textdiff_monai.data.layouts import load_images
from textdiff_monai.data.problems import DataError
from textdiff_monai.data.slices import slices_of

_KEYS = ("image", "source", "kind", "slice")


def unlabelled_images(
    sources: str | Path | Sequence[str | Path], split: str = "train", columns: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Images to learn from, or to measure with, each once: ``{"image": path, "source": index, "kind": name or ""}``.

    Of volumes every slice is one, its number being the ``slice``.

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
            raise DataError(source, [f"{source}: no images to train on; none of its rows is in the split train"])
        items.extend({"image": image, "source": index, "kind": kind, "id": image} for image, kind in kinds.items())
    return [{name: item[name] for name in _KEYS if name in item} for item in slices_of(items)]

"""Whether a picture is like those that a target was trained on: a chest film is none that shows an optic disc."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.engines.inferer import resized
from textdiff_monai.language.reader import target_of
from textdiff_monai.networks.textdiff import TextDiff

# Chosen on the validation split of the shipped head's data; see bundle/docs/targets.md.
_DIMENSIONS, _NEAREST, _FLOOR = 64, 5, 0.03
_LEAST = 1.5  # pictures of one kind differ by as much


class Familiarity:
    """Names pictures that are unlike all those in which training showed what a sentence asks for.

    A picture is the spatial means of its frozen features, in the principal directions of the training's. Its nearest
    training pictures that show the target may be so many times as far away as its nearest ones of all. As both
    distances grow where a scanner is new, it is the kind of picture that decides.

    Args:
        facts: of :func:`pictures_facts`.
        network: that they were made with.
        resize: as there.
    """

    def __init__(self, facts: Mapping[str, Any], network: TextDiff, resize: int) -> None:
        self.network, self.resize, self.most = network, resize, float(facts["most"])
        self.projection, self.places = _unpacked(facts["projection"]), _unpacked(facts["places"])
        self.shown: Mapping[str, list[int]] = facts["shown"]

    def __call__(self, images: Tensor, texts: Sequence[str]) -> list[str]:
        """Of each image (B, 3, H, W) why nothing in it can be what its sentence asks for, or ""."""
        targets = [target_of(text) for text in texts]
        if not self.shown.keys() & set(targets):
            return [""] * len(texts)
        seen = _projected(means_of(self.network, images, self.resize), self.projection)
        return [self._doubt(one, target) for one, target in zip(seen, targets, strict=True)]

    def _doubt(self, picture: Tensor, target: str) -> str:
        if target not in self.shown:
            return ""
        distances = torch.linalg.vector_norm(self.places - picture, dim=1)
        unlike = _ratio(distances, self.shown[target]) > self.most
        return f"the picture is unlike the training pictures that show {target}" if unlike else ""


def pictures_facts(
    items: Sequence[Mapping[str, Any]], read: Callable[[Any], Any], network: nn.Module, resize: int
) -> dict[str, Any]:
    """What a checkpoint keeps of its training's pictures: what each is like, and which targets it shows.

    Args:
        items: of training, with ``image``, ``label`` and ``text``.
        read: makes ``image`` (3, H, W) and ``label`` of an item; nothing is drawn at random.
        network: features are those of a :class:`~textdiff_monai.TextDiff`.
        resize: side of the square on which images are compared.

    Returns:
        ``pictures``, for :class:`Familiarity`; empty where there is nothing to tell: of volumes, for another network,
        and where all pictures show the same targets.
    """
    asked = [(str(item["image"]), target_of(str(item.get("text") or ""))) for item in items]
    if (
        not isinstance(network, TextDiff)
        or len({target for _, target in asked}) < 2
        or any("slice" in i for i in items)
    ):
        return {}
    places, shown = dict[str, Tensor](), defaultdict[str, set[str]](set)
    device = next(network.parameters()).device
    for item, (name, target) in zip(tqdm(items, "pictures", leave=False), asked, strict=True):
        if not target or name in shown[target]:
            continue
        data = read(item)
        if data["image"].ndim != 3:
            return {}
        if not (data["label"] > 0).any():
            continue
        shown[target].add(name)
        if name not in places:
            places[name] = means_of(network, data["image"].as_tensor()[None].to(device), resize)[0]
    if all(each == places.keys() for each in shown.values() if each):
        return {}
    order = {name: place for place, name in enumerate(places)}
    projection = _principal(torch.stack(list(places.values())))
    seen = _projected(torch.stack(list(places.values())), projection)
    known = {target: sorted(order[name] for name in each) for target, each in sorted(shown.items()) if len(each) > 1}
    most = max((_ratio(_others(seen, one), known[target], one) for target in known for one in known[target]), default=0)
    facts = {"projection": _packed(projection), "places": _packed(seen), "shown": known}
    return {"pictures": facts | {"most": round(max(_LEAST, most), 3)}}


@torch.no_grad()
def means_of(network: TextDiff, images: Tensor, resize: int) -> Tensor:
    """Spatial means (B, channels) of the features of whole images (B, 3, H, W), of all scales side by side."""
    features = network.features(resized(images, (resize, resize)))
    return torch.cat([scale.float().mean((2, 3)) for scale in features], dim=1).cpu()


def _principal(means: Tensor) -> Tensor:
    """Of means (N, channels) the matrix (channels + 1, dimensions) that makes their main directions equally wide.

    Those that vary little are widened less; the last row is the offset.
    """
    centre, spread = means.mean(0), means.std(0) + 1e-6
    values, vectors = torch.linalg.eigh(torch.cov(((means - centre) / spread).T))
    count = min(_DIMENSIONS, len(means) - 1)
    values, vectors = values.flip(0)[:count].clamp(min=0), vectors.flip(1)[:, :count]
    matrix = vectors / spread[:, None] / (values + _FLOOR * values[0]).sqrt()
    return torch.cat([matrix, -(centre @ matrix)[None]])


def _projected(means: Tensor, projection: Tensor) -> Tensor:
    return means @ projection[:-1] + projection[-1]


def _others(seen: Tensor, one: int) -> Tensor:
    """Distances of a training picture to all, itself as far as can be."""
    distances = torch.linalg.vector_norm(seen - seen[one], dim=1)
    distances[one] = torch.inf
    return distances


def _ratio(distances: Tensor, shown: Sequence[int], less: int | None = None) -> float:
    """How many times as far the nearest that show a target are as the nearest of all."""
    own = distances[[place for place in shown if place != less]]
    count = min(_NEAREST, len(own))
    return float(own.sort().values[:count].mean() / distances.sort().values[:count].mean().clamp(min=1e-6))


def _packed(matrix: Tensor) -> dict[str, Any]:
    return {
        "shape": list(matrix.shape),
        "float16": base64.b64encode(matrix.numpy().astype(np.float16).tobytes()).decode(),
    }


def _unpacked(packed: Mapping[str, Any]) -> Tensor:
    values = np.frombuffer(base64.b64decode(packed["float16"]), np.float16).reshape(packed["shape"])
    return torch.from_numpy(values.astype(np.float32))

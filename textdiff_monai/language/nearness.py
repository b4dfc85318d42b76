"""How far a sentence is from all that a head was trained on, in the text encoder's own measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from textdiff_monai.language import wording
from textdiff_monai.language.paraphrases import paraphrases
from textdiff_monai.language.reader import read

Encoder = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
_TEXTS = 200  # captions that are embedded, and as many other wordings of them
_CENTRES = 24
_UNRELATED = 0.65  # of the distance at which sentences about other things lie, as their median


def captions_nearness(items: Iterable[Mapping[str, Any]], encoder: Encoder, seed: int = 0) -> dict[str, Any]:
    """What a checkpoint keeps to tell how near a sentence is to its training's captions.

    Args:
        items: with ``text``.
        encoder: a :class:`~textdiff_monai.TextEncoder`.
        seed: of the captions and wordings that are taken, where there are many.

    Returns:
        ``centres``, means of groups of captions and of other wordings of those that are understood, and ``radius``,
        the distance up to which nothing is remarkable: a share of that of everyday sentences. Empty without captions.
    """
    rng = np.random.default_rng(seed)
    captions = sorted({str(item.get("text") or "") for item in items} - {""})
    captions = [captions[index] for index in sorted(rng.permutation(len(captions))[:_TEXTS])]
    meanings = [meaning for meaning in map(read, captions) if meaning is not None]
    told = [wording.say(meanings[index % len(meanings)], rng) for index in range(_TEXTS if meanings else 0)]
    if not captions:
        return {}
    centres = _grouped(_embedded([*captions, *told], encoder))
    others = _distances(_embedded([text for pair in paraphrases() for text in pair], encoder), centres)
    radius = round(_UNRELATED * float(others.median()), 3)
    return {"centres": [[round(value, 3) for value in centre] for centre in centres.tolist()], "radius": radius}


def distance(text: str, facts: Mapping[str, Any], encoder: Encoder) -> float:
    """Of a sentence to the nearest centre: one minus the cosine of the means of their tokens."""
    return float(_distances(_embedded([text], encoder), torch.tensor(facts["centres"])))


@torch.no_grad()
def _embedded(texts: Sequence[str], encoder: Encoder) -> Tensor:
    means = []
    for text in texts:
        tokens, mask = encoder([text])
        weights = mask[..., None].to(tokens.dtype)
        means.append((tokens * weights).sum(1) / weights.sum(1).clamp(min=1))
    return normalize(torch.cat(means).float().cpu(), dim=1)


def _distances(vectors: Tensor, centres: Tensor) -> Tensor:
    return 1 - (vectors @ normalize(centres, dim=1).T).amax(1)


def _grouped(vectors: Tensor) -> Tensor:
    """Means around vectors each of which is farthest from those before it."""
    chosen = [0]
    for _ in range(min(_CENTRES, len(vectors)) - 1):
        chosen.append(int(_distances(vectors, vectors[chosen]).argmax()))
    group = (vectors @ vectors[chosen].T).argmax(1)
    return torch.stack([vectors[group == index].mean(0) for index in group.unique()])

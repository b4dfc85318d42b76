"""Generated images whose targets cannot be told without reading the caption.

Every image holds several parts that look alike; only the caption says which of them are to be segmented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from textdiff_monai.phantoms.chest import chest_caption, chest_prior, draw_chest
from textdiff_monai.phantoms.drawing import Prior
from textdiff_monai.phantoms.nuclei import draw_nuclei, nuclei_caption, nuclei_prior


@dataclass(frozen=True)
class Case:
    """One image with its caption, and all that the caption could have named instead.

    Attributes:
        image: uint8 (H, W, 3).
        mask: uint8 (H, W), 1 inside the parts that `text` names.
        text: the caption.
        swapped_text: the same with left and right exchanged; it names other parts, and none of those of `text`.
        names: of the K parts, such as "upper left".
        parts: bool (K, H, W), disjoint.
        chosen: indices of the parts that `text` names.
        swapped: indices of the parts that `swapped_text` names.
        prior: the probability of every choice of parts, given the image.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    text: str
    swapped_text: str
    names: list[str]
    parts: NDArray[np.bool_]
    chosen: tuple[int, ...]
    swapped: tuple[int, ...]
    prior: Prior

    @property
    def swapped_mask(self) -> NDArray[np.uint8]:
        """uint8 (H, W), 1 inside the parts that `swapped_text` names."""
        return np.asarray(self.parts[list(self.swapped)].any(axis=0), dtype=np.uint8)


def make_case(kind: str, seed: int, size: int = 256) -> Case:
    """One case of a kind, the same for the same seed.

    A "chest" is a frontal X-ray with opacities in one to three zones of the left lung and in the same zones of the
    right. One to three of them are the findings, never both of a zone. "nuclei" is stained tissue with nuclei all over;
    those of a quadrant, or of the left or right half, are wanted. The choice is drawn independently of the image.

    Args:
        kind: "chest" or "nuclei".
        seed: 0 or more.
        size: height and width in pixels, 64 or more.
    """
    if kind not in _KINDS or size < 64:
        raise ValueError(f"kind must be one of {KINDS} and size at least 64, got {kind!r} and {size}")
    draw, choose = np.random.default_rng([KINDS.index(kind), seed]).spawn(2)
    draw_image, find_prior, caption = _KINDS[kind]
    image, names, labels = draw_image(draw, size)
    parts, prior = np.stack([labels == 1 + index for index in range(len(names))]), find_prior(names)
    choices = sorted(prior)
    chosen = choices[choose.choice(len(choices), p=[prior[choice] for choice in choices])]
    swapped = tuple(sorted(names.index(_swap(names[index])) for index in chosen))
    text, swapped_text = (caption([names[index] for index in indices]) for indices in (chosen, swapped))
    mask = np.isin(labels, np.add(chosen, 1)).astype(np.uint8)
    return Case(image, mask, text, swapped_text, names, parts, chosen, swapped, prior)


def bound_without_text(cases: Sequence[Case]) -> float:
    """The best mean Dice that a method can expect if it sees each image, and all its parts perfectly, but no caption.

    Nothing in an image hints at the choice, so the best it can do is to predict a union of parts with the highest
    expected Dice under the prior. If one of K parts of equal size is chosen, each as likely, then predicting j parts
    is right with probability j/K and then gives 2/(j + 1), so 2j / (K (j + 1)), which is highest for all parts:
    2 / (K + 1), that is 0.67, 0.40 and 0.29 for 2, 4 and 6. Larger choices are easier. This function goes through all
    unions with the true areas. Over many cases it comes to 0.45 for "chest" and 0.47 for "nuclei".

    Args:
        cases: one or more.
    """
    best = []
    for case in cases:
        areas = case.parts.sum(axis=(1, 2)).astype(float)
        guesses = np.array(list(product([0, 1], repeat=len(areas)))[1:])
        truths = np.array([np.isin(np.arange(len(areas)), choice) for choice in case.prior]).astype(float)
        dice = 2 * (guesses * areas) @ truths.T / ((guesses @ areas)[:, None] + truths @ areas)
        best.append(float((dice @ np.array(list(case.prior.values()))).max()))
    return float(np.mean(best))


def _swap(name: str) -> str:
    return " ".join({"left": "right", "right": "left"}.get(word, word) for word in name.split())


_KINDS = {
    "chest": (draw_chest, chest_prior, chest_caption),
    "nuclei": (draw_nuclei, nuclei_prior, nuclei_caption),
}
KINDS = tuple(_KINDS)

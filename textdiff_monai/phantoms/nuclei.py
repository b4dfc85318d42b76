"""Stained tissue with nuclei all over, of which a caption names a quadrant or a half."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from textdiff_monai.language.meaning import SIDES
from textdiff_monai.phantoms.drawing import Drawing, Prior, blur, grid, noise, step

_HALVES = 0.25  # how often a whole half of the nuclei is asked for rather than a quadrant


def nuclei_prior(names: Sequence[str]) -> Prior:
    quadrants = {(index,): (1 - _HALVES) / len(names) for index in range(len(names))}
    halves = {tuple(i for i, name in enumerate(names) if side in name): _HALVES / len(SIDES) for side in SIDES}
    return quadrants | halves


def nuclei_caption(names: Sequence[str]) -> str:
    place = names[0] if len(names) == 1 else f"{names[0].split()[1]} half"
    return f"Segment the nuclei in the {place}."


def draw_nuclei(rng: np.random.Generator, size: int) -> Drawing:
    """Stained tissue (size, size, 3), the names of its quadrants and labels: 1 + the quadrant of a nucleus' centre."""
    u = rng.uniform
    y, x = grid(size)
    angle, waves, chromatin = u(0, np.pi), noise(rng, size, 5), noise(rng, size, 80)
    fibres = np.sin(u(40, 90) * (x * np.cos(angle) + y * np.sin(angle)) + 5 * waves)
    tissue = step(noise(rng, size, 6) + u(0.8, 2.0), 0.08)
    eosin = tissue * (u(0.15, 0.5) + 0.05 * fibres + 0.04 * noise(rng, size, 24) + 0.03 * noise(rng, size, 90))
    haematoxylin = tissue * (0.06 + 0.03 * waves)

    labels = np.zeros((size, size), dtype=np.uint8)
    radius, stretch, darkness, crowding = u(0.02, 0.038), u(1.1, 1.9), u(0.8, 1.6), u(0.02, 0.04)
    centres = np.full((1, 2), -1.0)
    for quadrant, origin in enumerate(product((0.0, 0.5), repeat=2)):
        clusters = u(0.05, 0.45, (3, 2))
        before = len(centres)
        for _ in range(int(crowding / radius**2)):
            near = clusters[rng.integers(3)] + 0.08 * rng.standard_normal(2)
            centre = origin + np.clip(near if rng.random() < 0.7 else u(0, 0.5, 2), 0.005, 0.495)
            lumen = tissue[tuple((centre * size).astype(int))] < 0.5 and len(centres) > before + 2
            if lumen or np.square(centres - centre).sum(axis=1).min() < (1.5 * radius) ** 2:
                continue
            centres = np.vstack([centres, centre])
            long = radius * np.exp(0.18 * rng.standard_normal()) * np.sqrt(stretch)
            first, last = np.clip(((centre - 1.3 * long) * size, (centre + 1.3 * long) * size + 1), 0, size).astype(int)
            window = np.s_[first[0] : last[0], first[1] : last[1]]
            turn, dy, dx = angle + u(-0.8, 0.8), y[window] - centre[0], x[window] - centre[1]
            dx, dy = dx * np.cos(turn) + dy * np.sin(turn), (dy * np.cos(turn) - dx * np.sin(turn)) * stretch
            theta = np.arctan2(dy, dx)
            outline = 1 + u(0, 0.12) * np.cos(2 * theta + u(0, 6)) + u(0, 0.1) * np.cos(3 * theta + u(0, 6))
            inside = 1 - np.hypot(dx, dy) / (long * outline)
            density = darkness * u(0.6, 1.2) * (0.8 + 0.15 * chromatin[window] + 0.3 * np.exp(-((inside / 0.15) ** 2)))
            haematoxylin[window] = np.maximum(haematoxylin[window], density * step(inside, 0.06))
            labels[window][inside > 0] = quadrant + 1
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]) * u(0.85, 1.15, (2, 3))  # absorbance in R, G and B
    absorbed = haematoxylin[..., None] * stains[0] + eosin[..., None] * stains[1]
    image = blur((u(235, 250) + u(-4, 4, 3)) * np.exp(-np.clip(absorbed, 0, None)), size * u(0.001, 0.003))
    image += u(1, 4) * rng.standard_normal(image.shape, dtype=np.float32)
    names = [f"{row} {side}" for row, side in product(("upper", "lower"), SIDES)]
    return np.clip(image, 0, 255).astype(np.uint8), names, labels

"""A chest X-ray with look-alike opacities. Sides are the patient's: the left lung lies on the right of the image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from textdiff_monai.language.chest import describe
from textdiff_monai.language.meaning import ZONES, Finding
from textdiff_monai.phantoms.drawing import Drawing, Floats, Prior, blur, grid, noise, step

# How often 1, 2 or 3 pairs of opacities are drawn and, of 1, 2 or 3 pairs, how often 1, 2 or 3 hold a finding.
_PAIRS = (0.1, 0.4, 0.5)
_FINDINGS = ((1.0,), (0.7, 0.3), (0.6, 0.3, 0.1))


def chest_prior(names: Sequence[str]) -> Prior:
    """Each number of findings has its weight; then each set of zones, and each side of each, is as likely."""
    zones = [zone for zone in ZONES if f"{zone} left" in names]
    prior: Prior = {}
    for count, weight in enumerate(_FINDINGS[len(zones) - 1], start=1):
        sided = [[(f"{zone} left", f"{zone} right") for zone in chosen] for chosen in combinations(zones, count)]
        choices = [tuple(sorted(map(names.index, choice))) for pairs in sided for choice in product(*pairs)]
        prior |= {choice: weight / len(choices) for choice in choices}
    return prior


def chest_caption(names: Sequence[str]) -> str:
    return describe(Finding(side, zone) for zone, side in map(str.split, names))


def draw_chest(rng: np.random.Generator, size: int) -> Drawing:
    """A frontal film (size, size, 3), the names of its opacities and labels: 1 + the index of the opacity."""
    u = rng.uniform
    y, x = grid(size)
    angle, centre = u(-0.06, 0.06), u(0.46, 0.54)
    x, y = x - centre, y - 0.5
    x, y = x + angle * y + 0.008 * noise(rng, size, 5), y - angle * x + 0.5 + 0.008 * noise(rng, size, 5)

    top, base, width, medial = u(0.05, 0.13), u(0.70, 0.82), u(0.35, 0.42), u(0.055, 0.075)
    heart_size, spacing, slant = u(0.85, 1.2), u(0.075, 0.095), u(0.08, 0.16)
    rib, opacity, softness = u(0.04, 0.08), u(0.17, 0.26), u(0.15, 0.35)
    vessels = np.exp(-3 * np.abs(noise(rng, size, 36))) + np.exp(-3 * np.abs(noise(rng, size, 18))) - 0.7
    ragged = noise(rng, size, 14)

    across = np.abs(x)
    torso = 0.13 + (width + 0.02) * step(y - u(0.04, 0.1), 0.02) - u(0.05, 0.09) * step(y - 0.38, 0.05)
    film = 0.52 * step(torso - across, 0.012) + 0.06 * step(y - base, 0.03)
    film += 0.13 * np.exp(-((x / 0.065) ** 2)) + (0.04 + 0.02 * np.cos(u(100, 130) * y)) * step(0.035 - across, 0.006)
    film -= 0.07 * np.exp(-((x / 0.018) ** 2)) * step(top + 0.18 - y, 0.02)  # trachea
    heart_x, heart_y = (x - 0.07 - 0.3 * (y - base)) / 0.14, (y - base + 0.1) / 0.15
    film += 0.12 * step(heart_size**2 - heart_x**2 - heart_y**2, 0.12)
    film += 0.08 * step(1 - ((x - 0.055) ** 2 + (y - top - 0.2) ** 2) / 0.04**2, 0.15)  # aortic knob

    zones = sorted(map(int, rng.choice(len(ZONES), size=1 + rng.choice(len(_PAIRS), p=_PAIRS), replace=False)))
    names: list[str] = []
    labels = np.zeros((size, size), dtype=np.uint8)
    for side, lateral in (("left", x), ("right", -x)):
        is_left = side == "left"  # the heart lies there, and the other half of the diaphragm is higher
        apex, floor = top + u(-0.015, 0.015), base + (u(0.0, 0.04) if is_left else u(-0.04, 0.0))
        reach, bulge = width * u(0.94, 1.04), heart_size * u(0.07, 0.1) if is_left else u(0.02, 0.04)
        depth, height = (y - apex) / (floor - apex), floor - apex
        outer = reach * np.sqrt(1 - np.clip(1 - depth, 0, 1) ** u(2.6, 3.6))
        inner = medial + bulge * np.exp(-(((depth - 0.85) / 0.3) ** 2))
        dome = floor + u(1.5, 3.0) * (lateral - u(0.15, 0.2)) ** 2
        lung = step(np.minimum(np.minimum(lateral - inner, outer - lateral), dome - y), 0.005)
        hilum = np.exp(-((lateral - inner) ** 2 + (y - apex - 0.42 * height) ** 2) / 0.012)
        film += lung * ((0.03 + 0.08 * hilum) * vessels + 0.05 * depth - 0.33) + 0.07 * hilum
        cage = step(np.minimum(outer + 0.025 - lateral, lateral - 0.03), 0.008) * step(floor + 0.04 - y, 0.03)
        front, back = y + 2 * slant * lateral / reach, y - slant * (lateral / reach) ** 2
        film += rib * cage * step(np.cos(2 * np.pi / spacing * back) - 0.35, 0.15)
        film += rib * cage * step(np.cos(2 * np.pi / spacing * front) - 0.4, 0.2) / 2
        clavicle = y - apex - 0.09 + 0.18 * lateral - 0.02 * np.sin(12 * lateral)
        film += 0.10 * np.exp(-((clavicle / 0.014) ** 2)) * step(lateral - 0.03, 0.01)
        for zone in zones:
            level, along = (zone + u(0.4, 0.6)) / len(ZONES), u(0.4, 0.65)
            row = int(np.argmin(np.abs(depth[:, size // 2] - level)))
            middle = (1 - along) * float(inner[row, size // 2]) + along * float(outer[row, size // 2])
            flank, rise = (lateral - middle) / u(0.06, 0.09), (depth - level) * height / u(0.055, 0.075)
            density = lung * step(1 - flank**2 - rise**2 + 0.3 * ragged, softness)
            film += opacity * density * (1 + 0.15 * ragged)
            names.append(f"{ZONES[zone]} {side}")
            labels[(density > 0.5) & (labels == 0)] = len(names)
    return _expose(film, rng, size), names, labels


def _expose(film: Floats, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Exposure, blur, grain and collimation of a film, as uint8 (size, size, 3)."""
    film = (film + 0.03 * noise(rng, size, 3)) * rng.uniform(0.95, 1.35) + rng.uniform(-0.03, 0.1)
    film = blur(255 * np.clip(film, 0, 1) ** rng.uniform(0.7, 1.3), size * rng.uniform(0.001, 0.004))
    film += rng.uniform(1, 4) * rng.standard_normal((size, size), dtype=np.float32) + 3 * noise(rng, size, size // 3)
    top, bottom, left, right = (rng.uniform(0, 0.05, 4) * (rng.random(4) < 0.2) * size).astype(int)
    film[:top], film[size - bottom :], film[:, :left], film[:, size - right :] = 0, 0, 0, 0
    return np.repeat(np.clip(film, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

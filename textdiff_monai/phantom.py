"""Synthetic images whose targets cannot be told without reading the caption, for tests and demonstrations.

Every image holds several parts that look alike; only the caption says which of them are to be segmented. Sides of the
chest are the patient's: the patient's left lung lies on the right of the image.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.files import written_whole
from textdiff_monai.grammar import SIDES, ZONES, Finding, describe

Floats = NDArray[np.floating]
Drawing = tuple[NDArray[np.uint8], list[str], NDArray[np.uint8]]
Prior = dict[tuple[int, ...], float]

# How often 1, 2 or 3 pairs of opacities are drawn and, of 1, 2 or 3 pairs, how often 1, 2 or 3 hold a finding.
_PAIRS = (0.1, 0.4, 0.5)
_FINDINGS = ((1.0,), (0.7, 0.3), (0.6, 0.3, 0.1))
_HALVES = 0.25  # how often a whole half of the nuclei is asked for rather than a quadrant


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


def write_phantom(
    folder: str | Path,
    kind: str = "chest",
    train: int = 50,
    val: int = 16,
    test: int = 40,
    seed: int = 0,
    size: int = 256,
    swapped: bool = False,
) -> Path:
    """Write a data set in the CSV layout; the folder appears only once it is whole.

    It holds ``images/*.png`` (RGB), ``masks/*.png`` (0 and 255) and ``text.csv`` with the columns ``image``, ``mask``,
    ``text`` and ``split``.

    Args:
        folder: must not exist yet.
        kind: see :func:`make_case`.
        train: number of images of this split, likewise `val` and `test`.
        seed: of the whole set. No two images of a set, or of sets with different seeds, are the same.
        size: height and width in pixels.
        swapped: the same images, each with the sides of its caption exchanged and the mask of what that names.

    Returns:
        The folder.
    """
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    with written_whole(folder) as unfinished:
        for name in ("images", "masks"):
            (unfinished / name).mkdir()
        with open(unfinished / "text.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["image", "mask", "text", "split"])
            for number, split in enumerate(tqdm(splits, desc=f"{kind} phantom", unit="image")):
                case = make_case(kind, (seed << 32) + number, size)
                name = f"{kind}_{number:04d}.png"
                Image.fromarray(case.image).save(unfinished / "images" / name)
                mask = case.swapped_mask if swapped else case.mask
                Image.fromarray(mask * 255).save(unfinished / "masks" / name)
                table.writerow([name, name, case.swapped_text if swapped else case.text, split])
    return Path(folder)


def _swap(name: str) -> str:
    return " ".join({"left": "right", "right": "left"}.get(word, word) for word in name.split())


def _chest_prior(names: Sequence[str]) -> Prior:
    """Each number of findings has its weight; then each set of zones, and each side of each, is as likely."""
    zones = [zone for zone in ZONES if f"{zone} left" in names]
    prior: Prior = {}
    for count, weight in enumerate(_FINDINGS[len(zones) - 1], start=1):
        sided = [[(f"{zone} left", f"{zone} right") for zone in chosen] for chosen in combinations(zones, count)]
        choices = [tuple(sorted(map(names.index, choice))) for pairs in sided for choice in product(*pairs)]
        prior |= {choice: weight / len(choices) for choice in choices}
    return prior


def _chest_caption(names: Sequence[str]) -> str:
    return describe(Finding(side, zone) for zone, side in map(str.split, names))


def _nuclei_prior(names: Sequence[str]) -> Prior:
    quadrants = {(index,): (1 - _HALVES) / len(names) for index in range(len(names))}
    halves = {tuple(i for i, name in enumerate(names) if side in name): _HALVES / len(SIDES) for side in SIDES}
    return quadrants | halves


def _nuclei_caption(names: Sequence[str]) -> str:
    place = names[0] if len(names) == 1 else f"{names[0].split()[1]} half"
    return f"Segment the nuclei in the {place}."


def _step(distance: Floats, width: float) -> Floats:
    """A soft step from 0 to 1 at distance 0."""
    return 1 / (1 + np.exp(np.clip(-distance / width, -30, 30)))


def _noise(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """Smooth noise (size, size) of about zero mean and unit deviation, with `cells` grains from edge to edge."""
    grains = rng.standard_normal((cells, cells), dtype=np.float32)
    return 1.4 * np.asarray(Image.fromarray(grains).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def _blur(image: Floats, radius: float) -> Floats:
    """An image of 0 to 255, blurred by a radius in pixels."""
    blurred = Image.fromarray(image.astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred).astype(np.float32)


def _grid(size: int) -> tuple[Floats, Floats]:
    """Heights y and widths x (size, size) of the pixel centres, from 0 to 1."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.repeat(centres[:, None], size, axis=1), np.repeat(centres[None], size, axis=0)


def _draw_chest(rng: np.random.Generator, size: int) -> Drawing:
    """A frontal film (size, size, 3), the names of its opacities and labels: 1 + the index of the opacity."""
    u = rng.uniform
    y, x = _grid(size)
    angle, centre = u(-0.06, 0.06), u(0.46, 0.54)
    x, y = x - centre, y - 0.5
    x, y = x + angle * y + 0.008 * _noise(rng, size, 5), y - angle * x + 0.5 + 0.008 * _noise(rng, size, 5)

    top, base, width, medial = u(0.05, 0.13), u(0.70, 0.82), u(0.35, 0.42), u(0.055, 0.075)
    heart_size, spacing, slant = u(0.85, 1.2), u(0.075, 0.095), u(0.08, 0.16)
    rib, opacity, softness = u(0.04, 0.08), u(0.17, 0.26), u(0.15, 0.35)
    vessels = np.exp(-3 * np.abs(_noise(rng, size, 36))) + np.exp(-3 * np.abs(_noise(rng, size, 18))) - 0.7
    ragged = _noise(rng, size, 14)

    across = np.abs(x)
    torso = 0.13 + (width + 0.02) * _step(y - u(0.04, 0.1), 0.02) - u(0.05, 0.09) * _step(y - 0.38, 0.05)
    film = 0.52 * _step(torso - across, 0.012) + 0.06 * _step(y - base, 0.03)
    film += 0.13 * np.exp(-((x / 0.065) ** 2)) + (0.04 + 0.02 * np.cos(u(100, 130) * y)) * _step(0.035 - across, 0.006)
    film -= 0.07 * np.exp(-((x / 0.018) ** 2)) * _step(top + 0.18 - y, 0.02)  # trachea
    heart_x, heart_y = (x - 0.07 - 0.3 * (y - base)) / 0.14, (y - base + 0.1) / 0.15
    film += 0.12 * _step(heart_size**2 - heart_x**2 - heart_y**2, 0.12)
    film += 0.08 * _step(1 - ((x - 0.055) ** 2 + (y - top - 0.2) ** 2) / 0.04**2, 0.15)  # aortic knob

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
        lung = _step(np.minimum(np.minimum(lateral - inner, outer - lateral), dome - y), 0.005)
        hilum = np.exp(-((lateral - inner) ** 2 + (y - apex - 0.42 * height) ** 2) / 0.012)
        film += lung * ((0.03 + 0.08 * hilum) * vessels + 0.05 * depth - 0.33) + 0.07 * hilum
        cage = _step(np.minimum(outer + 0.025 - lateral, lateral - 0.03), 0.008) * _step(floor + 0.04 - y, 0.03)
        front, back = y + 2 * slant * lateral / reach, y - slant * (lateral / reach) ** 2
        film += rib * cage * _step(np.cos(2 * np.pi / spacing * back) - 0.35, 0.15)
        film += rib * cage * _step(np.cos(2 * np.pi / spacing * front) - 0.4, 0.2) / 2
        clavicle = y - apex - 0.09 + 0.18 * lateral - 0.02 * np.sin(12 * lateral)
        film += 0.10 * np.exp(-((clavicle / 0.014) ** 2)) * _step(lateral - 0.03, 0.01)
        for zone in zones:
            level, along = (zone + u(0.4, 0.6)) / len(ZONES), u(0.4, 0.65)
            row = int(np.argmin(np.abs(depth[:, size // 2] - level)))
            middle = (1 - along) * float(inner[row, size // 2]) + along * float(outer[row, size // 2])
            flank, rise = (lateral - middle) / u(0.06, 0.09), (depth - level) * height / u(0.055, 0.075)
            density = lung * _step(1 - flank**2 - rise**2 + 0.3 * ragged, softness)
            film += opacity * density * (1 + 0.15 * ragged)
            names.append(f"{ZONES[zone]} {side}")
            labels[(density > 0.5) & (labels == 0)] = len(names)
    return _expose(film, rng, size), names, labels


def _expose(film: Floats, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Exposure, blur, grain and collimation of a film, as uint8 (size, size, 3)."""
    film = (film + 0.03 * _noise(rng, size, 3)) * rng.uniform(0.95, 1.35) + rng.uniform(-0.03, 0.1)
    film = _blur(255 * np.clip(film, 0, 1) ** rng.uniform(0.7, 1.3), size * rng.uniform(0.001, 0.004))
    film += rng.uniform(1, 4) * rng.standard_normal((size, size), dtype=np.float32) + 3 * _noise(rng, size, size // 3)
    top, bottom, left, right = (rng.uniform(0, 0.05, 4) * (rng.random(4) < 0.2) * size).astype(int)
    film[:top], film[size - bottom :], film[:, :left], film[:, size - right :] = 0, 0, 0, 0
    return np.repeat(np.clip(film, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _draw_nuclei(rng: np.random.Generator, size: int) -> Drawing:
    """Stained tissue (size, size, 3), the names of its quadrants and labels: 1 + the quadrant of a nucleus' centre."""
    u = rng.uniform
    y, x = _grid(size)
    angle, waves, chromatin = u(0, np.pi), _noise(rng, size, 5), _noise(rng, size, 80)
    fibres = np.sin(u(40, 90) * (x * np.cos(angle) + y * np.sin(angle)) + 5 * waves)
    tissue = _step(_noise(rng, size, 6) + u(0.8, 2.0), 0.08)
    eosin = tissue * (u(0.15, 0.5) + 0.05 * fibres + 0.04 * _noise(rng, size, 24) + 0.03 * _noise(rng, size, 90))
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
            haematoxylin[window] = np.maximum(haematoxylin[window], density * _step(inside, 0.06))
            labels[window][inside > 0] = quadrant + 1
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]) * u(0.85, 1.15, (2, 3))  # absorbance in R, G and B
    absorbed = haematoxylin[..., None] * stains[0] + eosin[..., None] * stains[1]
    image = _blur((u(235, 250) + u(-4, 4, 3)) * np.exp(-np.clip(absorbed, 0, None)), size * u(0.001, 0.003))
    image += u(1, 4) * rng.standard_normal(image.shape, dtype=np.float32)
    names = [f"{row} {side}" for row, side in product(("upper", "lower"), SIDES)]
    return np.clip(image, 0, 255).astype(np.uint8), names, labels


_KINDS = {
    "chest": (_draw_chest, _chest_prior, _chest_caption),
    "nuclei": (_draw_nuclei, _nuclei_prior, _nuclei_caption),
}
KINDS = tuple(_KINDS)

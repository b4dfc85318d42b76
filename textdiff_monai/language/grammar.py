"""Sentences with what they mean, drawn from all parts of the grammar."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from textdiff_monai.language import chest, histology, lungs, structures
from textdiff_monai.language.meaning import ALL_FINDINGS, LUNG, NUCLEI, OPACITY, SIDES, ZONES, Finding, Meaning
from textdiff_monai.language.rules import capitalised, expand, pick, section

TARGETS = (OPACITY, LUNG, NUCLEI, *structures.read_targets())
_PARTS = (0.59, 0.08, 0.08, 0.25)  # of infected zones, lungs, nuclei and structures by name
_FOUND = (0.12, 0.35, 0.23, 0.13, 0.07, 0.04, 0.06)  # how often 0 to 6 zones hold a finding
_STYLES = dict(zip(chest.STYLES, (0.3, 0.1, 0.18, 0.18, 0.16, 0.04, 0.04), strict=True))
_FREE, _REST = 0.55, 0.4  # how often zones are said to be free, and of those cases, how often all that are left
_FIELD = 0.25  # how often all nuclei of a field are meant
_MISSPELT = 0.12


def draw(rng: np.random.Generator) -> tuple[str, Meaning]:
    """One caption or short report with what it means."""
    part = (_chest, _lungs, _histology, _structure)[int(rng.choice(len(_PARTS), p=_PARTS))]
    text, meaning = part(rng)
    return (misspelt(text, rng) if rng.random() < _MISSPELT else text), meaning


def sentences(seed: int) -> Iterator[str]:
    """Endless captions; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    while True:
        yield draw(rng)[0]


def draw_zones(rng: np.random.Generator) -> tuple[frozenset[Finding], frozenset[Finding]]:
    """Zones with a finding and zones that are said to be free, not both empty."""
    order = [ALL_FINDINGS[index] for index in rng.permutation(len(ALL_FINDINGS))]
    number = int(rng.choice(len(_FOUND), p=_FOUND))
    found, rest = order[:number], order[number:]
    if rng.random() < 0.12:  # one lung, with or without a zone of it
        side = pick(SIDES, rng)
        spared = int(rng.integers(4))
        found = [Finding(side, zone) for index, zone in enumerate(ZONES) if index != spared]
        rest = [Finding(side, ZONES[spared])] if spared < 3 else [finding.mirrored for finding in found]
        return frozenset(found), frozenset(rest if rng.random() < 0.8 else ())
    free: list[Finding] = []
    if rest and (not found or rng.random() < _FREE):
        free = rest if rng.random() < _REST else rest[: 1 + int(rng.integers(len(rest)))]
    return frozenset(found), frozenset(free)


def aside(rng: np.random.Generator) -> str:
    """A statement that names no infected area."""
    return expand(section("asides"), "aside", rng, **chest.sided(pick(SIDES, rng)))


def misspelt(text: str, rng: np.random.Generator) -> str:
    """With two neighbouring letters swapped, one doubled, or one left out, in one place."""
    if len(text) < 2:
        return text
    at, slip = int(rng.integers(len(text) - 1)), int(rng.integers(3))
    first, second = text[at], text[at + 1]
    return text[:at] + (second + first, 2 * first + second, second)[slip] + text[at + 2 :]


def _chest(rng: np.random.Generator) -> tuple[str, Meaning]:
    found, free = draw_zones(rng)
    style = str(rng.choice(list(_STYLES), p=list(_STYLES.values())))
    rules, count = chest.trained(style), 0
    if found and not free and rng.random() < 0.12:
        told, count = [chest.describe(found)], len(found)
    elif found and "counted" in rules and rng.random() < 0.15:
        told, count = [chest.sentence("counted", found, rules, rng)], len(found)
        told += [chest.say((), free, rules, rng)] if free else []
    elif len(found) > 1 and rng.random() < 0.25:
        order = [sorted(found)[index] for index in rng.permutation(len(found))]
        cut = int(rng.integers(1, len(order)))
        told = [chest.say(order[:cut], (), rules, rng), chest.say(order[cut:], free, rules, rng)]
    else:
        told = [chest.say(found, free, rules, rng)]
    if found and rng.random() < 0.1:  # the same again in another style
        told.append(chest.say(found, (), chest.trained(pick(chest.STYLES[:5], rng)), rng))
    told += [aside(rng) for _ in range(max(0, int(rng.integers(-3, 4))))]
    text = " ".join(capitalised(told[index]) for index in rng.permutation(len(told)))
    return text, Meaning(OPACITY, found, free, present=bool(found), count=count)


def _lungs(rng: np.random.Generator) -> tuple[str, Meaning]:
    meaning = Meaning(LUNG, side=pick((*SIDES, "both"), rng))
    told = [lungs.say(meaning, rng)] + [aside(rng) for _ in range(max(0, int(rng.integers(-5, 3))))]
    return " ".join(capitalised(told[index]) for index in rng.permutation(len(told))), meaning


def _histology(rng: np.random.Generator) -> tuple[str, Meaning]:
    side, level = pick(("left", "right", ""), rng), pick(("upper", "lower", ""), rng)
    if rng.random() < _FIELD:
        side = level = ""
    elif not side and not level:
        level = "middle"
    meaning = Meaning(NUCLEI, side=side, level=level)
    return histology.say(meaning, rng), meaning


def _structure(rng: np.random.Generator) -> tuple[str, Meaning]:
    target = TARGETS[3 + int(rng.integers(len(TARGETS) - 3))]
    side = level = ""
    if rng.random() < 0.35:
        side, level = pick(("left", "right", ""), rng), pick(("upper", "lower", ""), rng)
        level = level or ("" if side else "middle")
    present = rng.random() > 0.12
    meaning = Meaning(target, side=side if present else "", level=level if present else "", present=present)
    return capitalised(structures.say(meaning, rng)), meaning

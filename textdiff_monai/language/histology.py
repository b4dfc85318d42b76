"""Sentences about the nuclei of a stained section: which of them are asked for, or where they crowd."""

from __future__ import annotations

import numpy as np

from textdiff_monai.language.meaning import NUCLEI, Meaning
from textdiff_monai.language.rules import Rules, capitalised, expand, pick, section

_OPPOSITE = {"left": "right", "right": "left", "upper": "lower", "lower": "upper", "middle": "", "": ""}


def place(side: str, level: str, rules: Rules, rng: np.random.Generator) -> str:
    """A name of a quadrant, a half, the centre, or, without side and level, the field."""
    if level == "middle":
        return expand(rules, "centre", rng)
    row = expand(rules, level, rng) if level else ""
    if side and level:
        return expand(rules, "quadrant", rng, side=side, row=row)
    return expand(rules, "half", rng, side=side) if side else expand(rules, "level", rng, row=row)


def say(meaning: Meaning, rng: np.random.Generator, rules: Rules | None = None) -> str:
    """A caption or short report with this meaning, its statements without contradiction."""
    rules = rules or section("histology")
    if meaning.target != NUCLEI:
        raise ValueError(f"target {meaning.target!r}: expected {NUCLEI!r}")
    if not meaning.side and not meaning.level:
        told = [expand(rules, "overall", rng)]
    else:
        near = place(meaning.side, meaning.level, rules, rng)
        if meaning.level == "middle":
            far = pick(("corners", "periphery", "edges"), rng)
        else:
            far = place(_OPPOSITE[meaning.side], _OPPOSITE[meaning.level], rules, rng)
        wanted = ["target"] if rng.random() < 0.7 else ["crowded"]
        extra = list(rng.permutation(["crowded", "empty", "target"])[: max(0, int(rng.integers(-3, 3)))])
        told = [expand(rules, rule, rng, place=near, far=far) for rule in wanted + extra]
    told += [expand(rules, "aside", rng) for _ in range(max(0, int(rng.integers(-3, 3))))]
    return " ".join(capitalised(told[index]) for index in rng.permutation(len(told)))

"""Sentences that ask for one lung field or both."""

from __future__ import annotations

import numpy as np

from textdiff_monai.language.chest import sided
from textdiff_monai.language.meaning import LUNG, SIDES, Meaning
from textdiff_monai.language.rules import Rules, capitalised, expand, pick, section


def say(meaning: Meaning, rng: np.random.Generator, rules: Rules | None = None) -> str:
    """A sentence with this meaning, whose side is "left", "right" or "both"."""
    rules = rules or section("lungs")
    if meaning.target != LUNG or meaning.side not in (*SIDES, "both"):
        raise ValueError(f"{meaning}: expected the left lung, the right one, or both")
    if meaning.side == "both":
        near = sided(pick(SIDES, rng))
        rule = "larger" if "larger" in rules and rng.random() < 0.15 else "frame"
        return capitalised(expand(rules, rule, rng, **near, lung=expand(rules, "both", rng, **near)))
    near = sided(meaning.side)
    lung, free = (expand(rules, "left", rng, **words) for words in (near, sided(near["other"])))
    rule = "contrast" if rng.random() < 0.25 else "frame"
    return capitalised(expand(rules, rule, rng, **near, lung=lung, free=free))

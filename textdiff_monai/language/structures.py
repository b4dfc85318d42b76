"""Sentences that ask for a structure or a lesion by one of its names, with or without a place in the image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from textdiff_monai.language.meaning import Meaning
from textdiff_monai.language.rules import Rules, expand, pick, section


@dataclass(frozen=True)
class Target:
    """A structure or lesion: the kinds of image it is seen in, its names, and names that no training reads."""

    name: str
    images: tuple[str, ...]
    names: tuple[str, ...]
    kept_back: tuple[str, ...]


@cache
def read_targets() -> dict[str, Target]:
    """All targets of ``rules/targets.txt`` by name."""
    images: tuple[str, ...] = ()
    targets = {}
    for line in (files(__package__) / "rules" / "targets.txt").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[(.+)\]", line):
            images = _parted(heading[1])
        elif line and not line.startswith("#"):
            name, _, names = line.partition(":")
            known, _, kept_back = names.partition("||")
            targets[name] = Target(name, images, _parted(known), _parted(kept_back))
    return targets


def _parted(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|") if part.strip())


def say(meaning: Meaning, rng: np.random.Generator, names: tuple[str, ...] = (), rules: Rules | None = None) -> str:
    """A sentence with this meaning; `names` to choose from, default those of the target that are trained."""
    rules = rules or section("structures")
    target = read_targets()[meaning.target]
    kind, name = pick(target.images, rng), pick(names or target.names, rng)
    at = _at(meaning, rules, rng)
    if (
        meaning.side in ("left", "right")
        and not meaning.level
        and not re.match("left|right", name)
        and rng.random() < 0.3
    ):
        name, at = f"{meaning.side} {name}", ""
    rule = "denial" if not meaning.present else "frame" if at or rng.random() > 0.15 else "contrast"
    options = [option for option in rules[rule] if ("at}" in option or not at) and (at or "mostly" not in option)]
    others = [other for other in read_targets().values() if other.images == target.images and other is not target]
    other = pick((others[int(rng.integers(len(others)))] if others else target).names, rng)
    article = "an" if kind[0] in "aeiouMOH" else "a"
    within = pick((f" in {article} {kind}", f" on {kind}", f", {kind}", "", "", ""), rng)
    bound = {"target": name, "other": other, "kind": kind, "at": at and f" {at}", "in": within, "short_at": at or kind}
    text = expand(
        {**rules, rule: options}, rule, rng, **bound, n=pick(("one", "two", "three", "many", "some", "multiple"), rng)
    )
    if meaning.present and (meaning.target.startswith("breast") or rng.random() < 0.1):
        told = [pick(rules["descriptors"], rng) for _ in range(int(rng.integers(1, 6)))]
        text = f"{text.rstrip('.')}: {', '.join(told)}."
    return text


def _at(meaning: Meaning, rules: Rules, rng: np.random.Generator) -> str:
    if meaning.side and meaning.level:
        row = expand(rules, "top" if meaning.level == "upper" else "bottom", rng)
        return expand(rules, "place_corner", rng, row=row, side=meaning.side)
    name = "centre" if meaning.level == "middle" else meaning.level or meaning.side
    return expand(rules, f"place_{name}", rng) if name else ""

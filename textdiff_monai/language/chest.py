"""Sentences about the infected zones of a chest film. Sides are the patient's, whose left is the image's right."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np

from textdiff_monai.language.meaning import ALL_FINDINGS, SIDES, ZONES, Finding
from textdiff_monai.language.rules import Rules, capitalised, expand, listed, pick, section

COUNTS = ("no", "one", "two", "three", "four", "five", "six")
STYLES = ("report", "telegram", "abbreviations", "lay", "request", "german", "french")
_CONTRAST = 0.65  # how often one sentence says what holds a finding and what does not
_SIDED = {
    "left": {"other": "right", "S": "L", "s": "lt", "latin": "sinister"}
    | {"de": "links", "dea": "linke", "fr": "gauche", "fra": "gauche"},
    "right": {"other": "left", "S": "R", "s": "rt", "latin": "dexter"}
    | {"de": "rechts", "dea": "rechte", "fr": "droit", "fra": "droite"},
}
_GERMAN = ("kein", "ein", "zwei", "drei", "vier", "fünf", "sechs")
_FRENCH = ("aucun", "un", "deux", "trois", "quatre", "cinq", "six")


class Place(NamedTuple):
    """A place as a noun ("the left base") and with its preposition ("at the left base")."""

    noun: str
    where: str


def sided(side: str) -> dict[str, str]:
    """The words that rules may use of a side."""
    return {"side": side, **_SIDED[side]}


def trained(style: str) -> Rules:
    """The rules of one of ``STYLES``; styles in English share the names of places."""
    return section("chest", style) if style in ("german", "french") else section("chest", style, "report")


def areas(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """The zones of each affected side, both in the order in which captions name them."""
    found = set(findings)
    zones = {side: [zone for zone in ZONES if Finding(side, zone) in found] for side in SIDES}
    return {side: named for side, named in zones.items() if named}


def describe(findings: Iterable[Finding], rng: np.random.Generator | None = None) -> str:
    """The caption that names exactly these infected zones.

    Without `rng` it has the form of the QaTa-COV19 captions, one wording for each set of findings; with `rng` it is
    one of many free wordings in English. The order of `findings` does not matter; none gives a caption that says so.
    """
    found = frozenset(findings)
    if rng is not None:
        return capitalised(say(found, frozenset(), trained("report"), rng))
    if not found:
        return "No pulmonary infection."
    named = areas(found)
    where = " and ".join(f"{' '.join(zones)} {side} lung" for side, zones in named.items())
    laterality = ("Unilateral", "Bilateral")[len(named) - 1]
    return f"{laterality} pulmonary infection, {COUNTS[len(found)]} infected area{_s(len(found))}, {where}."


def say(found: Collection[Finding], free: Collection[Finding], rules: Rules, rng: np.random.Generator) -> str:
    """One sentence, or two, that say that these zones hold a finding and those none."""
    if not found and not free:
        return expand(rules, "none", rng)
    if not found:
        whole = len(free) == len(ALL_FINDINGS) and rng.random() < 0.6
        return expand(rules, "none", rng) if whole else sentence("clear", free, rules, rng)
    if free and "contrast" in rules and rng.random() < _CONTRAST:
        return contrast(found, free, rules, rng)
    told = [sentence("frame", found, rules, rng)] + ([sentence("clear", free, rules, rng)] if free else [])
    return " ".join(capitalised(told[index]) for index in rng.permutation(len(told)))


def sentence(rule: str, zones: Collection[Finding], rules: Rules, rng: np.random.Generator) -> str:
    """A rule's sentence about some zones: ``frame`` and ``counted`` find something there, ``clear`` does not."""
    return expand(rules, rule, rng, **_bound(zones, rules, rng))


def contrast(found: Collection[Finding], free: Collection[Finding], rules: Rules, rng: np.random.Generator) -> str:
    """One sentence that finds something in some zones and not in others."""
    one_lung = {finding.side for finding in (*found, *free)}
    name = "except" if "except" in rules and len(one_lung) == 1 and len(found) + len(free) == 3 else "contrast"
    spared = {f"{key}_free": word for key, word in _bound(free, rules, rng).items()}
    return expand(rules, name if rng.random() < 0.6 else "contrast", rng, **_bound(found, rules, rng), **spared)


def _bound(findings: Collection[Finding], rules: Rules, rng: np.random.Generator) -> dict[str, str]:
    """What sentence rules may name: the places, their number and the forms of verbs that agree."""
    places, number = _places(findings, rules, rng), len(findings)
    conjunction = expand(rules, "and", rng)
    many = (
        len(places) > 1 or places[0].noun.startswith(("both", "the two", "b/l", "bilat")) or places[0].noun[-1] == "s"
    )
    ordered = [f"{finding.zone} {finding.side}" for finding in sorted(findings)]
    return {
        **sided(min(findings).side),
        "places": listed([place.noun for place in places], conjunction),
        "where": listed([place.where for place in places], conjunction),
        "listed": listed(ordered),
        "be": "are" if many else "is",
        "verb_s": "" if many else "s",
        "n": pick((COUNTS[number], str(number)), rng),
        "n_de": _GERMAN[number],
        "n_fr": _FRENCH[number],
        "s": _s(number),
        "es": "i" if number > 1 else "us",
        "be_n": "are" if number > 1 else "is",
        "laterality": ("unilateral", "bilateral")[len({finding.side for finding in findings}) - 1],
    }


def _places(findings: Collection[Finding], rules: Rules, rng: np.random.Generator) -> list[Place]:
    """The zones named one by one, or together where they make up a lung, a pair or a level."""
    left = set(findings)
    places = []

    def take(name: str, zones: Iterable[Finding], **bound: str) -> None:
        places.append(_place(name, rules, rng, **bound))
        left.difference_update(zones)

    if len(left) == len(ALL_FINDINGS) and "both" in rules and rng.random() < 0.7:
        take("both", ALL_FINDINGS)
    for side in rng.permutation(SIDES):
        zones = {Finding(side, zone) for zone in ZONES}
        if zones <= left and "whole" in rules and rng.random() < 0.7:
            take("whole", zones, **sided(side))
    for zone in rng.permutation(ZONES):
        pair = {Finding(side, zone) for side in SIDES}
        if pair <= left and f"both_{zone}" in rules and rng.random() < 0.5:
            take(f"both_{zone}", pair)
    for side in rng.permutation(SIDES):
        both = [zone for zone in ZONES if Finding(side, zone) in left]
        if len(both) == 2 and "pair" in rules and rng.random() < 0.5:
            a, b = both if rng.random() < 0.7 else both[::-1]
            take("pair", [Finding(side, zone) for zone in both], a=a, b=b, **sided(side))
    rest = sorted(left)
    for index in rng.permutation(len(rest)) if rng.random() < 0.5 else range(len(rest)):
        take(rest[index].zone, [], **sided(rest[index].side))
    return places


def _place(name: str, rules: Rules, rng: np.random.Generator, **bound: str) -> Place:
    noun = expand(rules, name, rng, **bound) if name in rules else ""
    bare = not noun.startswith(("the", "both"))
    where = expand(rules, f"{name}_at", rng, **{name: noun} | bound) if f"{name}_at" in rules else f"in {noun}"
    return Place(noun, noun if bare and f"{name}_at" not in rules and rng.random() < 0.3 else where)


def _s(number: int) -> str:
    return "s" if number > 1 else ""

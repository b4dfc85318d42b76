"""A small generative grammar of the sentences clinicians write about chest X-rays and histology fields.

Sides are always the patient's: in a frontal film the patient's left lies on the right of the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from textdiff_monai.phantoms.rules import RULES

SIDES = ("left", "right")
ZONES = ("upper", "middle", "lower")
COUNTS = ("no", "one", "two", "three", "four", "five", "six")
_MIRROR = {"left": "right", "right": "left"}
_ALIAS = {"upper": "apex", "middle": "mid zone", "lower": "base"}
_OPPOSITE = {**_MIRROR, "upper": "lower", "lower": "upper", "top": "bottom", "bottom": "top", "centre": "corners"}


@dataclass(frozen=True, order=True)
class Finding:
    """One infected area: a third (`zone`) of the height of one lung (`side`, the patient's)."""

    side: str
    zone: str

    def __post_init__(self) -> None:
        if self.side not in SIDES or self.zone not in ZONES:
            raise ValueError(f"side must be one of {SIDES} and zone one of {ZONES}, got {self.side!r}, {self.zone!r}")

    @property
    def mirrored(self) -> Finding:
        """The same zone of the other lung."""
        return Finding(_MIRROR[self.side], self.zone)


ALL_FINDINGS = tuple(Finding(side, zone) for side in SIDES for zone in ZONES)


class _Words(dict[str, str]):
    """Looks a name up among the bound words and otherwise expands the rule of that name at random."""

    def __init__(self, rng: np.random.Generator, bound: dict[str, str]) -> None:
        super().__init__(bound)
        self.rng = rng

    def __missing__(self, name: str) -> str:
        return _pick(RULES[name], self.rng).format_map(self)


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _say(rule: str, rng: np.random.Generator, **bound: str) -> str:
    return _Words(rng, bound)[rule]


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def _place(finding: Finding, rng: np.random.Generator) -> str:
    return "the " + _say("zone_of", rng, side=finding.side, zone=finding.zone, alias=_ALIAS[finding.zone])


def _areas(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """The zones of each affected side, both in the order in which captions name them."""
    found = set(findings)
    zones = {side: [zone for zone in ZONES if Finding(side, zone) in found] for side in SIDES}
    return {side: named for side, named in zones.items() if named}


def describe(findings: Iterable[Finding], rng: np.random.Generator | None = None) -> str:
    """The caption that names exactly these infected zones.

    Without `rng` it has the form of the QaTa-COV19 captions, one wording for each set of findings; with `rng` it is
    one of several free wordings. The order of `findings` does not matter; none at all gives a caption that says so.
    """
    areas = _areas(findings)
    found = [Finding(side, zone) for side, zones in areas.items() for zone in zones]
    count, plural, verb = COUNTS[len(found)], *(("s", "are") if len(found) > 1 else ("", "is"))
    if not found:
        return "No pulmonary infection." if rng is None else _capitalised(_say("normal", rng))
    if rng is None:
        where = " and ".join(f"{' '.join(zones)} {side} lung" for side, zones in areas.items())
        laterality = ("Unilateral", "Bilateral")[len(areas) - 1]
        return f"{laterality} pulmonary infection, {count} infected area{plural}, {where}."
    places = _listed([_place(found[index], rng) for index in rng.permutation(len(found))])
    lungs = [f"the {_listed(zones)} zone{'s' * (len(zones) > 1)} of the {side} lung" for side, zones in areas.items()]
    forms = (
        f"{_say('finding', rng)} in {places}.",
        f"{_say('lesion', rng)} {_say('seen', rng)} in {_listed(lungs)}.",
        f"there {verb} {count} infected zone{plural}: {places}.",
        f"{count} area{plural} of {_say('lesion', rng)}, in {_listed(lungs)}.",
        f"{_listed([f'the {finding.zone} {finding.side} lung' for finding in found])} {verb} affected.",
    )
    return _capitalised(_pick(forms, rng))


def _remark(findings: set[Finding], rng: np.random.Generator) -> str:
    """A sentence about the lungs that follows from the findings without naming them all."""
    if not findings:
        return _say("normal", rng)
    areas = _areas(findings)
    clear = [finding for finding in ALL_FINDINGS if finding not in findings]
    if clear and rng.random() < 0.5:
        place = _place(clear[rng.integers(len(clear))], rng)
        return _say("spared", rng, zone_of=place.removeprefix("the "))
    side, other = sorted(SIDES, key=lambda side: len(areas.get(side, ())), reverse=True)
    if len(areas) == 1:
        return _say("one_sided", rng, side=side, other=other)
    return _say("equal" if len(areas[side]) == len(areas[other]) else "unequal", rng, side=side, other=other)


def _aside(rng: np.random.Generator) -> str:
    """A statement that names no infected area."""
    side, zone = _pick(SIDES, rng), _pick(ZONES, rng)
    return _say("aside", rng, side=side, other=_MIRROR[side], zone=zone, alias=_ALIAS[zone])


def _chest(rng: np.random.Generator) -> str:
    """A caption or report of one film. All that it says of the infection agrees, which teaches what the words mean."""
    chosen = rng.choice(len(ALL_FINDINGS), size=rng.integers(len(ALL_FINDINGS) + 1), replace=False)
    findings = {ALL_FINDINGS[index] for index in chosen}
    told = [describe(findings, rng if rng.random() < 0.6 else None)]
    told += [describe(findings, rng)] if rng.random() < 0.5 else []
    told += [_remark(findings, rng) for _ in range(int(rng.integers(3)))]
    told += [_aside(rng) for _ in range(int(rng.integers(-2, 3)))]
    return " ".join(_capitalised(told[index]) for index in rng.permutation(len(told)))


def _histology(rng: np.random.Generator) -> str:
    """A caption or report of one field of stained nuclei, again without contradictions."""
    row, column, end = _pick(("upper", "lower"), rng), _pick(SIDES, rng), _pick(("top", "bottom", "centre"), rng)
    place = _pick((f"{row} {column}", f"{row} {column} quadrant", row, column, f"{column} half", end), rng)
    far = " ".join(_OPPOSITE.get(word, word) for word in place.split())
    rules = rng.permutation(["crowded", "crowded", "empty", "target"])[: rng.integers(4)]
    told = [_say(rule, rng, place=place, far=far) for rule in rules]
    told += [_say("overall", rng)] if not told or rng.random() < 0.2 else []
    told += [_say("cells", rng) for _ in range(int(rng.integers(-2, 3)))]
    return " ".join(map(_capitalised, told))


def sentences(seed: int) -> Iterator[str]:
    """Endless clinical text, one caption or short report of one to about seven sentences at a time.

    About two thirds are of chest X-rays and a third of histology; the same seed gives the same texts.
    """
    rng = np.random.default_rng(seed)
    while True:
        yield _chest(rng) if rng.random() < 2 / 3 else _histology(rng)

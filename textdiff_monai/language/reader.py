"""Captions whose meaning is certain, because the whole of them is known: what may be said in other words."""

from __future__ import annotations

import re
from functools import cache

from textdiff_monai.language.meaning import ALL_FINDINGS, LUNG, NUCLEI, OPACITY, ZONES, Finding, Meaning
from textdiff_monai.language.rules import section
from textdiff_monai.language.structures import read_targets

_ZONES = r"((?:upper |middle |lower )+|all )(left|right) lung"
_CHEST = re.compile(
    r"(?:(?:unilateral|bilateral) pulmonary infection, )?(?:(?:\w+) infected areas?, )?"
    rf"({_ZONES}(?: and {_ZONES})?)"
)
_PLACE = r"(?P<level>upper|lower|top|bottom)?[ -]?(?P<side>left|right)?(?P<middle>cent(?:re|er)|middle)?"
_PLACE += r"(?: half| quadrant| corner| part| side)?(?: of the (?:image|field))?"
_NUCLEI = (
    rf"(?:ASK )?(?:the |all )*nuclei(?: in the {_PLACE})?",
    rf"the nuclei density in the {_PLACE} is high(?:er|est)?",
    r"the nuclei are \w+ distributed",
    r"the nuclei density is (?:high|low)",
)
_LUNGS = r"(?:ASK )?(?:the |only )*(?:(left|right) lung|(?:both |two )*lungs)(?: fields?)?"


def read(text: str) -> Meaning | None:
    """What a caption says, or None where any of its words is not understood.

    Understood are captions like QaTa-COV19's and MoNuSeg's and those of phantoms; requests for one lung or both; and
    targets by name, with the kind of image or without: "The left atrium in a cardiac magnetic resonance slice."
    """
    words = " ".join(text.lower().split()).rstrip(" .")
    if words == "no pulmonary infection":
        return Meaning(OPACITY, free=frozenset(ALL_FINDINGS), present=False)
    if found := _CHEST.fullmatch(words):
        return Meaning(OPACITY, frozenset(_findings(found[1])))
    if found := _pattern(_LUNGS).fullmatch(words):
        return Meaning(LUNG, side=found[1] or "both")
    for pattern in _NUCLEI:
        if found := _pattern(pattern).fullmatch(words):
            side, level = _place(found.groupdict())
            return Meaning(NUCLEI, side=side, level=level)
    if found := _structures().fullmatch(words):
        return Meaning(_named()[found["name"]])
    return None


def target_of(text: str) -> str:
    """The target that a text asks for: what :func:`read` says or, in free words, the one that is named first; or ""."""
    if (meaning := read(text)) is not None:
        return meaning.target
    found = (pattern.search(text) for pattern in _mentions())
    first = min((each for each in found if each), key=lambda each: (each.start(), -len(each[0])), default=None)
    if first is None:
        return ""
    return (_named() | _OTHERS)[first[0].lower()]


def _findings(places: str) -> list[Finding]:
    return [
        Finding(side, zone)
        for zones, side in re.findall(_ZONES, places)
        for zone in ZONES
        if zone in zones or "all" in zones
    ]


def _place(groups: dict[str, str | None]) -> tuple[str, str]:
    level = {"top": "upper", "bottom": "lower"}.get(groups.get("level") or "", groups.get("level") or "")
    return groups.get("side") or "", "middle" if groups.get("middle") else level


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    asks = "|".join(re.escape(ask) for ask in section("common")["ask"])
    return re.compile(pattern.replace("ASK", f"(?:{asks})"))


@cache
def _mentions() -> list[re.Pattern[str]]:
    """Names as whole words; abbreviations as they are written, or "he" would bleed."""
    names = {name for target in read_targets().values() for name in (*target.names, *target.kept_back)}
    names = {name for name in names if name.lower() in _named()} | set(_OTHERS)
    short = [name for name in names if len(name) <= 3 or name.isupper()]
    plain = [name for name in names if name not in short]
    return [
        re.compile(rf"(?<!\w)(?:{'|'.join(sorted(map(re.escape, some), key=len, reverse=True))})(?!\w)", flags)
        for some, flags in ((short, re.NOFLAG), (plain, re.IGNORECASE))
    ]


# Named without saying which: a name that :func:`read` does not take for a whole meaning.
_OTHERS = {"lung": LUNG, "lungs": LUNG, "nuclei": NUCLEI, "nucleus": NUCLEI, "opacity": OPACITY, "opacities": OPACITY}


@cache
def _named() -> dict[str, str]:
    """Targets by all of their names, but for those that several share."""
    names: dict[str, set[str]] = {}
    for target in read_targets().values():
        for name in (*target.names, *target.kept_back):
            names.setdefault(name.lower(), set()).add(target.name)
    return {name: targets.pop() for name, targets in names.items() if len(targets) == 1}


@cache
def _structures() -> re.Pattern[str]:
    kinds = {kind.lower() for target in read_targets().values() for kind in target.images}
    either = ("|".join(sorted(map(re.escape, options), key=len, reverse=True)) for options in (_named(), kinds))
    names, images = either
    return _pattern(rf"(?:ASK )?(?:the |all )*(?P<name>{names})(?:(?: in| on) (?:an? |the )?(?:{images}))?")

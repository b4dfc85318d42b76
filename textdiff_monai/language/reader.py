"""Captions whose meaning is certain, because the whole of them is known: what may be said in other words."""

from __future__ import annotations

import re
from functools import cache

from textdiff_monai.language.meaning import ALL_FINDINGS, LUNG, NUCLEI, OPACITY, SIDES, ZONES, Finding, Meaning
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
# What stands before, or after, a name that is not asked for. A denial reaches over the commas of a list.
_ASIDE = re.compile(
    r"\b(?:not|ignor\w+|skip|leave out|rather than|instead of|except|exclud\w+|spar(?:es|ing))\b"
    r"(?:(?!\b(?:but|only|while|however)\b)[^.,;:!?\n])*$",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:no(?! change)|without|neither|absence of|free of)\b(?:(?!\b(?:but|only|while|however)\b)[^.;:!?\n])*$",
    re.IGNORECASE,
)
_NORMAL = re.compile(r"[^.,;:!?\n]*\b(?:normal|clear|unremarkable|absent|negative)\b", re.IGNORECASE)
# A projection of the chest, which has the letters of an artery.
_VIEW = re.compile(
    r"\b(?i:erect|supine|single|CXR|x-?ray|radiograph|film)\W+PA\b"
    r"|\bPA(?=\W+(?i:and lateral|view|chest|film|projection|radiograph|image|x-?ray|CXR)\b)"
)


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
    """The target that a text asks for: what :func:`read` says or, in free words, the one that is named first; or "".

    What is set aside ("not the optic disc") is not asked for, and what is denied ("no effusion", "the heart is normal")
    only if the text names nothing else.
    """
    if (meaning := read(text)) is not None:
        return meaning.target
    return "" if (mention := _asked(text)) is None else _target(mention)


def name_of(text: str) -> str:
    """The target that a text asks for, with the side that stands before its name: "left lung"; or ""."""
    if (meaning := read(text)) is not None:
        return f"{meaning.side} {LUNG}" if meaning.target == LUNG and meaning.side in SIDES else meaning.target
    if (mention := _asked(text)) is None:
        return ""
    side = re.search(r"\b(left|right)\s+$", text[: mention.start()], re.IGNORECASE)
    return f"{side[1].lower()} {_target(mention)}" if side else _target(mention)


def _asked(text: str) -> re.Match[str] | None:
    """Where the target is named that :func:`target_of` finds in free words."""
    text = _VIEW.sub(lambda found: found[0].lower(), text)
    said = zip(_mentions(), (text, text.lower()), strict=True)
    found = sorted((each for pattern, told in said for each in pattern.finditer(told)), key=_place_of)
    named = [each for each in found if not _ASIDE.search(text[: each.start()])]
    asked = [
        each for each in named if not _DENIED.search(text[: each.start()]) and not _NORMAL.match(text[each.end() :])
    ]
    return next(iter(asked or named), None)


def _target(mention: re.Match[str]) -> str:
    return (_named() | _OTHERS)[mention[0].lower()]


def _place_of(mention: re.Match[str]) -> tuple[int, int]:
    return mention.start(), -len(mention[0])


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
    """Names as whole words: abbreviations as they are written, or "he" would bleed; and others, in lower case."""
    names = {name for target in read_targets().values() for name in (*target.names, *target.kept_back)}
    names = {name for name in names if name.lower() in _named()} | set(_OTHERS)
    short = {name for name in names if name.isupper() or (len(name) <= 3 and not name.islower())}
    return [
        re.compile(rf"(?<!\w)(?:{'|'.join(sorted(map(re.escape, some), key=len, reverse=True))})(?!\w)")
        for some in (short, {name.lower() for name in names - short})
    ]


# Named without saying which: a name that :func:`read` does not take for a whole meaning.
_OTHERS = {"lung": LUNG, "lungs": LUNG, "nuclei": NUCLEI, "nucleus": NUCLEI, "opacity": OPACITY, "opacities": OPACITY}
_OTHERS |= dict.fromkeys(("consolidation", "consolidations", "pneumonia", "ggo", "ggos", "ground-glass"), OPACITY)


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

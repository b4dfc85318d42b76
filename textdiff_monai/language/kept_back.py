"""Wordings that no training reads, by kind: what measures whether other words for the same are understood."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from textdiff_monai.language import chest
from textdiff_monai.language.meaning import ALL_FINDINGS, LUNG, NUCLEI, OPACITY, SIDES, Finding, Meaning
from textdiff_monai.language.reader import read
from textdiff_monai.language.rules import capitalised, expand, parse_sections, pick, read_sections
from textdiff_monai.language.structures import read_targets

Sections = Mapping[str, Mapping[str, Sequence[str]]]
_TARGET = "target "  # begins the sections that ask for targets by name


def sections_of(path: str | Path | None = None) -> Sections:
    """The kinds of wordings that ship, in the sections of ``rules/kept_back.txt``, or those of another such file."""
    return read_sections("kept_back") if path is None else parse_sections(Path(path).read_text(encoding="utf-8"))


def kinds(sections: Sections | None = None) -> list[str]:
    """The kinds that reword captions of infected zones."""
    return [name for name in sections or sections_of() if name != "phrases" and not name.startswith(_TARGET)]


def every_kind(sections: Sections | None = None) -> list[str]:
    """The kinds of captions of all sorts."""
    names = (name.removeprefix(_TARGET) for name in sections or sections_of() if name != "phrases")
    return list(dict.fromkeys(names))


def reword(
    kind: str, meaning: Meaning, text: str, rng: np.random.Generator, sections: Sections | None = None
) -> tuple[str, bool] | None:
    """A caption in the words of a kind.

    Args:
        kind: one of :func:`every_kind`.
        meaning: what the caption says.
        text: the caption, whose name of the target is kept but for the kind ``names``.
        rng: of the choice.
        sections: other kinds than those that ship.

    Returns:
        The text, and whether the target is still there; None for a kind that such a caption does not have.
    """
    sections = sections or sections_of()
    if meaning.target == OPACITY:
        if kind not in sections or not meaning.found:
            return None
        said, found = say(kind, meaning.found, rng, sections)
        return said, bool(found)
    own = sections.get(_TARGET + kind)
    names = own and _names(own, meaning, text, rng, sections)
    if not own or not names:
        return None
    told = [expand(own, "frame", rng, target=names[0], other=names[1])]
    before, after = ([expand(own, name, rng)] if name in own else [] for name in ("before", "after"))
    return " ".join(map(capitalised, [*before, *told, *after])), True


def worded_otherwise(text: str, rng: np.random.Generator, sections: Sections | None = None) -> str | None:
    """A caption in the words of one of the kinds that leave its target where it is, drawn at random.

    None for one that is not understood, or says of everything that it is not there.
    """
    meaning, sections = read(text), sections or sections_of()
    if meaning is None:
        return None
    told = [reword(kind, meaning, text, rng, sections) for kind in every_kind(sections)]
    same = [one[0] for one in told if one is not None and one[1]]
    return pick(same, rng) if same else None


def _names(
    own: Mapping[str, Sequence[str]], meaning: Meaning, text: str, rng: np.random.Generator, sections: Sections
) -> tuple[str, str] | None:
    """A name of what is asked for and of what is not."""
    rules = {**read_sections("kept_back")["phrases"], **sections.get("phrases", {}), **own}
    if "kept_name" in own:
        target = read_targets().get(meaning.target)
        return (pick(target.kept_back, rng), "") if target and target.kept_back else None
    if meaning.target == NUCLEI:
        place = " ".join(filter(None, ["centre" if meaning.level == "middle" else meaning.level, meaning.side]))
        told = expand(rules, "nuclei_part" if place else "nuclei_all", rng, place=place)
        return None if "{other}" in " ".join(own["frame"]) else (told, "")
    if meaning.target != LUNG:
        others = [one for one in read_targets().values() if one.images == read_targets()[meaning.target].images]
        other = pick([one.names[0] for one in others if one.name != meaning.target] or ["anything else"], rng)
        named = [name for name in read_targets()[meaning.target].names if name.lower() in text.lower()]
        return f"the {max(named, key=len, default=meaning.target)}", f"the {other}"
    if meaning.side == "both":
        told = expand(rules, "lung_both", rng, **_lung("left"))
        return (told, "") if told else None
    other = SIDES[1 - SIDES.index(meaning.side)]
    return expand(rules, "lung_left", rng, **_lung(meaning.side)), expand(rules, "lung_left", rng, **_lung(other))


def _lung(side: str) -> dict[str, str]:
    return {**chest.sided(side), "O": "R" if side == "left" else "L"}


def say(
    kind: str, found: Collection[Finding], rng: np.random.Generator, sections: Sections | None = None
) -> tuple[str, frozenset[Finding]]:
    """One text of a kind about a chest film, and the zones that it says hold a finding: those given, or none.

    A kind with its own rule ``contrast`` or ``clear`` says of some other zones that they are free; one with ``none``
    alone denies all; ``before`` and ``after`` are sentences about other things.
    """
    own = (sections or sections_of())[kind]
    rules = {**chest.trained(kind if kind in chest.STYLES else "report"), **own}
    if "none" in own:
        return capitalised(expand(rules, "none", rng)), frozenset()
    rest = [finding for finding in ALL_FINDINGS if finding not in found]
    free = [rest[index] for index in rng.permutation(len(rest))[: 1 + int(rng.integers(len(rest)))]] if rest else []
    if "contrast" in own and free:
        told = [chest.contrast(found, free, rules, rng)]
    else:
        told = [chest.sentence("frame", found, rules, rng)]
        told += [chest.sentence("clear", free, rules, rng)] if "clear" in own and free else []
    told = [told[index] for index in rng.permutation(len(told))]
    before, after = ([expand(rules, name, rng)] if name in own else [] for name in ("before", "after"))
    return " ".join(map(capitalised, [*before, *told, *after])), frozenset(found)

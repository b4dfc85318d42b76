"""Other words for the same: a caption that is understood, said again as the grammar would."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from textdiff_monai.language import chest, grammar, histology, lungs, structures
from textdiff_monai.language.meaning import ALL_FINDINGS, LUNG, NUCLEI, OPACITY, Meaning
from textdiff_monai.language.rules import capitalised, pick

STYLES = ("report", "report", "telegram", "abbreviations", "lay", "request")  # reports are the most common
_FREE, _ASIDE = 0.4, 0.3  # how often other zones are said to be free, and how often something else is said


def say(meaning: Meaning, rng: np.random.Generator) -> str:
    """One of the many sentences with this meaning."""
    if meaning.target == LUNG:
        return lungs.say(meaning, rng)
    if meaning.target == NUCLEI:
        return histology.say(meaning, rng)
    if meaning.target != OPACITY:
        return capitalised(structures.say(meaning, rng))
    rules, free = chest.trained(pick(STYLES, rng)), meaning.free
    rest = [zone for zone in ALL_FINDINGS if zone not in meaning.found]
    if meaning.found and not free and rest and rng.random() < _FREE:
        free = frozenset(rest[index] for index in rng.permutation(len(rest))[: 1 + int(rng.integers(len(rest)))])
    told = [chest.say(sorted(meaning.found), sorted(free), rules, rng)]
    told += [grammar.aside(rng)] if rng.random() < _ASIDE else []
    return " ".join(capitalised(told[index]) for index in rng.permutation(len(told)))


def deny(meaning: Meaning, rng: np.random.Generator) -> str | None:
    """A sentence that says that what is meant is not there; None for nuclei and lungs, which always are."""
    if meaning.target in (LUNG, NUCLEI):
        return None
    if meaning.target != OPACITY:
        return capitalised(structures.say(Meaning(meaning.target, present=False), rng))
    rules = chest.trained(pick(STYLES, rng))
    return capitalised(chest.say((), ALL_FINDINGS if rng.random() < 0.5 else (), rules, rng))


def shuffled(text: str, rng: np.random.Generator) -> str:
    """The sentences of a text in another order; a new one begins with a capital: "Rt. base" is none."""
    told: Sequence[str] = re.split(r"(?<=[.!?])\s+(?=[^\W\d_a-zß-ÿ])", text.strip())
    return " ".join(told[index] for index in rng.permutation(len(told)))


_FEW = 6  # words, none of which a caption can spare


def thinned(text: str, rng: np.random.Generator, share: float) -> str:
    """A text without some of its words, but with those that may say where, or deny: short ones too.

    A short text stays as it is: each of its words says what is asked for.
    """
    words = text.split()
    if len(words) <= _FEW:
        return text
    kept = [word for word in words if _says_where(word) or rng.random() >= share]
    return " ".join(kept) if kept else text


_WHERE = frozenset(
    re.findall(
        r"\w+",
        "left right upper lower middle bottom both none without except only centre center central superior "
        "inferior anterior posterior medial lateral proximal distal ventral dorsal cranial caudal peripheral temporal "
        "nasal frontal parietal occipital above below inside outside between behind front beside around inner outer "
        "largest smallest larger smaller first second third apex apices apical base bases basal bilateral "
        "bilaterally unilateral neither nothing never "
        "absent absence clear spared spares sparing free normal unremarkable negative healthy ignore skip leave "
        "exclude excluding instead rather",
    )
)


def _says_where(word: str) -> bool:
    parts = re.findall(r"[^\W_]+", word.lower())
    return not _WHERE.isdisjoint(parts) or len("".join(parts)) <= 3 or word.isupper()

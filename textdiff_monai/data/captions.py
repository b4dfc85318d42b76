"""Directions in captions: what a flip or a turn of the image does to left, right, upper and lower."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from textdiff_monai.language.kept_back import worded_otherwise


class Symmetry(NamedTuple):
    """A symmetry of the square: an optional left-right mirror, then quarter turns counter-clockwise."""

    mirrored: bool
    turns: int


SYMMETRIES = {
    "identity": Symmetry(False, 0),
    "turn90": Symmetry(False, 1),
    "turn180": Symmetry(False, 2),
    "turn270": Symmetry(False, 3),
    "mirror": Symmetry(True, 0),
    "mirror_turn90": Symmetry(True, 1),
    "mirror_turn180": Symmetry(True, 2),
    "mirror_turn270": Symmetry(True, 3),
}

# Words for directions of the image, each with its opposite.
_VERTICAL = {"upper": "lower", "top": "bottom", "superior": "inferior", "uppermost": "lowermost"}
_VERTICAL |= {"upward": "downward", "upwards": "downwards"}
_HORIZONTAL = {"left": "right", "leftmost": "rightmost", "leftward": "rightward", "leftwards": "rightwards"}
_HORIZONTAL |= {"left-sided": "right-sided", "lt": "rt", "L": "R"}  # an l or r that is small says no side: r = 3 mm
# Lobes, zones and quadrants: LUL, LLZ, L.U.Z., LUQ
_LOBES = [f"{dot}{height}{dot}{part}" for dot in ("", ".") for height in "uml" for part in "lzq"]
_HORIZONTAL |= {f"l{lobe}": f"r{lobe}" for lobe in _LOBES}
_SWAP_VERTICAL = _VERTICAL | {down: up for up, down in _VERTICAL.items()}
_SWAP_HORIZONTAL = _HORIZONTAL | {right: left for left, right in _HORIZONTAL.items()}
_INITIALS = r"[lr]\.?[uml]\.?[lzq]"
# What sounds like a side and is not; b/l (both sides) and 2 L (litres) are a word each, so that nothing is exchanged.
_NO_SIDE = r"all\s+right right\s+(?:away|now) left\s+(?:in\s+(?:situ|place)|alone|out|untreated)"
_WORD = re.compile(
    rf"(?<![a-z\d])(?:{'|'.join(_NO_SIDE.split())}|b/l|\d+\s*l|{_INITIALS}|[a-z]+(?:-sided)?)(?![a-z\d])",
    re.IGNORECASE,
)
_PHRASE = re.compile(r"\b(?:(upper|lower|top|bottom)([ -]))?(left|right)\b|\b(upper|lower|top|bottom)\b", re.IGNORECASE)


def _words(patterns: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(patterns.split())})\b", re.IGNORECASE)


# Words that a flip or a turn would make untrue and that have no simple opposite, by the axis they depend on.
# The encoder that ships knows some words of two more languages.
_ELSEWHERE = r"link(?:s|e\w?) recht(?:s|e\w?) gauches? droite?s? sinist\w+ dext(?:er|r[ao])\w*"
_ELSEWHERE_HIGH = r"oben unten (?:ober|unter)(?:e\w?|felder\w*|feld|lappen) haut bas sommets? (?:sup|inf)[eé]rieure?s?"
# Sides and heights that are part of a name: mirrored, a left atrium does not become the right one.
_NAMED = r"(?:left|right)\s+(?:\w+\s+)?(?:atri\w+|auric\w+|ventric\w+|chambers?|coronary)"
_NAMED += r" (?:left|right)\s+(?:hepatic\s+lobe|(?:liver\s+)?lobe\s+of\s+the\s+liver|anterior\s+descending|circumflex)"
_VEINS = r"(?:superior|inferior|upper|lower)\s+(?:vena\s+cava|caval|hollow)"
_FIXED_VERTICAL = _words(
    rf"{_VEINS} {_ELSEWHERE_HIGH} "
    rf"{_INITIALS} (?-i:[UL][ZL]) \w*apex \w*apices \w*apical \w*bas(?:e|es|al|ilar) above below beneath superiorly "
    r"inferiorly \w*diaphragm\w* costophrenic upright supine cranial caudal cephal\w+ "
    r"anterior\w* posterior\w* ventral\w* dorsal\w* front behind (?:supra|infra)\w+ "
    # "lower" that compares amounts rather than says where
    r"(?:is|are|was|were|a|much)\s+lower(?!\s+(?:left|right|lungs?|lobes?|zones?|half|part|third)) lower\s+than "
    r"lower\s+(?:densit\w+|intensit\w+|numbers?|signal) (?:appears|looks|seems|slightly|somewhat|relatively)\s+lower"
)
_FIXED_HORIZONTAL = _words(
    rf"{_NAMED} {_ELSEWHERE} lingul\w+ (?<!right.)(?<!left.)middle\s+lobes? levo\w+ laevo\w+ clockwise o'?clock"
)
_FIXED_QUARTER = _words(rf"{_NO_SIDE} (?-i:[LR]) [lr]t vertical\w* horizontal\w* rows? columns? (?:left|right)-hand\w*")
# A side named with a part of the body is the patient's, which a quarter turn cannot move to above or below.
_ANATOMY = _words(
    r"lungs? lobes? lingula hemithorax thorax chest pleural? pulmonary hilum hila hilar heart cardiac ribs? breasts? "
    r"kidneys? liver hepatic ventric\w+ bilat\w* hemispher\w+ eyes? retina\w* cost\w+ clavic\w+ middle mid "
    r"zones? fields?"
)


def rewrite(text: str, symmetry: str) -> str | None:
    """The caption of the image after a symmetry, or None where it cannot be written.

    A mirror exchanges left and right, a half turn also upper and lower, wherever the words stand. A quarter turn moves
    an image direction to the next (what was upper left is then lower left), which can only be said of the image, and of
    one direction: a caption with a side or height of the body ("left lung", "upper zone") or with several directions
    gives None. So do words without a simple opposite on the axis that changes ("apex" upside down, "lingula" mirrored).

    Args:
        text: the caption; directions are the image's, or the patient's as seen on it.
        symmetry: a name in ``SYMMETRIES``.

    Raises:
        KeyError: for an unknown symmetry.
    """
    mirrored, turns = SYMMETRIES[symmetry]
    if not mirrored and not turns:
        return text
    if turns % 2 == 0:
        swap_horizontal, swap_vertical = mirrored != (turns == 2), turns == 2
        if (swap_horizontal and _FIXED_HORIZONTAL.search(text)) or (swap_vertical and _FIXED_VERTICAL.search(text)):
            return None
        swaps = (_SWAP_HORIZONTAL if swap_horizontal else {}) | (_SWAP_VERTICAL if swap_vertical else {})
        return _WORD.sub(lambda found: _exchange(found[0], swaps), text)
    named = [word for word in _WORD.findall(text.lower()) if word in _SWAP_HORIZONTAL | _SWAP_VERTICAL]
    fixed = any(words.search(text) for words in (_FIXED_VERTICAL, _FIXED_HORIZONTAL, _FIXED_QUARTER))
    if not named and not fixed:
        return text
    phrase = _PHRASE.search(text)
    # Only a single direction is sure to be understood: "upper left", "the lower"; not "the upper and lower left".
    if fixed or _ANATOMY.search(text) or phrase is None or named != _WORD.findall(phrase[0].lower()):
        return None
    return text[: phrase.start()] + _turn(phrase, mirrored, turns) + text[phrase.end() :]


def _turn(found: re.Match[str], mirrored: bool, turns: int) -> str:
    """A direction ('upper left', 'lower', 'right') after the symmetry; x grows to the right, y upwards."""
    vertical, gap, horizontal = (found[1] or found[4] or "").lower(), found[2] or " ", (found[3] or "").lower()
    y = {"upper": 1, "top": 1, "lower": -1, "bottom": -1}.get(vertical, 0)
    x = {"left": -1, "right": 1}.get(horizontal, 0)
    x = -x if mirrored else x
    for _ in range(turns):
        x, y = -y, x
    words = [{1: "upper", -1: "lower", 0: ""}[y], {1: "right", -1: "left", 0: ""}[x]]
    return _cased(gap.join(word for word in words if word), found[0])


def _exchange(word: str, swaps: dict[str, str]) -> str:
    other = swaps.get(word) or swaps.get(word.lower())
    return word if other is None else _cased(other, word)


def _cased(word: str, like: str) -> str:
    if like.isupper():
        return word.upper()
    return word.capitalize() if like[0].isupper() else word


def recaption(items: Sequence[Mapping[str, Any]], captions: str) -> list[dict[str, Any]]:
    """The same data list with other captions, to measure what reading them is worth.

    Args:
        items: with ``text``.
        captions: "own" leaves them, "none" empties them, "other" gives each item the next different caption of its
            image, which asks for another target there, or, of an image with one caption, the next different one in the
            list; "swapped" exchanges left and right (an item whose caption has no sides keeps it); "reworded" says the
            same in words that no training reads, every time the same ones (a caption that is not understood stays).

    Raises:
        ValueError: for other captions, or "reworded" where none is understood.
    """
    texts = [str(item.get("text", "")) for item in items]
    if captions == "none":
        new = [""] * len(items)
    elif captions == "other":
        new = _others([str(item.get("image", index)) for index, item in enumerate(items)], texts)
    elif captions == "swapped":
        new = [_WORD.sub(lambda found: _exchange(found[0], _SWAP_HORIZONTAL), text) for text in texts]
    elif captions == "reworded":
        new = _reworded(texts)
    elif captions == "own":
        new = texts
    else:
        raise ValueError(f"captions is {captions!r}: expected 'own', 'none', 'other', 'swapped' or 'reworded'")
    return [{**item, "text": text} for item, text in zip(items, new, strict=True)]


def _reworded(texts: Sequence[str]) -> list[str]:
    rng = np.random.default_rng(0)
    new = [worded_otherwise(text, rng) for text in texts]
    if not any(new):
        known = "zones of chest films, lungs, nuclei, structures and lesions by name"
        raise ValueError(f"captions reworded: none of {len(texts)} captions is understood (only {known}); leave it out")
    return [text if other is None else other for text, other in zip(texts, new, strict=True)]


def _others(images: Sequence[str], texts: Sequence[str]) -> list[str]:
    """For each item the next different text of its image, else of all; its own if there is no other."""
    own: dict[str, list[str]] = {}
    for image, text in zip(images, texts, strict=True):
        own.setdefault(image, []).append(text)

    def after(index: int) -> str:
        text, of_image = texts[index], own[images[index]]
        at = of_image.index(text)
        following = (texts[(index + step) % len(texts)] for step in range(len(texts)))
        return next((other for other in chain(of_image[at + 1 :], of_image[:at], following) if other != text), text)

    return [after(index) for index in range(len(texts))]

"""Words that are known, and sentences that give reason to doubt: said in a warning, never refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from textdiff_monai.language.chest import sided
from textdiff_monai.language.meaning import LUNG, NUCLEI, OPACITY, SIDES
from textdiff_monai.language.reader import target_of
from textdiff_monai.language.rules import read_sections
from textdiff_monai.language.structures import read_targets

_FILES = ("common", "chest", "lungs", "histology", "structures", "asides", "general")
_ZONES = {"upper", "middle", "lower", "whole", "pair", "both", "both_upper", "both_middle", "both_lower"}
_NAMING = {OPACITY: {"lesion", "bare", "lesions", "short"}, LUNG: {"left", "both"}, NUCLEI: {"nuclei"}}
_NAMING[OPACITY] |= _ZONES | {f"{name}_at" for name in _ZONES}
_PARTS = {OPACITY: ("common", "chest"), LUNG: ("lungs",), NUCLEI: ("histology",)}
PATIENT = ("patient", "patient_id", "subject", "subject_id")  # columns of a table that say whose an image is
_MANY = 2000  # words that a checkpoint keeps at most
# Words that name nothing.
_EMPTY = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can do for from had has have here i in into is it its lt me my near no not of off on "
        "one only or out part please rt see show side some that the their there these this to two under up was we what "
        "where which with without you your",
    )
)


def words_in(text: str) -> list[str]:
    """The words of a text in lower case, without numbers and signs."""
    return re.findall(r"[^\W\d_]+", re.sub(r"\{\w+\}", " ", text).lower())


@cache
def grammar_words() -> frozenset[str]:
    """Every word of the grammar, names that are kept back from training among them."""
    rules = [
        option for file in _FILES for part in read_sections(file).values() for each in part.values() for option in each
    ]
    targets = [name for one in read_targets().values() for name in (*one.names, *one.kept_back, *one.images)]
    sides = (word for side in SIDES for word in sided(side).values())
    return frozenset(word for text in (*rules, *targets, *sides) for word in words_in(text))


@cache
def naming_words(target: str) -> frozenset[str]:
    """The words with which the grammar names a target or its places, but for those that asides use as well."""
    if target not in _NAMING:
        one = read_targets()[target]
        return frozenset(word for name in (*one.names, *one.kept_back) for word in words_in(name)) - _EMPTY
    rules = [rule for file in _PARTS[target] for part in read_sections(file).values() for rule in part.items()]
    named = {word for name, each in rules if name in _NAMING[target] for text in each for word in words_in(text)}
    if target == OPACITY:
        asides = read_sections("asides")["asides"].values()
        named -= {word for each in asides for text in each for word in words_in(text)}
        named |= {f"{side}{zone}{kind}" for side in "rl" for zone in "uml" for kind in "lz"}
    return frozenset(named) - _EMPTY


def captions_facts(items: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What a checkpoint keeps of its training's captions: ``words``, and the ``targets`` that they name.

    Only words that the captions of several patients have are kept, or of several images where no column says whose they
    are: one that stands in a single patient's reports may be a name.
    """
    said = {(_whose(item), str(item.get("text") or "")) for item in items}
    counts = Counter(word for _, word in {(whose, word) for whose, text in said for word in words_in(text)})
    texts = {text for _, text in said}
    common = [word for word, count in counts.most_common(_MANY) if count > 1 or word in grammar_words()]
    return {"words": sorted(common), "targets": sorted({target_of(text) for text in texts} - {""})}


def _whose(item: Mapping[str, Any]) -> str:
    return next((str(item[name]) for name in (*PATIENT, "image", "text") if item.get(name)), "")


def doubt(text: str, facts: Mapping[str, Sequence[str]], vocabulary: Collection[str] = (), quoting: bool = True) -> str:
    """Why a sentence may not be understood, or "".

    Args:
        text: the sentence; an empty one is no reason to doubt.
        facts: of :func:`captions_facts`; without ``words`` nothing is doubted.
        vocabulary: other words that are known, such as the text encoder's.
        quoting: name the words that are unknown, which may be names of people; else only count them.
    """
    said, trained = words_in(text), set(facts.get("words", ()))
    if not said or not trained:
        return ""
    codes = naming_words(OPACITY)
    known = trained | grammar_words() | codes
    new = [word for word in dict.fromkeys(said) if len(word) > 2 and word not in known and word not in vocabulary]
    targets = set(facts.get("targets", ()))
    named = (trained - _EMPTY).union(*(naming_words(target) for target in targets))
    reasons = [f"unknown words: {', '.join(new) if quoting else len(new)}"] if new else []
    target = target_of(text)
    if target == LUNG and OPACITY in targets:  # where it is
        target = OPACITY
    if target and targets and target not in targets:
        reasons.append(f"it asks for {target}, which no training caption asks for")
    elif not named & set(said):
        reasons.append("it names nothing that the training captions name")
    return "; ".join(reasons)

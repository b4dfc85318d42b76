"""Wordings that no training reads, by kind: what measures whether other words for the same are understood."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from textdiff_monai.language import chest
from textdiff_monai.language.meaning import ALL_FINDINGS, Finding
from textdiff_monai.language.rules import capitalised, expand, read_sections

Sections = Mapping[str, Mapping[str, Sequence[str]]]


def kinds() -> Sections:
    """The kinds of wordings that ship."""
    return read_sections("kept_back")


def say(
    kind: str, found: Collection[Finding], rng: np.random.Generator, sections: Sections | None = None
) -> tuple[str, frozenset[Finding]]:
    """One text of a kind about a chest film, and the zones that it says hold a finding: those given, or none.

    A kind with its own rule ``contrast`` or ``clear`` says of some other zones that they are free; one with ``none``
    alone denies all; ``before`` and ``after`` are sentences about other things.
    """
    own = (sections or kinds())[kind]
    rules = ChainMap(dict(own), dict(chest.trained(kind if kind in chest.STYLES else "report")))
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

"""Rules of the grammar, read from the text files in ``rules/``, and their expansion."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import numpy as np

Rules = Mapping[str, Sequence[str]]


def parse_sections(text: str) -> dict[str, dict[str, list[str]]]:
    """Sections of rules: ``[section]``, then ``name = alternative | alternative``; an indented line goes on.

    Raises:
        ValueError: for a line that is neither, naming it.
    """
    sections: dict[str, dict[str, list[str]]] = {}
    rules: dict[str, list[str]] = {}
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    for line in re.split(r"\n(?=\S)", "\n".join(lines)):
        if heading := re.fullmatch(r"\[(.+)\]", line.strip()):
            rules = sections.setdefault(heading[1], {})
            continue
        name, equals, body = line.partition("=")
        if not equals or not sections:
            raise ValueError(f"{line[:60]!r}: expected [section], or name = alternative | alternative in a section")
        rules[name.strip()] = [" ".join(option.split()) for option in body.split("|")]
    return sections


@cache
def read_sections(name: str) -> dict[str, dict[str, list[str]]]:
    """The sections of a file in ``rules/``."""
    return parse_sections((files(__package__) / "rules" / f"{name}.txt").read_text(encoding="utf-8"))


@cache
def section(name: str, *chain: str) -> Rules:
    """The rules of a file's sections, the first that knows a name, and behind them the common ones."""
    sections = read_sections(name)
    return ChainMap(*(sections[part] for part in chain or (name,)), read_sections("common")["common"])


class _Words(dict[str, str]):
    """Looks a name up among the bound words and otherwise expands the rule of that name at random."""

    def __init__(self, rules: Rules, rng: np.random.Generator, bound: Mapping[str, str]) -> None:
        super().__init__(bound)
        self.rules, self.rng = rules, rng

    def __missing__(self, name: str) -> str:
        return pick(self.rules[name], self.rng).format_map(self)


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def expand(rules: Rules, name: str, rng: np.random.Generator, **bound: str) -> str:
    """One of a rule's alternatives with every word in braces replaced: a bound one, or a rule's own expansion.

    Raises:
        ValueError: for a word that is neither, a rule that leads back to itself, or braces that do not fit.
    """
    try:
        return _Words(rules, rng, bound)[name]
    except (KeyError, AttributeError) as error:
        raise ValueError(f"the rule {name!r} needs a rule that does not exist: {error}") from error
    except RecursionError as error:
        raise ValueError(f"the rule {name!r} leads back to itself") from error
    except ValueError as error:
        raise ValueError(f"the rule {name!r}: {error}") from error


def listed(items: Sequence[str], conjunction: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    return f" {conjunction} ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]

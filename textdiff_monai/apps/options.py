"""What a user typed and what it means: options by the types that a function, or a configuration, gives them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import fire
from fire.parser import DefaultParseValue

_FLAG = re.compile("--|-[A-Za-z]")
_NOUNS = {
    str: "text",
    Path: "a path",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    dict: "a table such as \"{'a': 1}\"",
    list: 'a list such as "[1,2]"',
    Sequence: 'a list such as "[1,2]"',
    NoneType: "None",
}


class UsageError(ValueError):
    """A command line that does not say what to do."""


def split(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Words of a command line as Fire takes them apart: arguments and ``--option value``, texts as they were typed.

    Fire's own reading would make numbers, lists or nothing of sentences and paths. An option without a value is True.

    Raises:
        UsageError: for an option that is there twice, of which Fire would take the last.
    """
    names = [word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")]
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise UsageError(f"--{twice[0]} is given twice; give several values as one list, such as \"['a','b']\"")
    bare = [
        bool(_FLAG.match(word) and "=" not in word and _FLAG.match(following))
        for word, following in pairwise([*words, "--"])
    ]
    given = [f"{word}=True" if alone else word for word, alone in zip(words, bare, strict=True)]
    collect = fire.decorators.SetParseFn(str)(lambda *texts, **options: (list(texts), options))
    # Fire would stop at its separator, a single dash; no word can hold this one.
    texts, options = fire.Fire(collect, [*given, "--", "--separator=\0"], serialize=lambda _: None)
    flags = {word.lstrip("-").replace("-", "_") for word, alone in zip(words, bare, strict=True) if alone}
    return texts, options | dict.fromkeys(flags, True)


def understood(name: str, typed: Any, kind: Any) -> Any:
    """What is meant by an option that was typed: the text where texts or paths are expected, else a Python literal.

    Args:
        name: of the option.
        typed: a text; or a value that is one already, as a caller in Python gives it.
        kind: the type, as an annotation.

    Raises:
        UsageError: naming the option, what was expected, and what came.
    """
    if typed is True and not fits(True, kind):
        raise UsageError(f"--{name}: its value is missing; write a value that begins with a dash as --{name}=-VALUE")
    value = typed
    if isinstance(typed, str) and _alternatives(kind) <= {str, Path, NoneType}:
        value = typed if fits(typed, kind) else Path(typed)
    elif isinstance(typed, str):
        value = DefaultParseValue({"true": "True", "false": "False"}.get(typed.lower(), typed))
        if get_origin(kind) is Sequence and not typed.startswith(("[", "(")):
            # "opacity #2" is one text: Python would take the second half for a comment.
            text = "#" in typed and not typed.startswith(("'", '"'))
            value = value if isinstance(value, (list, tuple)) and not text else [typed if text else value]
    if not fits(value, kind):
        raise UsageError(f"--{name}: expected {expected(kind)}, got {typed!r}")
    return value


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type. Whole numbers are numbers, tuples are lists, and True is no number."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if origin in (Sequence, list):
        return isinstance(value, (list, tuple)) and all(fits(item, one) for item in value for one in inner)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else origin)


def expected(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    names = [get_origin(one) or one for one in _alternatives(kind)]
    return " or ".join(noun for name, noun in _NOUNS.items() if name in names)


def unknown(name: str, known: Iterable[str]) -> UsageError:
    """The error for an option that does not exist, with the one that was meant."""
    names = list(known)
    shorter = [] if "#" in name else [other for other in names if name.startswith(other)]
    near = shorter or difflib.get_close_matches(name, names, n=1)
    return UsageError(f"there is no option --{name}" + (f"; did you mean --{near[0]}?" if near else ""))


def _alternatives(kind: Any) -> set[Any]:
    return set(get_args(kind)) if get_origin(kind) in (Union, UnionType) else {kind}

"""What is wrong with data, said so that it can be mended, without repeating what a patient's table holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """All that is wrong with a dataset: ``problems`` holds every ``<file>: <what>; <fix>``, the message 50 at most."""

    def __init__(self, where: str | Path, problems: Sequence[str], shown: int = 50) -> None:
        self.problems = list(problems)
        lines = [f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in {where}:"]
        lines += [f"- {problem}" for problem in problems[:shown]]
        lines += [f"... and {len(problems) - shown} more"] if len(problems) > shown else []
        super().__init__("\n".join(lines))


def listed(names: Iterable[str], shown: int = 10) -> str:
    """``a, b and 3 more``."""
    names = list(names)
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """``name 1 (now 2), ...`` of the settings that differ now; "" if none does."""
    names = sorted(name for name in before.keys() | now if before.get(name) != now.get(name))
    return ", ".join(f"{name} {before.get(name)} (now {now.get(name)})" for name in names)


def quoted(cell: str) -> str:
    """A cell of a table in an error: as it is if it can only be a name or a path, else its length alone.

    Where columns are mixed up, any cell may be a sentence about a patient.
    """
    return repr(cell) if len(cell) <= 120 and len(cell.split()) <= 2 else f"(a text of {len(cell)} characters)"


def cause(error: BaseException) -> BaseException:
    """What an error was at first, before MONAI wrapped it, in RuntimeErrors."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error

"""Libraries that only some kinds of files need."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needed(module: str, extra: str, what: str) -> Any:
    """A module of one of the package's extras.

    Raises:
        ValueError: where it is not installed, saying which extra has it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        name = module.partition(".")[0]
        raise ValueError(
            f"{what} needs {name}, which is not installed: pip install 'textdiff-monai[{extra}]'"
        ) from None

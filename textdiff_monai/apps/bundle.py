"""Where the bundle lies."""

from __future__ import annotations

from pathlib import Path


def bundle_root() -> str:
    """The ``bundle`` folder beside an editable install of this package, from any working directory; else ``.``.

    A copy of the bundle elsewhere is run with ``--bundle_root`` (or from within).
    """
    beside = Path(__file__).resolve().parents[2] / "bundle"
    return str(beside) if (beside / "configs").is_dir() else "."

"""What a run of segmentation was, so that it can be repeated, and gone on with."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from textdiff_monai import __version__
from textdiff_monai.data.files import write_json

_LIBRARIES = ("torch", "monai", "diffusers", "transformers", "numpy", "nibabel", "pillow", "pydicom", "highdicom")


class Run:
    """``run.json`` of a folder of results: versions, hashes, options, device, and how it went.

    Sentences and the names of images stand in ``results.csv`` alone.

    Args:
        folder: of the results.
        settings: what results depend on, anything that JSON can hold.

    Attributes:
        since: seconds since 1970 when the first run with these settings began: results that are older are of others.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(folder) / "run.json"
        self.settings = json.loads(json.dumps({**settings, "versions": versions()}, default=str))
        self.since, self._start = self._before() or time.time(), time.monotonic()
        self.write(0, [])

    def _before(self) -> float | None:
        """When a run with the same settings began in the folder, if the last one there was such."""
        try:
            told = json.loads(self.path.read_text(encoding="utf-8"))
            return float(told["since"]) if told["settings"] == self.settings else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, done: int, failed: Sequence[str]) -> None:
        """How far it came: masks that are there, and images that could not be read."""
        told = {"settings": self.settings, "machine": f"{platform.system()} {platform.machine()}", "since": self.since}
        counts = {"masks": done, "failed": len(failed), "seconds": round(time.monotonic() - self._start, 1)}
        write_json(self.path, told | counts)


def versions() -> dict[str, str]:
    """Of this package, Python and the libraries that figures depend on, as far as they are installed."""
    libraries = {name: found for name in _LIBRARIES if (found := _version(name))}
    return {"textdiff-monai": __version__, "python": platform.python_version(), **libraries}


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

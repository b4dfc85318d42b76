"""Folders and files that are written whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(folder: str | Path) -> Iterator[Path]:
    """A new folder that appears under its name only when everything in it has been written."""
    target = Path(folder)
    if target.exists():
        raise FileExistsError(f"{target} exists; remove it or choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield partial
        partial.chmod(0o755)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_writable(folder: str | Path) -> None:
    """Whether a folder can be written into, or made, before the work that there will be something of to write.

    Raises:
        OSError: if not, or if it is a file.
    """
    place = Path(os.path.abspath(folder))
    nearest = next(path for path in (place, *place.parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"{nearest}: is a file; choose a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{nearest}: is not writable; choose another folder")


@contextmanager
def written_file(path: str | Path) -> Iterator[Path]:
    """A file that has its old contents until all of the new are on the disk; its folder is made.

    What a kill leaves half-written (``NAME.part``) is overwritten the next time.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    yield partial
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, target)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV file by column; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file with every column that a row has, in its folder, which is made."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with written_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, content: Any) -> None:
    """What JSON can hold, indented, in its folder, which is made."""
    with written_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def exchange(new: Path, target: Path) -> Path:
    """Put a copy of a file in another's place at once, and return where the other is kept: ``NAME_until_TIME``."""
    kept = target.with_name(f"{target.stem}_until_{time.strftime('%Y%m%d_%H%M%S')}{target.suffix}")
    shutil.copy2(target, kept)
    with written_file(target) as partial:
        shutil.copyfile(new, partial)
    return kept

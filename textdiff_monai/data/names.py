"""Names of picture files: which are read, and what they are called without their ending."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

NIFTI = (".nii.gz", ".nii")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm")
DICOM = (".dcm", ".dicom", ".ima")
SLIDES = (".svs", ".ndpi", ".scn", ".mrxs", ".bif", ".vms", ".vmu")
_ENDINGS = (*NIFTI, *PICTURES, *DICOM, *SLIDES)
_SERIES = re.compile(r"(.*[^/\\])#([^#/\\]+)", re.DOTALL)


def is_picture(path: str | PurePath) -> bool:
    """Whether the name is that of an image file that can be read; hidden files ("._x.png" of macOS) are none."""
    name = PurePath(path).name
    return name.lower().endswith(_ENDINGS) and not name.startswith(".")


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does: scanners write them with any name."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def series_of(path: str | Path) -> tuple[Path, str | None]:
    """The folder of a DICOM series and which of several it is: ``FOLDER#NUMBER``. Other paths are as they are."""
    found = _SERIES.fullmatch(str(path))
    if found and not os.path.exists(path) and os.path.isdir(found[1]):
        return Path(found[1]), found[2]
    return Path(path), None


def stem_of(name: str | PurePath) -> str:
    """The file name less a known ending: a table may leave that out, and other dots belong to the name."""
    name = PurePath(name).name
    return next((name[: -len(ending)] for ending in _ENDINGS if name.lower().endswith(ending)), name)


class Listings:
    """What folders hold, by names as people write them; each folder is listed once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[Path]]] = {}

    def like(self, path: Path) -> list[Path]:
        """Pictures that are called so but for case, the ending, or how accents are written (Macs split letters)."""
        if path.parent not in self._folders:
            own = self._folders.setdefault(path.parent, {})
            for file in sorted(path.parent.iterdir()) if os.path.isdir(path.parent) else ():
                for name in {_folded(file.name), _folded(stem_of(file))} if is_picture(file) else ():
                    own.setdefault(name, []).append(file)
        return self._folders[path.parent].get(_folded(path.name), [])


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def files_in(folder: Path, skip: Callable[[Path], bool]) -> list[Path]:
    """Every file below a folder, by name; linked folders are followed, each once, and hidden ones left out.

    Args:
        folder: to look through.
        skip: which of the folders in it are left out, too.
    """
    return sorted(_walk(folder, skip, set()))


def _walk(folder: Path, skip: Callable[[Path], bool], entered: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in entered:  # a link to where we have been
        return
    entered.add(real)
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            yield path
        elif not path.name.startswith(".") and not skip(path):
            yield from _walk(path, skip, entered)

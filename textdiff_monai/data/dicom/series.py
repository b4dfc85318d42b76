"""DICOM series among files: scanners write hundreds of them into a folder, of several series at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from textdiff_monai.data.extras import needed
from textdiff_monai.data.names import DICOM, is_dicom, is_picture
from textdiff_monai.data.problems import listed

_NO_IMAGES = ("SEG", "PR", "KO", "RTSTRUCT")  # objects about images, which lie beside them
_TAGS = ["SeriesInstanceUID", "SeriesNumber", "ImagePositionPatient", "NumberOfFrames", "Modality"]


def scans_in(files: Iterable[Path]) -> list[str]:
    """Images among the files of a folder tree: every picture and volume, and DICOM series as the folders they lie in.

    A folder with several series gives ``FOLDER#NUMBER`` for each, by its series number. Images that do not say where
    they lie, such as X-rays, or that are the only ones of their series, are images of their own.
    """
    found, folders = list[str](), dict[Path, list[Path]]()
    for file in files:
        if _may_be_dicom(file):
            folders.setdefault(file.parent, []).append(file)
        elif is_picture(file):
            found.append(str(file))
    for folder, own in folders.items():
        stacks, single = _series(folder, tuple(own))
        found += [str(file) for file in single]
        found += [str(folder) if len(stacks) == 1 else f"{folder}#{number}" for number in stacks]
    return sorted(found)


def files_of(folder: Path, number: str | None = None) -> list[Path]:
    """The files of the one series in a folder, or of the one with a number.

    Raises:
        ValueError: where there is none, or several and none is named.
    """
    stacks, single = _series(folder, tuple(sorted(file for file in folder.iterdir() if _may_be_dicom(file))))
    names = listed(f"#{name}" for name in stacks)
    if number is not None:
        if number not in stacks:
            raise ValueError(f"the folder has no series {number}; it has {names or 'none'}")
        return stacks[number]
    if len(stacks) == 1:
        return next(iter(stacks.values()))
    if not stacks and len(single) == 1:
        return single
    if stacks:
        raise ValueError(f"expected one series, got {len(stacks)} ({names}); choose one with FOLDER#NUMBER")
    what = f"{len(single)} images that do not say where they are" if single else "none"
    raise ValueError(f"expected a folder with the DICOM files of one series, got {what}; give the files themselves")


def _may_be_dicom(file: Path) -> bool:
    """By its name; files without a known ending by their beginning."""
    if file.name.startswith(".") or not file.is_file():
        return False
    return file.name.lower().endswith(DICOM) or (not _named(file) and is_dicom(file))


def _named(file: Path) -> bool:
    """Whether the ending says what it is; that of a name made of numbers does not."""
    return is_picture(file) or not (file.suffix == "" or file.suffix[1:].isdigit())


def _series(folder: Path, files: tuple[Path, ...]) -> tuple[dict[str, list[Path]], list[Path]]:
    """Series of several slices by number, and files that are images of their own."""
    return _sorted(files, folder.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _sorted(files: Sequence[Path], changed: int) -> tuple[dict[str, list[Path]], list[Path]]:
    series, single = dict[Any, list[tuple[Path, Any]]](), list[Path]()
    for file in files:
        header = _glance(file)
        if header is not None and header.get("Modality") in _NO_IMAGES:
            continue
        is_slice = (
            header is not None and "ImagePositionPatient" in header and int(header.get("NumberOfFrames") or 1) == 1
        )
        if is_slice:
            series.setdefault(header.get("SeriesInstanceUID"), []).append((file, header))
        else:
            single.append(file)
    single += [own[0][0] for own in series.values() if len(own) == 1]
    several = [own for own in series.values() if len(own) > 1]
    numbers = [str(own[0][1].get("SeriesNumber", "") or "") for own in several]
    stacks = {}
    for place, (number, own) in enumerate(zip(numbers, several, strict=True), 1):
        name = number if number and numbers.count(number) == 1 else f"{number or 'series'}.{place}"
        stacks[name] = [file for file, _ in own]
    return stacks, sorted(single)


def _glance(file: Path) -> Any:
    """What tells series apart; None for a file that cannot be read, which whoever opens it will say."""
    pydicom = needed("pydicom", "dicom", "DICOM")
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
    except Exception:
        return None

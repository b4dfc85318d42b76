"""The bundle: where it lies, where its runs write, and a copy of it for whoever wants one."""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

from textdiff_monai import __version__
from textdiff_monai.data.files import written_whole

_PACKAGE = Path(__file__).resolve().parents[1]
# What runs may have left there.
_NOT_SHIPPED = shutil.ignore_patterns("output", "eval", "mlruns", "__pycache__", ".*")


def bundle_root(preferred: str | Path | None = None) -> str:
    """The folder of the bundle, from any working directory: inside an installed package, beside an editable one.

    Args:
        preferred: another bundle, taken if it is there.
    """
    places = [Path(preferred)] if preferred else []
    places += [_PACKAGE / "bundle", _PACKAGE.parent / "bundle"]
    found = [place.absolute() for place in places if (place / "configs" / "inference.json").is_file()]
    if not found:
        raise FileNotFoundError(f"{places[-2]}: the package contains no bundle; reinstall it")
    return str(found[0])


def work_folder(root: str | Path) -> str:
    """Where runs of a bundle write unless they are told: into it, but never into that of the package.

    Args:
        root: the bundle's folder.

    Returns:
        ``root``; the working directory for the package's own bundle.
    """
    return str(Path.cwd()) if Path(root).resolve() == Path(bundle_root()).resolve() else str(root)


def write_bundle(folder: str | Path, zip: bool = False) -> Path:
    """Write the bundle to a folder of your own, to run, change and train in.

    Its configurations find the folder from any working directory, until it is moved, and write into it.

    Args:
        folder: the new folder.
        zip: also write FOLDER_vVERSION.zip next to it, in the format of MONAI's model zoo; the unpacked bundle is run
            from its own folder.

    Raises:
        FileExistsError: for a folder or a zip that exists.
    """
    target = Path(folder).absolute()
    archive = target.with_name(f"{target.name}_v{__version__}.zip")
    if zip and archive.exists():
        raise FileExistsError(f"{archive} exists; remove it or choose another folder")
    with written_whole(target) as partial:
        shutil.copytree(bundle_root(), partial, ignore=_NOT_SHIPPED, dirs_exist_ok=True)
        if zip:
            _set_root(partial, "$textdiff_monai.bundle_root('.')")
            _pack(partial, target.name, archive)
        _set_root(partial, str(target))
    return target


def _set_root(bundle: Path, root: str) -> None:
    line = f'"bundle_root": {json.dumps(root)},'
    for path in (bundle / "configs").glob("*.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub('"bundle_root": .*,', lambda _: line, text), encoding="utf-8")


def _pack(bundle: Path, name: str, archive: Path) -> None:
    partial = archive.with_name(archive.name + ".part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(bundle.rglob("*")):
            packed.write(path, Path(name) / path.relative_to(bundle))
    os.replace(partial, archive)

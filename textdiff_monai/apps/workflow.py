"""Runs of the bundle's configurations from a verb, in this process, and folders that hold runs of one kind."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from monai.bundle import BundleWorkflow, create_workflow

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.data.files import write_json
from textdiff_monai.data.problems import changed

_ELSEWHERE = ("cache_dir", "cache_gib")  # settings that move features, and no figure
WORDS_OF = 8  # cases, worst and best, whose words an evaluation for a report measures


def config_files(overlays: Sequence[str | Path] = ()) -> list[str]:
    """``train.json`` and what is laid over it: names of the bundle's configurations, or absolute paths of others."""
    configs = Path(bundle_root()) / "configs"
    return [str(configs / name) for name in ("train.json", *overlays)]


def prepared_run(run_id: str, overlays: Sequence[str | Path], options: Mapping[str, Any]) -> BundleWorkflow:
    """A run as ``python -m monai.bundle run`` would make it, not yet started.

    Args:
        run_id: what is run, "training" or "run".
        overlays: over ``train.json``, as :func:`config_files` takes them.
        options: of the configurations.
    """
    given = {name: "$None" if value is None else value for name, value in options.items()}  # MONAI drops None
    with _unlogged(logging.WARNING), warnings.catch_warnings():  # of strangers' configurations; these are ours
        warnings.filterwarnings("ignore", "parsing config_file")
        return create_workflow(config_file=config_files(overlays), run_id=run_id, **given)


def run_bundle(run_id: str, overlays: Sequence[str | Path], options: Mapping[str, Any]) -> None:
    """What :func:`prepared_run` prepares, to its end."""
    workflow = prepared_run(run_id, overlays, options)
    workflow.run()
    workflow.finalize()


@contextmanager
def hushed() -> Iterator[None]:
    """Meanwhile neither bars nor logs below a warning: what runs is a step of something that has a bar of its own."""
    with _unlogged(logging.INFO), redirect_stderr(io.StringIO()):
        yield


@contextmanager
def _unlogged(level: int) -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(max(level, before))
    try:
        yield
    finally:
        logging.disable(before)


def same_settings(root: Path, what: str, settings: Mapping[str, Any], work: Sequence[str]) -> None:
    """A folder holds work of one kind: figures of other options do not belong beside it.

    Args:
        root: gets ``settings.json``, with the first.
        what: it holds, such as "comparison".
        settings: of now.
        work: files of the folder; before one of them is there, nothing was done, and other settings may follow.

    Raises:
        ValueError: naming the settings that are others.
    """
    path, now = root / "settings.json", json.loads(json.dumps(settings, default=str))
    now = {name: value for name, value in now.items() if name not in _ELSEWHERE}
    done = path.exists() and any((root / name).exists() for name in work)
    if done and (told := changed(json.loads(path.read_text()), now)):
        raise ValueError(f"{root} holds a {what} with {told}; use the same settings, or choose another folder")
    write_json(path, now)

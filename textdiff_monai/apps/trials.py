"""A short cross-validation of options, on training rows alone."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import Timer
from monai.bundle import BundleWorkflow
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.apps.choices import Choice, Pace, trial_steps
from textdiff_monai.apps.workflow import hushed, prepared_run
from textdiff_monai.data.files import read_rows, write_rows

_NOT_OF_A_ROW = ("image", "label", "id", "split", "text")


class Trials:
    """Trains on one half of some labelled images and tests on the other, and the other way round.

    What ``folder/trials.csv`` holds is not repeated.

    Args:
        folder: gets a table and a folder for each trial.
        folds: items with their ``split``, train or val, for each fold.
        options: of ``train.json``, for all.
    """

    def __init__(self, folder: Path, folds: Sequence[Sequence[Mapping[str, Any]]], options: Mapping[str, Any]) -> None:
        self.folder, self.options = folder, dict(options)
        self.rows = read_rows(folder / "trials.csv")
        self.tables = [folder / f"fold_{number}" / "text.csv" for number in range(len(folds))]
        for table, items in zip(self.tables, folds, strict=True):
            write_rows(table, [_row(item) for item in items])

    def run(self, candidates: Mapping[str, Choice], seconds: float) -> list[str]:
        """Try the candidates, in their order, for about so long; the first in any case.

        A trial of two epochs comes before, to learn how many steps of training fit.

        Returns:
            Those that were tried on every fold.
        """
        start, tried = time.monotonic(), list[str]()
        epochs = self._epochs(seconds, len(candidates))
        with tqdm(None, "Trials", len(candidates) * len(self.tables)) as bar:
            for name, candidate in candidates.items():
                left = [fold for fold in range(len(self.tables)) if self._found(name, fold) is None]
                bar.set_postfix_str(name)
                bar.update(len(self.tables) - len(left))
                while left:
                    longest = max((float(row["seconds"]) for row in self.rows), default=0.0)
                    if tried and time.monotonic() - start + len(left) * longest > seconds:
                        return tried
                    self.rows.append(self._try(name, left.pop(0), candidate.options, epochs))
                    write_rows(self.folder / "trials.csv", self.rows)
                    bar.update()
                tried.append(name)
        return tried

    def cases(self, name: str) -> list[dict[str, str]]:
        """A tried candidate's held-out items, in the same order for all."""
        return [case for fold in range(len(self.tables)) for case in read_rows(self._place(name, fold) / "cases.csv")]

    def pace(self, name: str) -> Pace:
        """How long a candidate takes, by the slower of its folds."""
        rows = [row for row in self.rows if row["candidate"] == name]
        return Pace(*(max(float(row[column]) for row in rows) for column in ("extraction", "step", "test")))

    def _epochs(self, seconds: float, candidates: int) -> int:
        """The same for all trials."""
        if self.rows:
            return int(self.rows[0]["epochs"])
        pace = self._try("pace", 0, {}, 2)
        return max(2, round(trial_steps(seconds - pace["seconds"], pace["step"], candidates) * 2 / pace["steps"]))

    def _try(self, name: str, fold: int, changed: Mapping[str, Any], epochs: int) -> dict[str, Any]:
        place, start = self._place(name, fold), time.monotonic()
        settings: dict[str, Any] = {
            **self.options,
            **changed,
            "dataset_dir": str(self.tables[fold]),
            "output_dir": str(place),
            "ckpt_dir": str(place),
            "max_epochs": epochs,
            "val_interval": epochs,
        }
        with hushed():
            workflow = prepared_run("training", [], settings)
            trainer, evaluator = (_node(workflow, name) for name in ("train#trainer", "validate#evaluator"))
            training, testing = _timer(trainer), _timer(evaluator)
            workflow.run()
            workflow.finalize()
            extraction = _extraction(workflow)
        row = {"candidate": name, "fold": fold, "epochs": epochs, "steps": trainer.state.iteration}
        row["seconds"] = time.monotonic() - start
        row |= {"extraction": extraction, "step": training.value(), "test": testing.value()}
        return row | {"mean_dice": evaluator.state.metrics["mean_dice"]}

    def _place(self, name: str, fold: int) -> Path:
        """A name may be a path: of these too no two have one folder, and none is too long for one."""
        plain = re.sub(r"[^0-9A-Za-z]+", "_", name)
        told = plain if plain == name.replace(" ", "_") else f"{plain[-40:]}_{zlib.crc32(name.encode()):08x}"
        return self.folder / f"{told}_{fold}"

    def _found(self, name: str, fold: int) -> Mapping[str, str] | None:
        return next((row for row in self.rows if (row["candidate"], int(row["fold"])) == (name, fold)), None)


def _row(item: Mapping[str, Any]) -> dict[str, Any]:
    more = {name: value for name, value in item.items() if name not in _NOT_OF_A_ROW}
    return {"image": item["image"], "mask": item["label"], "text": item["text"], "split": item["split"]} | more


def _node(workflow: BundleWorkflow, name: str) -> Any:
    return workflow.parser.get_parsed_content(name)  # type: ignore[attr-defined]


def _timer(engine: Engine) -> Timer:
    """Seconds an iteration in the last epoch, when features are known."""
    timer = Timer(average=True)
    started, completed = Events.ITERATION_STARTED, Events.ITERATION_COMPLETED
    return timer.attach(engine, start=Events.EPOCH_STARTED, resume=started, pause=completed, step=completed)


def _extraction(workflow: BundleWorkflow) -> float:
    """Seconds that the backbone takes for an image that it has not seen."""
    backbone, side = _node(workflow, "network_def").backbone, _node(workflow, "tile") or _node(workflow, "resize")
    image = torch.zeros(1, backbone.in_channels, side, side, device=_node(workflow, "device"))
    with _node(workflow, "features").resting():
        start = time.monotonic()
        [scale.cpu() for scale in backbone(image)]
        return time.monotonic() - start

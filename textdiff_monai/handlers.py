"""Ignite handlers that MONAI does not have: progress that can be gone on with, and reports of the metrics."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.data import decollate_batch
from monai.utils import string_list_all_gather

from textdiff_monai.features import FeatureCache
from textdiff_monai.files import read_rows, write_rows


class Progress:
    """Keeps the state of a run in one file, written whole every few epochs, and goes on from it when it is there.

    MONAI's ``CheckpointSaver`` and ``CheckpointLoader`` do the same in two parts, but a kill while they write loses the
    run, and in a configuration the trainer cannot be named in its own handlers.

    Args:
        path: of the file.
        state: named objects with ``state_dict`` and ``load_state_dict``; the engine's own state is added.
        interval: epochs between writings.
        resume: False starts anew; the file is then overwritten.
    """

    def __init__(self, path: str, state: Mapping[str, Any], interval: int = 1, resume: bool = True) -> None:
        self.state = _unwrapped(state)
        self.path, self.interval, self.resume = Path(path), interval, resume

    def attach(self, engine: Engine) -> None:
        if self.resume:
            engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.STARTED, self.listen)

    def listen(self, engine: Engine) -> None:
        """Save after every other handler of an epoch's end, the learning rate's schedule among them."""
        if not engine.has_event_handler(self.save):
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self.save)
            engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        _save(self.path, self.state | {"engine": engine})

    def load(self, engine: Engine) -> None:
        if not self.path.exists():
            return
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, item in self.state.items():
            item.load_state_dict(saved[name])
        max_epochs = engine.state.max_epochs
        engine.load_state_dict(saved["engine"])
        engine.state.max_epochs = max_epochs
        engine.logger.info(f"going on from epoch {engine.state.epoch} of {self.path}")


class BestModel:
    """Keeps the weights of the evaluation with the highest key metric in one file, written whole.

    With MONAI's ``CheckpointSaver`` a run that goes on has forgotten the best score and may keep a worse model instead,
    and the file is deleted before the next is written.

    Args:
        path: of the file.
        state: named objects with ``state_dict``.
    """

    def __init__(self, path: str, state: Mapping[str, Any]) -> None:
        self.path, self.state, self.score = Path(path), _unwrapped(state), -math.inf

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        score = float(engine.state.metrics[engine.state.key_metric_name])  # type: ignore[attr-defined]
        if score > self.score:
            self.score = score
            _save(self.path, self.state)

    def state_dict(self) -> dict[str, float]:
        return {"score": self.score}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.score = state["score"]


class History:
    """One row an epoch, of the trainer's mean loss and the validator's metrics, in ``history.csv``.

    Args:
        folder: where.
        validator: the evaluator that a ``ValidationHandler`` before this handler runs.
    """

    def __init__(self, folder: str, validator: Engine) -> None:
        self.path, self.validator, self.losses = Path(folder) / "history.csv", validator, list[float]()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        """A new run starts a new table; one that goes on from an epoch keeps the rows up to it."""
        rows = read_rows(self.path) if engine.state.epoch else []
        write_rows(self.path, [row for row in rows if int(row["epoch"]) <= engine.state.epoch])

    def count(self, engine: Engine) -> None:
        output: Any = engine.state.output
        self.losses.append(float((output[0] if isinstance(output, Sequence) else output)["loss"]))

    def write(self, engine: Engine) -> None:
        row = {"epoch": engine.state.epoch, "loss": sum(self.losses) / max(len(self.losses), 1)}
        if self.validator.state.epoch == engine.state.epoch:
            row |= {f"val_{name}": value for name, value in self.validator.state.metrics.items()}
        self.losses = []
        write_rows(self.path, [*read_rows(self.path), row])


class FeatureReport:
    """After each epoch, logs how many images' features were computed in it, and how many read from the cache."""

    def __init__(self, cache: FeatureCache) -> None:
        self.cache = cache

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.report)

    def report(self, engine: Engine) -> None:
        if self.cache.computed or self.cache.read:
            engine.logger.info(
                f"features: {self.cache.computed} images computed, {self.cache.read} read from {self.cache.folder}"
            )
        self.cache.computed = self.cache.read = 0


class MetricsReport:
    """After an evaluation: ``metrics.json`` and ``metrics.csv``, and ``cases.csv`` with one row an image.

    Args:
        folder: where.
        about: more entries for ``metrics.json``, such as the checkpoint's path.
    """

    def __init__(self, folder: str, about: Mapping[str, Any] | None = None) -> None:
        self.folder, self.about = Path(folder), dict(about or {})
        self.ids, self.texts = list[str](), list[str]()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        self.ids, self.texts = [], []

    def collect(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        for item in decollate_batch(batch) if isinstance(batch, dict) else batch:
            self.ids.append(str(item.get("id") or item["image"].meta.get("filename_or_obj", "")))
            self.texts.append(item.get("text", ""))

    def write(self, engine: Engine) -> None:
        ids, texts = string_list_all_gather(self.ids), string_list_all_gather(self.texts)
        if idist.get_rank() > 0:
            return
        metrics = {name: float(value) for name, value in engine.state.metrics.items()}
        details = {
            name: values.nanmean(dim=1).tolist()
            for name, values in getattr(engine.state, "metric_details", {}).items()
            if values.ndim == 2
        }
        rows = [
            {"id": id_, "text": text} | {name: values[i] for name, values in details.items()}
            for i, (id_, text) in enumerate(zip(ids, texts, strict=True))
        ]
        write_rows(self.folder / "metrics.csv", [metrics])
        write_rows(self.folder / "cases.csv", rows)
        report = metrics | {"images": len(ids)} | self.about
        (self.folder / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")
        for name, value in metrics.items():
            engine.logger.info(f"{name}: {value:.4f}")
        engine.logger.info(f"written: {self.folder}/metrics.json, metrics.csv, cases.csv")


def _unwrapped(state: Mapping[str, Any]) -> dict[str, Any]:
    """Distributed wrappers come and go between runs; what they wrap is what is kept."""
    return {name: getattr(item, "module", item) for name, item in state.items()}


def _save(path: Path, state: Mapping[str, Any]) -> None:
    """States in a file that is whole at any time; written by one process."""
    if idist.get_rank() > 0:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    torch.save({name: item.state_dict() for name, item in state.items()}, partial)
    os.replace(partial, path)

"""Ignite handlers that keep a run's state and its best model, in files that are whole at any time."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn


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
        self.state = {name: _unwrapped(item) for name, item in state.items()}
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
        _save(self.path, {name: item.state_dict() for name, item in (self.state | {"engine": engine}).items()})

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
    """Keeps the state dict of the evaluation with the highest key metric in one file, written whole.

    With MONAI's ``CheckpointSaver`` a run that goes on has forgotten the best score and may keep a worse model instead,
    and the file is deleted before the next is written.

    Args:
        path: of the file.
        network: whose state dict it is; of a distributed wrapper, what it wraps.
    """

    def __init__(self, path: str, network: nn.Module) -> None:
        self.path, self.network, self.score = Path(path), _unwrapped(network), -math.inf

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        score = float(engine.state.metrics[engine.state.key_metric_name])  # type: ignore[attr-defined]
        if score > self.score:
            self.score = score
            _save(self.path, self.network.state_dict())

    def state_dict(self) -> dict[str, float]:
        return {"score": self.score}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.score = state["score"]


def _unwrapped(item: Any) -> Any:
    """Distributed wrappers come and go between runs; what they wrap is what is kept."""
    return getattr(item, "module", item)


def _save(path: Path, content: Mapping[str, Any]) -> None:
    """A file that is whole at any time, written by one process."""
    if idist.get_rank() > 0:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    torch.save(content, partial)
    os.replace(partial, path)

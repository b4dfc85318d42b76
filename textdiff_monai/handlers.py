"""Ignite handlers that MONAI does not have: progress that can be gone on with, and a report of the metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events


class Progress:
    """Keeps the state of a run in one file, written whole every few epochs, and goes on from it when it is there.

    MONAI's ``CheckpointSaver`` and ``CheckpointLoader`` do the same in two parts, but a kill while they write loses the
    run, and in a configuration the trainer cannot be named in its own handlers.

    Args:
        path: of the file.
        state: named objects with ``state_dict`` and ``load_state_dict``; the engine's own state is added.
        interval: epochs between writings.
    """

    def __init__(self, path: str, state: Mapping[str, Any], interval: int = 1) -> None:
        self.path, self.state, self.interval = Path(path), dict(state), interval

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.resume)
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self.save)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(self.path.name + ".part")
        states = {name: item.state_dict() for name, item in (self.state | {"engine": engine}).items()}
        torch.save(states, partial)
        os.replace(partial, self.path)

    def resume(self, engine: Engine) -> None:
        if not self.path.exists():
            return
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, item in self.state.items():
            item.load_state_dict(saved[name])
        max_epochs = engine.state.max_epochs
        engine.load_state_dict(saved["engine"])
        engine.state.max_epochs = max_epochs
        engine.logger.info(f"going on from epoch {engine.state.epoch} of {self.path}; remove it to start anew")

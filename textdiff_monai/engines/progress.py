"""Ignite handlers that keep a run's state and its model, in files that are whole at any time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn

from textdiff_monai.data.files import written_file
from textdiff_monai.data.problems import changed


class Progress:
    """Keeps the state of a run in one file, written whole every few epochs, and goes on from it when it is there.

    MONAI's ``CheckpointSaver`` and ``CheckpointLoader`` do the same in two parts, but a kill while they write loses the
    run, and in a configuration the trainer cannot be named in its own handlers. With :class:`EpochSeed` a run that goes
    on ends with the weights of one that was never stopped, bit for bit on the same machine.

    Args:
        path: of the file.
        state: named objects with ``state_dict`` and ``load_state_dict``; the engine's own state is added, and that of
            its gradient scaler.
        interval: epochs between writings.
        resume: False starts anew; a file of another run is removed then.
        options: what the run depends on, as plain values; it goes on with the same alone.
    """

    def __init__(
        self,
        path: str,
        state: Mapping[str, Any],
        interval: int = 1,
        resume: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.state = {name: _unwrapped(item) for name, item in state.items()}
        self.path, self.interval, self.resume, self.options = Path(path), interval, resume, _plain(options or {})

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.load if self.resume else self.start)
        engine.add_event_handler(Events.STARTED, self.listen)

    def start(self, engine: Engine) -> None:
        """Nothing is left to go on from by mistake, should this run be stopped before it saves."""
        if idist.get_rank() == 0:
            self.path.unlink(missing_ok=True)

    def listen(self, engine: Engine) -> None:
        """Save after every other handler of an epoch's end, the learning rate's schedule among them."""
        if not engine.has_event_handler(self.save):
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self.save)
            engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        states = {name: item.state_dict() for name, item in self._all(engine).items()}
        _save(self.path, states | {"options": self.options})

    def load(self, engine: Engine) -> None:
        """Takes up the run, if there is one.

        Raises:
            ValueError: for other options than it began with.
        """
        if not self.path.exists():
            return
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        if other := changed(saved.get("options", {}), self.options):
            raise ValueError(
                f"{self.path}: this run began with {other}; use the same options, or start over with "
                "--resume False, preferably in another folder"
            )
        max_epochs = engine.state.max_epochs
        for name, item in self._all(engine).items():
            item.load_state_dict(saved[name])
        engine.state.max_epochs = max_epochs
        engine.logger.info(f"continuing from epoch {engine.state.epoch} of {self.path}")

    def _all(self, engine: Engine) -> dict[str, Any]:
        scaler = getattr(engine, "scaler", None)
        return self.state | {"engine": engine} | ({"scaler": scaler} if scaler else {})


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
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.compare)

    def compare(self, engine: Engine) -> None:
        name = getattr(engine.state, "key_metric_name", None)
        score = float(engine.state.metrics[name]) if name else math.nan
        if score > self.score:
            self.score = score
            self.save()

    def save(self) -> None:
        _save(self.path, self.network.state_dict())

    def state_dict(self) -> dict[str, float]:
        return {"score": self.score}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Of the score alone; where its file is gone, the next model is the best that there is."""
        self.score = state["score"] if self.path.exists() else -math.inf


class LastModel:
    """At the end of a training in which no evaluation chose a model, keeps the last weights, and says so."""

    def __init__(self, best: BestModel) -> None:
        self.best = best

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if self.best.score == -math.inf:
            self.best.save()
            engine.logger.warning(f"without validation the best epoch is unknown: {self.best.path} holds the last")


def _unwrapped(item: Any) -> Any:
    """Distributed wrappers come and go between runs; what they wrap is what is kept."""
    return getattr(item, "module", item)


def _plain(value: Any) -> Any:
    """Options as a file gives them back: dicts, lists and single values."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _save(path: Path, content: Mapping[str, Any]) -> None:
    """A file that is whole at any time, written by one process."""
    if idist.get_rank() == 0:
        with written_file(path) as partial:
            torch.save(content, partial)

"""Ignite handlers and metrics of whether probabilities can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.metrics import CumulativeIterationMetric  # type: ignore[attr-defined, unused-ignore]
from torch import Tensor

from textdiff_monai.data.files import write_json
from textdiff_monai.engines.presence import presence
from textdiff_monai.networks.recipe import add_facts
from textdiff_monai.statistics.calibration import (
    Reliability,
    area_under_roc,
    fit_temperature,
    least_presence,
    roc_curve,
)


class Calibrate:
    """After an evaluation, fits a temperature and a least presence and writes both into the checkpoint.

    Inference divides logits by the temperature: masks stay, probabilities say how often they are right. It leaves out a
    mask whose presence (:func:`~textdiff_monai.engines.presence.presence`) is less, so that a sentence about something
    absent finds nothing; see :func:`~textdiff_monai.statistics.calibration.least_presence`. The evaluator's output has
    ``logits`` (classes, ...), as trained, and ``label``, one-hot. An ``image`` whose metadata have a ``doubt``, so that
    :class:`TextInferer` let nothing be marked, says nothing of the temperature.

    Args:
        checkpoint: the evaluated one.
        pixels: of each image that the temperature is fitted to, drawn at random.
        cost: how much of the mean Dice of targets that are there may be lost to masks left out.
    """

    def __init__(self, checkpoint: str, pixels: int = 20000, cost: float = 0.001) -> None:
        self.checkpoint, self.pixels, self.cost = checkpoint, pixels, cost
        self.start()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.fit)

    def start(self) -> None:
        self._logits, self._truth = list[np.ndarray](), list[np.ndarray]()
        self._presence, self._dice = list[float](), list[float]()

    def collect(self, engine: Engine) -> None:
        outputs: Any = engine.state.output
        for output, (logits, truth) in zip(outputs, _pixels(engine), strict=True):
            drawn = np.random.default_rng(len(self._presence)).permutation(len(truth))[: self.pixels]
            if not getattr(output.get("image"), "meta", {}).get("doubt"):  # else they are none that were trained
                self._logits.append(logits.numpy()[:, drawn].T)
                self._truth.append(truth.numpy()[drawn])
            found, there = logits.argmax(0) > 0, truth > 0
            self._presence.append(float(presence(logits)) if found.any() else 0.0)
            self._dice.append(float(2 * (found & there).sum() / (found.sum() + there.sum())) if there.any() else np.nan)

    def fit(self, engine: Engine) -> None:
        parts: Any = idist.all_gather((self._logits, self._truth, self._presence, self._dice))  # of every process
        logits, truth, presence, dice = (list(chain.from_iterable(each)) for each in zip(*parts, strict=True))
        temperature = fit_temperature(np.concatenate(logits), np.concatenate(truth)) if truth else 1.0
        least = least_presence(np.array(presence), np.array(dice), self.cost)
        if idist.get_rank() == 0:
            add_facts(self.checkpoint, temperature=temperature, least_presence=least)
        told = f"temperature {temperature:.3g}, least presence {least:.3g}"
        engine.logger.info(f"{told}, written to {self.checkpoint}")


class CalibrationReport:
    """After an evaluation, writes ``calibration.json``: whether probabilities hold, and tell what is there.

    Error and reliability, with the temperature and without; ``presence``, where some targets are there and some not:
    the ROC of the items' presence, and how many of both have a mask. The evaluator's output has ``logits`` (classes,
    ...), divided by the temperature, and ``label``, one-hot.

    Args:
        folder: where.
        temperature: that the logits were divided by.
    """

    def __init__(self, folder: str, temperature: float = 1.0) -> None:
        self.path, self.temperature = Path(folder) / "calibration.json", temperature
        self.start()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def start(self) -> None:
        self._after, self._before = Reliability(), Reliability()
        self._items = list[tuple[float, bool, bool]]()

    def collect(self, engine: Engine) -> None:
        for logits, truth in _pixels(engine):
            self._after.add(logits.softmax(0).numpy(), truth.numpy())
            self._before.add((logits * self.temperature).softmax(0).numpy(), truth.numpy())
            self._items.append((float(presence(logits)), bool(truth.any()), bool(logits.argmax(0).any())))

    def write(self, engine: Engine) -> None:
        parts: Any = idist.all_gather((self._after, self._before, self._items))  # of every process
        if idist.get_rank() > 0:
            return
        after, before, items = zip(*parts, strict=True)
        kinds = {"calibrated": sum(after, Reliability()), "uncalibrated": sum(before, Reliability())}
        told = {name: {"error": one.error, "reliability": one.table()} for name, one in kinds.items()}
        about = {"temperature": self.temperature, "presence": _presence(chain.from_iterable(items))}
        write_json(self.path, about | told)


class ExpectedDice(CumulativeIterationMetric):
    """The Dice that a mask would have if each probability came true, of the foreground as a whole.

    Where nothing is marked, the chance that nothing is there: that of the likeliest pixel to be background.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:  # type: ignore[override]
        """Logits (1, classes, ...); returns (1, 1)."""
        return expected_dice(y_pred.float().softmax(1)[0]).reshape(1, 1)

    def aggregate(self, reduction: Any = None) -> Tensor:
        """The mean over items."""
        return self.get_buffer().mean()  # type: ignore[union-attr]


def expected_dice(probabilities: Tensor) -> Tensor:
    """As :class:`ExpectedDice` has it, of probabilities (classes, ...)."""
    foreground = 1 - probabilities[0]
    marked = probabilities.argmax(0) > 0
    if not marked.any():
        return 1 - foreground.max()
    return 2 * foreground[marked].sum() / (foreground.sum() + marked.sum())


def _presence(items: Iterable[tuple[float, bool, bool]]) -> dict[str, Any] | None:
    """Of items' presence, whether the target is there, and whether something is marked."""
    scores, there, marked = map(np.array, zip(*items, strict=True))
    if there.all() or not there.any():
        return None
    counts = {"present": int(there.sum()), "absent": int((~there).sum())}
    masks = {"marked_present": int((marked & there).sum()), "marked_absent": int((marked & ~there).sum())}
    return counts | masks | {"auc": area_under_roc(scores, there), "roc": roc_curve(scores, there)}


def _pixels(engine: Engine) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (classes, N) and classes (N,) of each item."""
    outputs: Any = engine.state.output
    for output in outputs:
        logits, label = (torch.as_tensor(output[name]).detach().cpu() for name in ("logits", "label"))
        yield logits.float().flatten(1), label.argmax(0).flatten()

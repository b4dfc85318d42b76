"""Ignite handlers and metrics of whether probabilities can be believed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.metrics import CumulativeIterationMetric  # type: ignore[attr-defined, unused-ignore]
from torch import Tensor

from textdiff_monai.data.files import written_file
from textdiff_monai.networks.recipe import add_facts
from textdiff_monai.statistics.calibration import Reliability, area_under_roc, fit_temperature


class Calibrate:
    """After an evaluation, fits one temperature to its logits and writes it into the checkpoint.

    Inference divides logits by it: masks stay, probabilities say how often they are right. The evaluator's output has
    ``logits`` (classes, ...), not yet divided, and ``label``, one-hot.

    Args:
        checkpoint: the evaluated one.
        pixels: of each image that are looked at, drawn at random.
    """

    def __init__(self, checkpoint: str, pixels: int = 20000) -> None:
        self.checkpoint, self.pixels = checkpoint, pixels
        self._logits, self._truth = list[np.ndarray](), list[np.ndarray]()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.fit)

    def collect(self, engine: Engine) -> None:
        for logits, truth in _pixels(engine):
            drawn = np.random.default_rng(len(self._truth)).permutation(len(truth))[: self.pixels]
            self._logits.append(logits.numpy()[:, drawn].T)
            self._truth.append(truth.numpy()[drawn])

    def fit(self, engine: Engine) -> None:
        temperature = fit_temperature(np.concatenate(self._logits), np.concatenate(self._truth))
        if idist.get_rank() == 0:
            add_facts(self.checkpoint, temperature=temperature)
        engine.logger.info(f"temperature {temperature:.3g}, written into {self.checkpoint}")


class CalibrationReport:
    """After an evaluation, writes ``calibration.json``: error and reliability, with the temperature and without.

    The evaluator's output has ``logits`` (classes, ...), divided by the temperature, and ``label``, one-hot.

    Args:
        folder: where.
        temperature: that the logits were divided by.
    """

    def __init__(self, folder: str, temperature: float = 1.0) -> None:
        self.path, self.temperature = Path(folder) / "calibration.json", temperature
        self._after, self._before = Reliability(), Reliability()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def collect(self, engine: Engine) -> None:
        for logits, truth in _pixels(engine):
            self._after.add(logits.softmax(0).numpy(), truth.numpy())
            self._before.add((logits * self.temperature).softmax(0).numpy(), truth.numpy())

    def write(self, engine: Engine) -> None:
        if idist.get_rank() > 0:
            return
        kinds = {"calibrated": self._after, "uncalibrated": self._before}
        told = {name: {"error": one.error, "reliability": one.table()} for name, one in kinds.items()}
        with written_file(self.path) as partial:
            partial.write_text(json.dumps({"temperature": self.temperature} | told, indent=2) + "\n")


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


class PresenceAUC(CumulativeIterationMetric):
    """Whether the highest foreground probability tells items whose target is there from those where it is not.

    The area under the ROC curve, NaN where all are there, or none.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:  # type: ignore[override]
        """Logits (1, classes, ...) and one-hot truth; returns (1, 1, 2): the score, and whether it is there."""
        assert y is not None
        score = 1 - y_pred.float().softmax(1)[:, 0].min()
        return torch.stack([score, (y[:, 1:] > 0).any().float()]).reshape(1, 1, 2)

    def aggregate(self, reduction: Any = None) -> Tensor:
        """A scalar."""
        scores, present = np.asarray(self.get_buffer().cpu()).reshape(-1, 2).T  # type: ignore[union-attr]
        return torch.tensor(area_under_roc(scores, present > 0))


def expected_dice(probabilities: Tensor) -> Tensor:
    """As :class:`ExpectedDice` has it, of probabilities (classes, ...)."""
    foreground = 1 - probabilities[0]
    marked = probabilities.argmax(0) > 0
    if not marked.any():
        return 1 - foreground.max()
    return 2 * foreground[marked].sum() / (foreground.sum() + marked.sum())


def _pixels(engine: Engine) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (classes, N) and classes (N,) of each item."""
    outputs: Any = engine.state.output
    for output in outputs:
        logits, label = (torch.as_tensor(output[name]).detach().cpu() for name in ("logits", "label"))
        yield logits.float().flatten(1), label.argmax(0).flatten()

"""A training ends with the last epoch that is through in time."""

from __future__ import annotations

import logging
import time

import pytest
from ignite.engine import Engine

from textdiff_monai import TimeLimit


@pytest.mark.parametrize(
    ("seconds", "minutes", "epochs"),
    [
        ([10, 10, 10, 10], 0.5, 3),
        ([10, 10, 10, 10], 0.4, 2),
        ([10, 40, 10, 10], 1.4, 2),
        ([10, 40, 10, 10], 1.5, 4),  # what counts is the epoch before, not the longest
        ([10, 10, 10, 10], 0, 1),
        ([10, 10, 10, 10], 60, 4),
    ],
)
def test_no_epoch_is_begun_that_would_end_too_late(seconds, minutes, epochs, monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def step(engine, batch):
        clock[0] += seconds[engine.state.epoch - 1]

    engine = Engine(step)
    engine.logger = logging.getLogger("a trainer")
    TimeLimit(minutes).attach(engine)
    with caplog.at_level(logging.WARNING):
        engine.run([0], max_epochs=len(seconds))
    assert engine.state.epoch == epochs
    assert (f"stops after epoch {epochs} of 4" in caplog.text) == (epochs < 4)

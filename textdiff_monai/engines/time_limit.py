"""An Ignite handler that ends a training in time."""

from __future__ import annotations

import time

import ignite.distributed as idist
from ignite.engine import Engine, Events


class TimeLimit:
    """Ends a training after the last epoch that is through within so many minutes; one epoch there is in any case.

    Ignite's own ends in the midst of an epoch, in each process at another step, and has no ``attach`` for a
    configuration to call.

    Args:
        minutes: from the start of the training; an epoch is expected to take as long as the one before.
    """

    def __init__(self, minutes: float) -> None:
        self.seconds, self.start, self.last = minutes * 60, 0.0, 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check)

    def begin(self, engine: Engine) -> None:
        self.start = self.last = time.monotonic()

    def check(self, engine: Engine) -> None:
        now = time.monotonic()
        ready = idist.all_reduce(now - self.start + now - self.last, "MAX")  # all processes end together
        self.last = now
        if ready > self.seconds and engine.state.epoch < (engine.state.max_epochs or 0):
            engine.logger.warning(
                f"{self.seconds / 60:.3g} minutes are not enough for another epoch: training stops after epoch "
                f"{engine.state.epoch} of {engine.state.max_epochs}; --resume True continues"
            )
            engine.terminate()

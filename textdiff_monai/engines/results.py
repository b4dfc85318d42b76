"""An Ignite handler that writes what inference found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.data import decollate_batch

from textdiff_monai.data.results import Results
from textdiff_monai.transforms.picture import as_seen, space_of


class SaveResults:
    """After each iteration, writes the masks of its items; see :class:`~textdiff_monai.data.results.Results`.

    The evaluator's output has ``image``, ``pred`` as :class:`ToSourceLayoutd` leaves it, with or without a channel of
    one, and ``probability`` (classes, H, W) or (classes, H, W, slices) as seen.

    Args:
        folder: where.
        output_type: of the masks; None takes that of each image's kind.
        pictures: write probabilities and overlays too.
        class_names: background included.
    """

    def __init__(
        self,
        folder: str,
        output_type: str | None = None,
        pictures: bool = False,
        class_names: Sequence[str] = ("background", "target"),
    ) -> None:
        self.results = Results(Path(folder), output_type, pictures, class_names)
        self._since = 0.0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.GET_BATCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.report)

    def start(self) -> None:
        self._since = time.monotonic()

    def __call__(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        items = decollate_batch(batch) if isinstance(batch, dict) else batch
        outputs: Any = engine.state.output
        for item, output in zip(items, outputs, strict=True):
            image = output["image"]
            source = {"image": image.meta["filename_or_obj"], "text": item.get("text", ""), "id": item["id"]}
            source |= {name: image.meta.get(name, "") for name in ("doubt", "slices")}
            source["seconds"] = (time.monotonic() - self._since) / len(items)
            probability = output["probability"].numpy().astype(np.float32)
            mask = as_seen(output["pred"]).astype(np.uint8)
            self.results.add(source, mask, probability, image.numpy(), space_of(image))

    def report(self, engine: Engine) -> None:
        engine.logger.info(f"written: {len(self.results.masks)} masks and results.csv in {self.results.folder}")

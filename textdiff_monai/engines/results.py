"""An Ignite handler that writes what inference found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.data import decollate_batch

from textdiff_monai.data.results import Results
from textdiff_monai.transforms.picture import as_seen


class SaveResults:
    """After each iteration, writes the masks of its items; see :class:`~textdiff_monai.data.results.Results`.

    The evaluator's output has ``image``, ``pred`` as :class:`ToSourceLayoutd` leaves it, with or without a channel of
    one, and ``probability`` (classes, H, W) as seen.

    Args:
        folder: where.
        ending: of the files, ".png" or ".nii.gz"; None takes that of each image's kind.
        pictures: write probabilities and overlays too.
    """

    def __init__(self, folder: str, ending: str | None = None, pictures: bool = False) -> None:
        self.results = Results(Path(folder), ending, pictures)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.report)

    def __call__(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        items = decollate_batch(batch) if isinstance(batch, dict) else batch
        outputs: Any = engine.state.output
        for item, output in zip(items, outputs, strict=True):
            image = output["image"]
            source = {"image": image.meta["filename_or_obj"], "text": item.get("text", ""), "id": item["id"]}
            source["doubt"] = image.meta.get("doubt", "")
            shown = (image.numpy().transpose(1, 2, 0) + 1) * 127.5
            probability = output["probability"].numpy().astype(np.float32)
            self.results.add(source, as_seen(output["pred"]).astype(np.uint8), probability, shown)

    def report(self, engine: Engine) -> None:
        engine.logger.info(f"written: {len(self.results.masks)} masks and results.csv in {self.results.folder}")

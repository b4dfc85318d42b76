"""An Ignite handler that keeps a small picture of every case."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.data import decollate_batch

from textdiff_monai.data.files import written_file
from textdiff_monai.data.pictures import fullest, strip


class CasePictures:
    """After each iteration of an evaluation, writes ``ID.webp``: the image, the truth and the prediction side by side,
    and where the output has it the ``disagreement`` of heads, black where there is none (its root is drawn).

    Of a volume it is the slice with most of the truth, or, where there is none, of the prediction. The evaluator's
    output has ``image`` (1 or 3, H, W) or (1 or 3, H, W, slices) in [-1, 1], ``label`` and ``pred``, one-hot, and
    perhaps ``disagreement`` (1, H, W) or (1, H, W, slices) in [0, 1].

    Args:
        folder: where; `textdiff report` looks for it beside ``cases.csv``.
        side: the longer side of each, in pixels.
    """

    def __init__(self, folder: str, side: int = 160) -> None:
        self.folder, self.side = Path(folder), side

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        outputs: Any = engine.state.output
        items = decollate_batch(batch) if isinstance(batch, dict) else batch
        for item, output in zip(items, outputs, strict=True):
            image = np.asarray(output["image"].cpu()) * 127.5 + 127.5
            truth, found = (np.asarray(output[name].argmax(0).cpu()) for name in ("label", "pred"))
            apart = []
            if "disagreement" in output:  # its root, which also shows where heads disagree a little
                apart.append(np.sqrt(np.asarray(output["disagreement"][0].cpu())))
            if truth.ndim == 3:
                number = fullest(truth if truth.any() else found)
                image, truth, found, *apart = (each[..., number] for each in (image, truth, found, *apart))
            shown = np.broadcast_to(image.transpose(1, 2, 0), (*truth.shape, 3))
            with written_file(self.folder / picture_name(str(item["id"]))) as partial:
                strip(shown, [truth, found], apart, self.side).save(partial, "WEBP", quality=80)


def picture_name(case: str) -> str:
    """The file of a case; ``id`` can name one."""
    return f"{os.path.basename(case)}.webp"

"""How well noise is predicted in images that are not learned from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.networks.schedulers import Scheduler
from monai.transforms import Compose
from torch import Tensor

from textdiff_monai.data.files import read_rows, write_rows
from textdiff_monai.pretraining.diffusion import Denoiser
from textdiff_monai.pretraining.views import ToBytesd, from_bytes
from textdiff_monai.transforms.preprocessing import loading
from textdiff_monai.transforms.scales import squeezed


class HeldOutLoss:
    """An Ignite handler that measures how well noise is predicted in images that are not learned from, by kind.

    Of each image the whole, squeezed to a square, and the square in its middle, of its own resolution where it is large
    enough, get the same noise every time at each of a few steps. ``held_out.csv`` gets one row an evaluation, kind and
    view, with the mean squared error of the prediction at each step and their mean, ``loss``; the rows of the kind
    "all" are the means over the kinds. The first evaluation is before training; without images there is none.

    Args:
        folder: where.
        denoiser: the network: the exponential moving average's, in evaluation mode.
        items: the images, as of :func:`unlabelled_images`; those without a kind are one of their source's.
        scheduler: adds the noise.
        size: pixels of the views.
        steps: time steps.
        interval: epochs between evaluations; the end of the run is evaluated too.
        batch_size: views at once.
        seed: of the noise.
    """

    def __init__(
        self,
        folder: str,
        denoiser: Denoiser,
        items: Sequence[Mapping[str, Any]],
        scheduler: Scheduler,
        size: int,
        steps: Sequence[int] = (50, 150, 250, 500),
        interval: int = 1,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        self.path, self.denoiser, self.scheduler = Path(folder) / "held_out.csv", denoiser, scheduler
        self.steps, self.interval, self.batch_size, self.seed = tuple(steps), interval, batch_size, seed
        self.kinds = [item["kind"] or f"source {item['source']}" for item in items]
        self.views = {"whole": list[Tensor](), "square": list[Tensor]()}
        read = Compose([*loading(["image"]), ToBytesd("image")])
        for item in items:
            image = read({"image": item["image"]})["image"]
            self.views["whole"].append(squeezed(image, size))
            self.views["square"].append(squeezed(_middle(image, size), size))

    def attach(self, engine: Engine) -> None:
        if self.kinds:
            engine.add_event_handler(Events.STARTED, self.start)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.evaluate)

    def start(self, engine: Engine) -> None:
        """A new run starts a new table; one that goes on from an epoch keeps the rows up to it."""
        rows = read_rows(self.path) if engine.state.epoch else []
        write_rows(self.path, [row for row in rows if int(row["epoch"]) <= engine.state.epoch])
        if not engine.state.epoch:
            self.write(engine)

    def evaluate(self, engine: Engine) -> None:
        if engine.state.epoch % self.interval == 0 or engine.state.epoch == engine.state.max_epochs:
            self.write(engine)

    def write(self, engine: Engine) -> None:
        rows = [{"epoch": engine.state.epoch} | row for row in self.losses()]
        write_rows(self.path, [*read_rows(self.path), *rows])
        shown = ", ".join(f"{row['view']} {row['loss']:.4f}" for row in rows if row["kind"] == "all")
        engine.logger.info(f"held-out loss after epoch {engine.state.epoch}: {shown}")

    @torch.no_grad()
    def losses(self) -> list[dict[str, Any]]:
        """Rows with kind, view, images, loss and one column a step."""
        generator = torch.Generator().manual_seed(self.seed)
        rows: list[dict[str, Any]] = []
        for name, views in self.views.items():
            by_kind = defaultdict(list)
            for at in range(0, len(views), self.batch_size):
                errors = self._errors(torch.stack(views[at : at + self.batch_size]), generator)
                for kind, error in zip(self.kinds[at : at + self.batch_size], errors, strict=True):
                    by_kind[kind].append(error)
            means = {kind: torch.stack(errors).mean(0) for kind, errors in sorted(by_kind.items())}
            means["all"] = torch.stack(list(means.values())).mean(0)
            for kind, mean in means.items():
                row = {"kind": kind, "view": name, "images": len(by_kind.get(kind, views)), "loss": mean.mean().item()}
                rows.append(row | {f"step_{t}": value for t, value in zip(self.steps, mean.tolist(), strict=True)})
        return rows

    def _errors(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """Of uint8 views (B, C, H, W): mean squared errors (B, steps), on the CPU."""
        device = next(self.denoiser.parameters()).device
        noise = torch.randn(views.shape, generator=generator).to(device)
        images = from_bytes(views.to(device))
        errors = []
        for t in self.steps:
            at = torch.full((len(images),), t, device=device)
            noisy = self.scheduler.add_noise(original_samples=images, noise=noise, timesteps=at)  # type: ignore[operator]
            errors.append((self.denoiser(noisy, at) - noise).square().mean((1, 2, 3)))
        return torch.stack(errors, 1).cpu()


def _middle(image: Tensor, size: int) -> Tensor:
    """The square in the middle of (C, H, W), ``size`` pixels or the shorter side."""
    height, width = image.shape[-2:]
    side = min(size, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, top : top + side, left : left + side]

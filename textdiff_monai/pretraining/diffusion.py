"""Pretraining a diffusion UNet on unlabelled images: the frozen backbone from a user's own pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DModel
from ignite.engine import Engine, Events
from monai.engines import DiffusionPrepareBatch
from torch import Tensor, nn

from textdiff_monai.data.files import written_whole
from textdiff_monai.pretraining.views import from_bytes


class NoisedBatch(DiffusionPrepareBatch):
    """MONAI's batches for diffusion training, with time steps drawn early more often: T u^2 for a uniform u.

    Features are read at early steps (50 to 250 of 1000), which so get half of the training rather than a quarter.
    Images may be float in [-1, 1] or uint8, which become it on the device.
    """

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple, dict]:
        image = from_bytes(batchdata["image"].to(device, non_blocking=non_blocking))
        return super().__call__(batchdata | {"image": image}, device, non_blocking, **kwargs)

    def get_timesteps(self, images: Tensor) -> Tensor:
        drawn = torch.rand(images.shape[0], device=images.device)
        return (self.num_train_timesteps * drawn.square()).long()


class Denoiser(nn.Module):
    """A diffusers ``UNet2DModel`` called the way MONAI's diffusion inferer calls a network.

    Args:
        start: a diffusers folder whose weights and shape it starts with; None starts with random weights.
        options: of the ``UNet2DModel``, where there is no ``start``.
    """

    def __init__(self, start: str | Path | None = None, **options: Any) -> None:
        super().__init__()
        self.unet: UNet2DModel = (
            UNet2DModel(**options)
            if start is None
            else UNet2DModel.from_pretrained(start, torch_dtype=torch.float32, low_cpu_mem_usage=False)
        )

    def forward(self, x: Tensor, timesteps: Tensor, context: None = None) -> Tensor:
        """Noise predicted in noisy images x (B, C, H, W) at timesteps (B,); returns (B, C, H, W)."""
        return self.unet(x, timesteps).sample


class SaveBackbone:
    """An Ignite handler that keeps the averaged UNet as a diffusers folder, replaced whole every ``interval`` epochs.

    Args:
        folder: where; loads as ``DiffusionBackbone(folder)``.
        denoiser: the network whose UNet is saved: the exponential moving average's.
        interval: epochs between savings; the end of the run saves too.
        half: write float16, half the size; it is read as float32.
    """

    def __init__(self, folder: str, denoiser: Denoiser, interval: int = 1, half: bool = False) -> None:
        self.folder, self.denoiser, self.interval, self.half = Path(folder), denoiser, interval, half

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval) | Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        fresh, old = self.folder.with_name(self.folder.name + ".new"), self.folder.with_name(self.folder.name + ".old")
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        with written_whole(fresh) as partial:
            unet = deepcopy(self.denoiser.unet)
            unet.register_to_config(_name_or_path="")  # else config.json tells the folder it was started from
            (unet.half() if self.half else unet).save_pretrained(partial)
            DDPMScheduler().save_pretrained(partial)
        if self.folder.exists():
            os.rename(self.folder, old)
        os.rename(fresh, self.folder)
        shutil.rmtree(old, ignore_errors=True)


def annealing(warmup: int, total: int, decay: int) -> Callable[[int], float]:
    """The learning rate's factor at a step: up to 1 in ``warmup`` steps, and down to 0 in the last ``decay`` of all."""
    return lambda step: max(0.0, min(1.0, (step + 1) / max(warmup, 1), (total - step) / max(decay, 1)))

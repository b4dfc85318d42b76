"""Pretraining a diffusion UNet on unlabelled images: the frozen backbone from a user's own pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Hashable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel
from ignite.engine import Engine, Events
from monai.config import KeysCollection
from monai.engines import DiffusionPrepareBatch
from monai.transforms import MapTransform, Randomizable
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import WeightedRandomSampler

from textdiff_monai.data.captions import SYMMETRIES
from textdiff_monai.data.files import written_whole
from textdiff_monai.data.layouts import load_images
from textdiff_monai.transforms.symmetry import apply_symmetry


def unlabelled_images(
    sources: str | Path | Sequence[str | Path], columns: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Images to learn from, each once: ``{"image": path, "source": index of the source}``.

    Args:
        sources: each as :func:`~textdiff_monai.load_images` takes it; of one that has splits, the training split alone
            is used.
        columns: other names of its columns, as there.

    Raises:
        DataError: for a source without images.
    """
    items: list[dict[str, Any]] = []
    for index, source in enumerate([sources] if isinstance(sources, (str, Path)) else sources):
        images = dict.fromkeys(item["image"] for item in load_images(source, split="train", columns=columns))
        items.extend({"image": image, "source": index} for image in images)
    return items


def even_sampler(items: Sequence[Mapping[str, Any]], num_samples: int, seed: int) -> WeightedRandomSampler:
    """Draws ``num_samples`` items an epoch, every source as often as any other, whatever their sizes."""
    sizes = torch.bincount(torch.tensor([item["source"] for item in items]))
    weights = [1.0 / sizes[item["source"]].item() for item in items]
    return WeightedRandomSampler(weights, num_samples, generator=torch.Generator().manual_seed(seed))


class RandViewd(Randomizable, MapTransform):
    """The image as heads will see it, or a part of it: (C, size, size), in one of its symmetries.

    Half of the time the whole image, squeezed to a square as ``resize`` does in training; else a square of it whose
    side is uniform between ``size`` pixels (its own resolution) and the shorter side of the image.

    Args:
        keys: images (C, H, W).
        size: pixels of the result.
        whole: how often the whole image is taken.
        symmetries: names to draw from, each as likely; pictures with an upright position are learned sooner without
            turns.
    """

    def __init__(
        self, keys: KeysCollection, size: int, whole: float = 0.5, symmetries: Sequence[str] = tuple(SYMMETRIES)
    ) -> None:
        MapTransform.__init__(self, keys)
        self.size, self.whole, self.symmetries = size, whole, tuple(symmetries)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            view = self._view(torch.as_tensor(d[key])[None])
            view = F.interpolate(view, (self.size, self.size), mode="bilinear", antialias=True)[0]
            d[key] = apply_symmetry(view, self.symmetries[self.R.randint(len(self.symmetries))])
        return d

    def _view(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        longest = min(height, width)
        if self.R.random_sample() < self.whole:
            return image
        side = longest if longest <= self.size else self.R.randint(self.size, longest + 1)
        top, left = self.R.randint(height - side + 1), self.R.randint(width - side + 1)
        return image[..., top : top + side, left : left + side]


class NoisedBatch(DiffusionPrepareBatch):
    """MONAI's batches for diffusion training, with time steps drawn early more often: T u^2 for a uniform u.

    Features are read at early steps (50 to 250 of 1000), which so get half of the training rather than a quarter.
    """

    def get_timesteps(self, images: Tensor) -> Tensor:
        drawn = torch.rand(images.shape[0], device=images.device)
        return (self.num_train_timesteps * drawn.square()).long()


class Denoiser(nn.Module):
    """A diffusers ``UNet2DModel`` called the way MONAI's diffusion inferer calls a network."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.unet = UNet2DModel(**options)

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
            (unet.half() if self.half else unet).save_pretrained(partial)
            DDPMScheduler().save_pretrained(partial)
        if self.folder.exists():
            os.rename(self.folder, old)
        os.rename(fresh, self.folder)
        shutil.rmtree(old, ignore_errors=True)


def draw_samples(backbone: str | Path, count: int = 16, steps: int = 50, seed: int = 0) -> Image.Image:
    """Images that a diffusion UNet makes of noise, as a square of tiles: a look at what it has learned.

    Args:
        backbone: a diffusers folder.
        count: number of images, a square number.
        steps: of denoising.
        seed: of the noise, that of the start and that of every step: with new noise (DDIM's eta of 1) a small model
            mends at one step what it got wrong at another.
    """
    try:
        scheduler = DDIMScheduler.from_pretrained(backbone)
    except OSError:  # no scheduler_config.json beside the weights
        scheduler = DDIMScheduler()
    pipeline = DDIMPipeline(UNet2DModel.from_pretrained(backbone), scheduler)
    generator = torch.Generator().manual_seed(seed)
    images = pipeline(count, generator, eta=1.0, num_inference_steps=steps).images  # type: ignore[operator]
    side, (width, height) = round(count**0.5), images[0].size
    page = Image.new("RGB", (side * width, side * height))
    for index, image in enumerate(images[: side * side]):
        page.paste(image, (index % side * width, index // side * height))
    return page

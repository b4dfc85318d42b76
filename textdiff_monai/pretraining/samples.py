"""Images that a diffusion UNet makes of noise: a look at what it has learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from monai.transforms import Compose
from PIL import Image, ImageDraw
from torch import Tensor

from textdiff_monai.transforms.preprocessing import loading
from textdiff_monai.transforms.scales import squeezed

_LABEL = 14  # pixels above a row for the kind's name


def draw_samples(backbone: str | Path, count: int = 16, steps: int = 50, seed: int = 0) -> Image.Image:
    """Images that a diffusion UNet makes of noise alone, as a square of tiles.

    Args:
        backbone: a diffusers folder.
        count: number of images, a square number.
        steps: of denoising.
        seed: of the noise, that of the start and that of every step: with new noise (DDIM's eta of 1) a small model
            mends at one step what it got wrong at another.

    Raises:
        ValueError: for a number that is not square.
    """
    side = round(max(count, 0) ** 0.5)
    if side < 1 or side**2 != count:
        raise ValueError(f"count {count}: expected a square number, such as {max(side, 1) ** 2}")
    pipeline = DDIMPipeline(UNet2DModel.from_pretrained(backbone), _scheduler(backbone))
    generator = torch.Generator().manual_seed(seed)
    images = pipeline(count, generator, eta=1.0, num_inference_steps=steps).images  # type: ignore[operator]
    width, height = images[0].size
    page = Image.new("RGB", (side * width, side * height))
    for index, image in enumerate(images):
        page.paste(image, (index % side * width, index // side * height))
    return page


@torch.no_grad()
def draw_variations(
    backbone: str | Path,
    items: Sequence[Mapping[str, Any]],
    noised: int = 400,
    count: int = 3,
    steps: int = 50,
    seed: int = 0,
) -> Image.Image:
    """What a diffusion UNet makes of pictures of which noise left the rough layout: one row for each kind.

    Args:
        backbone: a diffusers folder.
        items: as of :func:`~textdiff_monai.unlabelled_images`; the first of each kind is taken.
        noised: the time step to which noise is added.
        count: of different ends.
        steps: of denoising, from there on.
        seed: of all noise.

    Returns:
        Rows of the picture, the picture with noise, and what is made of that, each time with other noise.
    """
    unet, scheduler = UNet2DModel.from_pretrained(backbone).eval(), _scheduler(backbone)
    scheduler.set_timesteps(steps * scheduler.config["num_train_timesteps"] // noised)
    generator, side = torch.Generator().manual_seed(seed), unet.config["sample_size"]
    read = Compose(loading(["image"]))
    firsts: dict[str, str] = {}
    for item in items:
        firsts.setdefault(item["kind"], item["image"])
    page = Image.new("RGB", ((2 + count) * side, len(firsts) * (side + _LABEL)), "white")
    for row, (kind, path) in enumerate(sorted(firsts.items())):
        picture = squeezed(torch.as_tensor(read({"image": path})["image"]), side)[None]
        noise = torch.randn(picture.shape, generator=generator)
        noisy = scheduler.add_noise(picture, noise, torch.tensor([noised]))
        made = noisy.expand(count, -1, -1, -1)
        for t in scheduler.timesteps[scheduler.timesteps <= noised]:
            made = scheduler.step(unet(made, t).sample, t, made, eta=1.0, generator=generator).prev_sample
        ImageDraw.Draw(page).text((2, row * (side + _LABEL)), kind, "black")
        for column, image in enumerate([picture[0], noisy[0], *made]):
            page.paste(_shown(image), (column * side, row * (side + _LABEL) + _LABEL))
    return page


def _scheduler(backbone: str | Path) -> DDIMScheduler:
    try:
        return DDIMScheduler.from_pretrained(backbone)
    except OSError:  # no scheduler_config.json beside the weights
        return DDIMScheduler()


def _shown(image: Tensor) -> Image.Image:
    levels = image.clamp(-1, 1).add(1).mul(127.5).round().byte()
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()))

"""Images that a diffusion UNet makes of noise: a look at what it has learned."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from PIL import Image


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

"""What a diffusion UNet has learned, as a picture."""

from __future__ import annotations

from pathlib import Path

from textdiff_monai.pretraining.samples import draw_samples


def samples(backbone: str | Path, out: str | Path, count: int = 16, steps: int = 50, seed: int = 0) -> Path:
    """Draw images from a diffusion UNet, to see what its pretraining has learned.

    Args:
        backbone: its folder.
        out: the picture to write.
        count: number of images, a square number.
        steps: denoising steps.
        seed: of the noise.
    """
    draw_samples(backbone, count, steps, seed).save(out)
    return Path(out)

"""What a diffusion UNet has learned, as a picture."""

from __future__ import annotations

from pathlib import Path

from textdiff_monai.pretraining.images import unlabelled_images
from textdiff_monai.pretraining.samples import draw_samples, draw_variations


def samples(
    backbone: str | Path,
    out: str | Path,
    count: int | None = None,
    steps: int = 50,
    seed: int = 0,
    images: str | Path | None = None,
) -> Path:
    """Draw images from a diffusion UNet, to see what its pretraining has learned.

    Args:
        backbone: its folder.
        out: the picture to write.
        count: number of images, a square number; with --images, of reconstructions of each picture. Default 16, or 4.
        steps: denoising steps.
        seed: of the noise.
        images: a table with a column `kind`: one held-out picture of each (split `val`) gets so much noise that little
            but its layout is left, and the UNet makes up the rest.
    """
    if images is None:
        draw_samples(backbone, count or 16, steps, seed).save(out)
    else:
        held_out = unlabelled_images(images, "val")
        if not held_out:
            raise ValueError(f"{images}: no held-out pictures; the column split says val for some")
        draw_variations(backbone, held_out, count=count or 4, steps=steps, seed=seed).save(out)
    return Path(out)

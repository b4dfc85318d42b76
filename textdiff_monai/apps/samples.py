"""What a diffusion UNet has learned, as a picture."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from textdiff_monai.data.files import written_file
from textdiff_monai.networks.frozen import check_source
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
        backbone: folder of the UNet.
        out: the picture to write.
        count: number of images, a square number (default 16); with --images, number of reconstructions of each picture
            (default 4).
        steps: denoising steps.
        seed: seed of the noise.
        images: a table with a column `kind`: one held-out picture of each kind (split `val`) gets so much noise that
            little more than its layout is left, and the UNet fills in the rest.

    Raises:
        ValueError: for a name that is not a picture's, a number that is not square, no steps, or a table without such
            images.
        FileNotFoundError: for a backbone that does not exist.
    """
    kind = Image.registered_extensions().get(Path(out).suffix.lower())
    if kind not in Image.SAVE:
        raise ValueError(f"{out}: expected the name of a picture, such as {Path(out).stem}.png")
    if steps < 1:
        raise ValueError(f"steps {steps}: expected 1 or more")
    check_source(backbone)
    if images is None:
        page = draw_samples(backbone, 16 if count is None else count, steps, seed)
    else:
        held_out = unlabelled_images(images, "val")
        if not held_out:
            raise ValueError(f"{images}: no held-out pictures; write val in the column split for some")
        page = draw_variations(backbone, held_out, count=4 if count is None else count, steps=steps, seed=seed)
    with written_file(out) as partial:
        page.save(partial, kind)
    return Path(out)

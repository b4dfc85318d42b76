"""A data set of generated images, for tests and demonstrations."""

from __future__ import annotations

import csv
from pathlib import Path

from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.data.files import written_whole
from textdiff_monai.phantoms.case import make_case


def write_phantom(
    folder: str | Path,
    kind: str = "chest",
    train: int = 50,
    val: int = 16,
    test: int = 40,
    seed: int = 0,
    size: int = 256,
    swapped: bool = False,
) -> Path:
    """Generate images with masks and captions whose targets cannot be found without reading the caption.

    The data set has ``images/*.png`` (RGB), ``masks/*.png`` (0 and 255) and ``text.csv`` with the columns ``image``,
    ``mask``, ``text`` and ``split``. The folder appears only when it is complete.

    Args:
        folder: must not exist yet.
        kind: chest (X-ray-like, findings among other opacities) or nuclei (histology-like).
        train: number of training images.
        val: number of validation images.
        test: number of test images.
        seed: seed of the whole set. No two images of a set, or of sets with different seeds, are the same.
        size: height and width in pixels.
        swapped: the same images, but with left and right exchanged in each caption and the mask of what it then names.

    Returns:
        The folder.

    Raises:
        ValueError: for fewer than 0 images of a split, or none at all.
        FileExistsError: for a folder that exists.
    """
    if min(train, val, test) < 0 or not train + val + test:
        raise ValueError(f"train {train}, val {val}, test {test}: expected 0 or more of each, and 1 in all")
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    with written_whole(folder) as unfinished:
        for name in ("images", "masks"):
            (unfinished / name).mkdir()
        with open(unfinished / "text.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["image", "mask", "text", "split"])
            for number, split in enumerate(tqdm(splits, desc=f"{kind} phantom", unit="image")):
                case = make_case(kind, (seed << 32) + number, size)
                name = f"{kind}_{number:04d}.png"
                Image.fromarray(case.image).save(unfinished / "images" / name)
                mask = case.swapped_mask if swapped else case.mask
                Image.fromarray(mask * 255).save(unfinished / "masks" / name)
                table.writerow([name, name, case.swapped_text if swapped else case.text, split])
    return Path(folder)

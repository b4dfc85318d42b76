"""Masks of images from sentences: what ``inference.json`` computes, with pictures to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.apps.overrides import overrides
from textdiff_monai.apps.trained import inference_config, trained
from textdiff_monai.data.checks import check_datalist
from textdiff_monai.data.layouts import load_images
from textdiff_monai.data.results import Results


def segment(
    source: str | Path, text: str = "", out: str | Path = "segmented", columns: dict | None = None, **options: Any
) -> list[Path]:
    """Segment one or many images by what a sentence names: masks, overlays and probabilities.

    Every image and sentence gets three files in ``out``: ``*_mask``, where class k is k (of two classes in a PNG, the
    foreground is 255); ``*_probability``, of the foreground, 0 to 255 in a PNG; both as wide and high as the source as
    it is seen, or NIfTI in the shape, axes and affine of one; and ``*_overlay.png``. They are named by the image, and
    numbered where names would be the same; ``results.csv`` says which is of which image and sentence.

    Args:
        source: an image, a folder of images, or a table with the columns image and, where sentences differ, text.
        text: the sentence, for images without one of their own.
        out: folder for the results, made when needed.
        columns: other names of the table's columns, such as "{'image': 'file'}".
        options: of inference.json, such as --checkpoint RUN/model.pt.

    Returns:
        The masks' paths.

    Raises:
        UsageError: for options that inference.json does not have, or uses elsewhere.
        ValueError: for images that cannot be read, or options that the checkpoint was not trained with; before any
            work.
    """
    used = ("preprocessing", "inferer", "device")
    options = overrides(options, [inference_config()], segment, ("network", *used))
    items = load_images(source, text, columns=columns)
    check_datalist(items)
    results = Results(out, pictures=True)
    network, preprocess, infer, device = trained(used, options)
    for item in tqdm(items, desc="segmenting", unit="image"):
        image = preprocess(item)["image"]
        with torch.no_grad():
            logits = infer(image[None].to(device), network)[0].cpu()
        shown, mask = (image.numpy().transpose(1, 2, 0) + 1) * 127.5, logits.argmax(0).to(torch.uint8)
        results.add({**item, "doubt": image.meta["doubt"]}, mask.numpy(), logits.softmax(0).numpy(), shown)
    print(f"written: {len(results.masks)} masks, with overlays, probabilities and results.csv, in {out}")
    return results.masks

"""Masks of images and volumes from sentences: what ``inference.json`` computes, with pictures to look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.apps.overrides import overrides
from textdiff_monai.apps.trained import cause, inference_config, trained
from textdiff_monai.data.checks import readable
from textdiff_monai.data.files import read_rows
from textdiff_monai.data.layouts import load_images
from textdiff_monai.data.pictures import sheet
from textdiff_monai.data.problems import DataError
from textdiff_monai.data.results import Results
from textdiff_monai.data.runs import Run, file_hash
from textdiff_monai.transforms.picture import space_of

Item = Mapping[str, Any]
_VALUES = 2**27  # of an image and its sentences, that are in memory at once


def segment(
    source: str | Path,
    text: str = "",
    out: str | Path = "segmented",
    texts: Sequence[str] = (),
    slices: str = "",
    columns: dict | None = None,
    output_type: str | None = None,
    preview: bool = False,
    again: bool = False,
    **options: Any,
) -> list[Path]:
    """Segment images and volumes by what a sentence names: masks, overlays and probabilities.

    Every image and sentence gets three files in ``out``: ``*_mask``, where class k is k (of two classes in a PNG, the
    foreground is 255); ``*_probability``, of the foreground, 0 to 255 in a PNG; both as wide and high as the source as
    it is seen, or NIfTI in the shape, axes and affine of what lies in space; and ``*_overlay.png``. They are named by
    the image, and numbered where names would be the same; ``results.csv`` says which is of which image and sentence,
    and how much it marks; ``run.json`` what made them. A run that was stopped goes on; one bad file does not end it.

    Args:
        source: an image, a volume or a DICOM series (FOLDER, or FOLDER#NUMBER of several), a folder of any of these,
            nested as you like, or a table with the columns image and, where sentences differ, text and slices.
        text: the sentence, for images without one of their own.
        out: folder for the results, made when needed.
        texts: several sentences instead, each a mask of its own: "['left lung', 'right lung']".
        slices: of volumes, that the sentence is about, such as 10-20, counted from 0 at the feet; default all.
        columns: other names of the table's columns, such as "{'image': 'file'}".
        output_type: of the masks; default nifti for what lies in space and png for pictures.
        preview: also one contact sheet of the run, preview.png.
        again: computes anew what an equal run has left in out.
        options: of inference.json, such as --checkpoint RUN/model.pt.

    Returns:
        The masks' paths.

    Raises:
        UsageError: for options that inference.json does not have, or uses elsewhere.
        ValueError: for options that the checkpoint was not trained with, before any work; for files that could not be
            read, when all others are through.
    """
    used = ("reading", "asking", "inferer", "device", "class_names", "plane", "checkpoint", "trained")
    options = overrides(options, [inference_config()], segment, ("network", *used))
    items = [{"slices": slices, **item} for item in load_images(source, texts or text, columns=columns)]
    network, read, ask, infer, device, class_names, plane, checkpoint, recipe = trained(used, options)
    groups, problems = readable(items, plane)
    if not groups:
        raise DataError("the images", problems)
    results = Results(out, output_type, True, class_names)
    run = Run(out, _settings(options, recipe, checkpoint, device) | {"output_type": output_type})
    with tqdm(total=sum(count * len(own) for own, count in groups), desc="segmenting", unit="slice") as bar:
        for own, count in groups:
            left = [item for item in own if again or not (run.goes_on and results.keeps(item))]
            bar.update(count * (len(own) - len(left)))
            try:
                _segment(left, read, ask, lambda *given: infer(*given, progress=bar.update), network, device, results)
            except Exception as error:  # whatever one file does, the others go on
                problems.append(_reason(own[0]["image"], cause(error)))
            run.write(len(results.masks), problems)
    if preview:
        _preview(results)
    print(f"written: {len(results.masks)} masks, with overlays, probabilities, results.csv and run.json, in {out}")
    if problems:
        raise DataError("the images; the others are through", problems)
    return results.masks


def _segment(
    items: Sequence[Item],
    read: Callable[..., dict],
    ask: Callable[..., dict],
    infer: Callable[..., torch.Tensor],
    network: torch.nn.Module,
    device: torch.device,
    results: Results,
) -> None:
    """An image with all its sentences: read once, its features computed once."""
    if not items:
        return
    start = time.monotonic()
    image = read(dict(items[0]))["image"]
    at_once = max(1, min(8, _VALUES // image.numel()))
    for first in range(0, len(items), at_once):
        some = items[first : first + at_once]
        asked = [ask({**item, "image": MetaTensor(image.as_tensor(), meta=dict(image.meta))})["image"] for item in some]
        meta = {name: [one.meta[name] for one in asked] for name in ("text", "slices")}
        batch = MetaTensor(image.as_tensor().to(device).expand(len(some), *image.shape), meta=meta)
        with torch.no_grad():
            found = infer(batch, network)
        for item, one, logits in zip(some, asked, found, strict=True):
            logits = logits.as_tensor().cpu() if isinstance(logits, MetaTensor) else logits.cpu()
            mask = logits.argmax(0).to(torch.uint8).numpy()
            told = {**item, "doubt": one.meta["doubt"], "seconds": (time.monotonic() - start) / len(some)}
            results.add(told, mask, logits.softmax(0).numpy(), image.numpy(), space_of(image))
        start = time.monotonic()


def _settings(options: Mapping[str, Any], recipe: Mapping[str, Any], checkpoint: str, device: Any) -> dict[str, Any]:
    about = {"checkpoint": checkpoint, "checkpoint_sha256": file_hash(checkpoint), "encoders": recipe["encoders"]}
    return about | {"options": {**options}, "device": str(device)}


def _reason(path: str, error: BaseException) -> str:
    if isinstance(error, ValueError):
        return str(error) if str(error).startswith(path) else f"{path}: {error}"
    return f"{path}: could not be segmented ({type(error).__name__}); see that it opens elsewhere"


def _preview(results: Results) -> None:
    """Overlays of the run, four in a row."""
    rows = {row["mask"]: row for row in read_rows(results.table)}
    shown = [rows[mask.name] for mask in results.masks if mask.name in rows]
    cells: list[tuple[Image.Image, str]] = [
        (Image.open(results.folder / row["overlay"]), f"{row['id']}: {row['text']}") for row in shown
    ]
    cells += [(Image.new("RGB", (1, 1), "white"), "")] * (-len(cells) % 4)
    sheet([""] * 4, [cells[at : at + 4] for at in range(0, len(cells), 4)]).save(results.folder / "preview.png")

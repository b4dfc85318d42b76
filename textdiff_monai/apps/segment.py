"""Masks of images, volumes and slides from sentences: what ``inference.json`` computes, with pictures to look at."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.apps.options import UsageError
from textdiff_monai.apps.overrides import overrides
from textdiff_monai.apps.segmenter import NODES, Segmenter
from textdiff_monai.apps.trained import inference_config
from textdiff_monai.data.checks import readable
from textdiff_monai.data.files import read_rows
from textdiff_monai.data.layouts import load_images
from textdiff_monai.data.pictures import sheet
from textdiff_monai.data.problems import DataError, cause
from textdiff_monai.data.readers import open_scan
from textdiff_monai.data.results import Results
from textdiff_monai.data.runs import Run, file_hash
from textdiff_monai.data.slides.regions import read_regions
from textdiff_monai.data.slides.slide import Slide


def segment(
    source: str | Path,
    text: str = "",
    out: str | Path = "segmented",
    texts: Sequence[str] = (),
    slices: str = "",
    columns: dict | None = None,
    output_type: str | None = None,
    window: int | None = None,
    regions: str | Path | None = None,
    preview: bool = False,
    words: bool = False,
    again: bool = False,
    **options: Any,
) -> list[Path]:
    """Segment images, volumes and slides by a sentence: masks, overlays and probabilities.

    For every image and sentence, ``out`` gets ``*_mask`` (class k has the value k; in a PNG with two classes, the
    foreground is 255), ``*_probability`` of the foreground (0 to 255 in a PNG) and ``*_overlay.png``; with a checkpoint
    of several heads also ``*_disagreement``, how much these differ. Files have the width and height that the image has
    in viewers, or are NIfTI with the shape, axes and affine of the source. They are named after the image, with a
    number if names clash. ``results.csv`` says which file belongs to which image and sentence and how much it marks,
    ``run.json`` how they were made. A run that was stopped resumes; one bad file does not end it.

    Args:
        source: an image, a volume, a DICOM series (FOLDER, or FOLDER#NUMBER if it contains several), a slide, a folder
            with any of these, also nested, or a table with the column image and, if sentences differ, text and slices.
        text: the sentence, for images without one of their own.
        out: folder for the results, created if needed.
        texts: several sentences instead, each with its own mask: "['left lung', 'right lung']".
        slices: for volumes, the slices that the sentence refers to, such as 10-20, counted from 0 at the feet; default
            all.
        columns: other names for the table's columns, such as "{'image': 'file'}".
        output_type: format of the masks: nifti, png, dicom_seg or geojson; default nifti for images with a position in
            space, png for pictures.
        window: for slides, the side in pixels of the windows in which they are read, each as a separate image; default
            the size of the tiles that the head was trained on; required if it was trained on whole images.
        regions: for slides, a GeoJSON file as written by QuPath; an annotation's name is the sentence about it.
        preview: also write preview.png, one sheet with all overlays of the run.
        words: also write the effect of each word, the attention to it and what is marked without it, to
            ``*_words.png`` and ``*_words.csv``; for a volume, in the slice with the largest mask.
        again: recompute results that an identical earlier run left in `out`.
        options: options of inference.json, such as --checkpoint RUN/model.pt.

    Returns:
        The masks' paths.

    Raises:
        UsageError: for options that inference.json does not have, or uses elsewhere, or that contradict each other.
        ValueError: for options that the checkpoint was not trained with, and results among the images, before any work;
            for files that could not be read, when all others are through.
    """
    options = overrides(options, [inference_config()], segment, ("network", *NODES))
    if text and texts:
        raise UsageError("--text gives one sentence for every image, --texts several; give only one of the two")
    items = [{"slices": slices, **item} for item in load_images(source, texts or text, columns=columns, out=out)]
    head = Segmenter(options, window, read_regions(regions) if regions else (), words)
    if (silent := sum(not item["text"] for item in items)) and head.nodes["trained"].get("words") and not regions:
        what = f"{silent} of {len(items)} images are read without a sentence, but this head was trained to read one"
        warnings.warn(f"{what}; give --text", stacklevel=2)
    groups, problems = readable(items, head.nodes["plane"])
    if not groups:
        raise DataError("the images", problems)
    results = Results(out, output_type, True, head.nodes["class_names"])
    own = {"output_type": output_type, "window": window, "regions": file_hash(regions) if regions else None}
    own |= {"words": words}
    run = Run(out, _settings(head) | own)
    with tqdm(total=sum(count * len(own) for own, count in groups), desc="segmenting", unit="slice") as bar:
        for group, count in groups:
            left = [item for item in group if again or not results.keeps(item, run.since)]
            bar.update(count * (len(group) - len(left)))
            try:
                scan = open_scan(group[0]["image"], head.nodes["plane"])
                if isinstance(scan, Slide) and left:
                    head.slide(left, scan, results)
                    bar.update(len(left))
                elif left and (regions or window):
                    given = "regions" if regions else "window"
                    raise ValueError(f"--{given} applies to slides, and this is not one; leave out --{given}")
                elif left:
                    head.image(left, results, bar.update)
            except Exception as error:  # whatever one file does, the others go on
                problems.append(_reason(group[0]["image"], cause(error)))
            run.write(len(results.masks), problems)
    if preview:
        _preview(results)
    print(f"written: {len(results.masks)} masks, with overlays, probabilities, results.csv and run.json, in {out}")
    if problems:
        raise DataError("the images; the others were segmented", problems)
    return results.masks


def _settings(head: Segmenter) -> dict[str, Any]:
    checkpoint = head.nodes["checkpoint"]
    about = {"checkpoint": checkpoint, "checkpoint_sha256": file_hash(checkpoint)}
    about |= {"encoders": head.nodes["trained"]["encoders"], "options": {**head.options}}
    return about | {"device": str(head.nodes["device"])}


def _reason(path: str, error: BaseException) -> str:
    if isinstance(error, ValueError):
        return str(error) if str(error).startswith(path) else f"{path}: {error}"
    return f"{path}: could not be segmented ({type(error).__name__}); check that it opens in a viewer"


def _preview(results: Results) -> None:
    """Overlays of the run, four in a row."""
    masks = {mask.name for mask in results.masks}
    cells = [_cell(results.folder, row) for row in read_rows(results.table) if row["mask"] in masks]
    cells += [(Image.new("RGB", (1, 1), "white"), "")] * (-len(cells) % 4)
    sheet([""] * 4, [cells[at : at + 4] for at in range(0, len(cells), 4)]).save(results.folder / "preview.png")


def _cell(folder: Path, row: Mapping[str, str]) -> tuple[Image.Image, str]:
    with Image.open(folder / row["overlay"]) as picture:
        picture.thumbnail((512, 512))
        return picture.copy(), f"{row['id']}: {row['text']}"

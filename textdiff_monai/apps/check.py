"""A look at a data set before any work is spent on it."""

from __future__ import annotations

from pathlib import Path

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.data.checks import check_datalist
from textdiff_monai.data.items import SPLITS
from textdiff_monai.data.layouts import load_datalist
from textdiff_monai.engines.sentences import check_sentences
from textdiff_monai.networks.text_encoder import TextEncoder


def check(
    dataset_dir: str | Path,
    num_classes: int = 2,
    columns: dict | None = None,
    mask_colours: dict | None = None,
    text_encoder: str | Path | None = None,
    plane: str | None = None,
) -> None:
    """Check a data set before any work: open every file, and list all problems at once.

    Warnings include patients in several splits, classes without a mask, and sentences that are truncated or have
    unknown words.

    Args:
        dataset_dir: a table (image,mask,text,split), a MONAI data list, a folder with one, or one in LViT's layout.
        num_classes: number of classes in the masks, including the background.
        columns: other names for the table's columns, such as "{'image': 'file', 'text': 'report'}".
        mask_colours: classes by colour, for masks that are pictures, such as "{'red': 1, '#00ff00': 2}".
        text_encoder: the encoder that will read the sentences; default the one in the bundle.
        plane: the plane in which volumes are sliced: axial, coronal or sagittal; default as they were acquired.

    Raises:
        DataError: listing the problems.
    """
    items = load_datalist(dataset_dir, columns=columns)
    check_datalist(items, num_classes, mask_colours=mask_colours, plane=plane)
    check_sentences(items, TextEncoder(text_encoder or f"{bundle_root()}/models/text_encoder"))
    images = {split: {item["image"] for item in items if item["split"] == split} for split in SPLITS}
    counts = ", ".join(f"{len(found)} {split}" for split, found in images.items())
    sentences = f", with {len(items)} sentences," if len(items) > sum(map(len, images.values())) else ""
    print(f"{counts} images{sentences} in {dataset_dir} are in order")

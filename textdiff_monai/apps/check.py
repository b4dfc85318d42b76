"""A look at a data set before any work is spent on it."""

from __future__ import annotations

from pathlib import Path

from textdiff_monai.data.checks import check_datalist
from textdiff_monai.data.layouts import SPLITS, load_datalist


def check(dataset_dir: str | Path, num_classes: int = 2) -> None:
    """Check a data set before any work: every file is opened, all problems are listed at once.

    Args:
        dataset_dir: a CSV file (image,mask,text,split), a folder with one, or a folder in LViT's layout.
        num_classes: classes of the masks, background included.

    Raises:
        DataError: listing the problems.
    """
    items = load_datalist(dataset_dir)
    check_datalist(items, num_classes)
    counts = {split: sum(item["split"] == split for item in items) for split in SPLITS}
    print(", ".join(f"{count} {split}" for split, count in counts.items()) + f" images in {dataset_dir} are in order")

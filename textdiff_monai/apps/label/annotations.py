"""Images annotated in a viewer, and the sentences beside them, as a data set."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textdiff_monai.data.names import stem_of
from textdiff_monai.data.problems import DataError, listed
from textdiff_monai.data.tables import read_table

FINAL = "final"  # the tag under which viewers submit
_SAID = ("text", "slices", "value")  # what a row says of its mask
_logger = logging.getLogger(__name__)


def submitted_masks(datastore: Any) -> list[dict[str, str]]:
    """Every mask that was submitted to a MONAI Label datastore: ``image`` and ``label`` (paths), and its ``tag``.

    Viewers submit one mask an image, tagged "final"; over HTTP an image gets one for each tag. What inference left,
    tagged "original", is no annotation. A series of which an archive holds several DICOM SEGs, none of them submitted
    here, is left out with a warning: nobody says which is meant.
    """
    found, several = list[dict[str, str]](), list[str]()
    annotated, archived = datastore.datalist(), Counter(datastore.get_labeled_images())
    for item in annotated:
        image = stem_of(item["image"])
        if archived[image] > 1 and "RetrieveURL" in datastore.get_label_info(image, FINAL):  # from there
            several.append(image)
        else:
            found.append({**item, "tag": FINAL})
    if several:
        what = "series have several DICOM SEGs in the archive and are left out; submit the mask to train on"
        _logger.warning(f"{len(several)} {what}: {listed(several)}")
    for image in datastore.list_images():
        for tag in datastore.get_labels_by_image_id(image):
            if tag not in (FINAL, "original"):
                label = datastore.get_label_uri(image, tag)
                found.append({"image": datastore.get_image_uri(image), "label": label, "tag": tag})
    return found


def annotated_rows(
    annotated: Sequence[Mapping[str, str]], sentences: Path, val_split: float = 0.2
) -> list[dict[str, str]]:
    """Rows of a data set as a table: annotated images, the last by name for validation, with their sentences.

    A mask with several sentences (wordings of the same, or of other slices or numbers in the mask) makes as many rows;
    one without gets an empty sentence. All rows of an image are in one split.

    Args:
        annotated: items with the paths ``image`` and ``label``, and a ``tag`` where an image has several masks.
        sentences: a table with the columns ``image`` and ``text``, where there is one, and ``tag`` to say which mask of
            the image a sentence is of; "final", as viewers tag, where it is empty. ``slices`` and ``value`` are as in
            any data set. Rows and images are matched by file name, with or without its ending.
        val_split: fraction of the images for validation; training and validation get one at least.

    Raises:
        ValueError: for fewer than two annotated images, or a table without its columns.
    """
    images = sorted({item["image"] for item in annotated})
    if len(images) < 2:
        raise ValueError(f"{len(images)} annotated images: submit masks of two or more, to train and to validate")
    said, problems = dict[tuple[str, str], list[dict[str, str]]](), list[str]()
    for row in read_table(sentences, ("image", "text"), problems) if sentences.exists() else []:
        key = stem_of(row.cells["image"].replace("\\", "/")), row.cells.get("tag") or FINAL
        if row.cells["text"]:
            said.setdefault(key, []).append({name: row.cells.get(name, "") for name in _SAID})
    if problems:
        raise DataError(sentences, problems)
    training = set(images[: min(max(round(len(images) * (1 - val_split)), 1), len(images) - 1)])
    rows, silent, several = list[dict[str, str]](), list[str](), list[str]()
    for item in sorted(annotated, key=lambda item: (item["image"], item.get("tag", FINAL))):
        name = stem_of(item["image"])
        own = said.get((name, item.get("tag", FINAL)), [])
        silent += [] if own else [name]
        several += [name] if len({(each["slices"], each["value"]) for each in own}) < len(own) else []
        of = {"image": item["image"], "mask": item["label"], "split": "train" if item["image"] in training else "val"}
        rows += [of | each for each in own or [dict.fromkeys(_SAID, "")]]
    if silent:
        _logger.warning(f"{len(silent)} of {len(rows)} masks have no sentence in {sentences}: {listed(silent)}")
    if several:
        _logger.warning(f"{len(several)} masks have several sentences, which must mean the same: {listed(several)}")
    return rows

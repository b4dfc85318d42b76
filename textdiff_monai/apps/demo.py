"""The demonstration: a phantom, a training through the bundle, and what the sentence is worth."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
from PIL import Image

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.apps.segment import segment
from textdiff_monai.data.captions import recaption
from textdiff_monai.data.checks import read_array
from textdiff_monai.data.files import read_rows, write_rows
from textdiff_monai.data.layouts import load_datalist
from textdiff_monai.data.pictures import overlay, sheet
from textdiff_monai.phantoms.case import bound_without_text, make_case
from textdiff_monai.phantoms.phantom import write_phantom

# The sides of a chest are the body's, so it is mirrored at most; tissue may be turned as well.
_SYMMETRIES = {"chest": ["identity", "mirror"], "nuclei": None}
_QUESTION = {"chest": "one infected area, upper left lung", "nuclei": "Segment the nuclei in the upper left."}
_SIZE = 128
# Name in the summary, captions that the network reads, folder of the data.
_READINGS = (
    ("dice", "own", "data"),
    ("dice_without_text", "none", "data"),
    ("dice_wrong_text", "other", "data"),
    ("dice_swapped_text", "swapped", "data"),
    ("dice_swapped_text_and_mask", "own", "swapped"),
)
_MEANING = {
    "dice": "with its caption",
    "dice_without_text": "without a caption",
    "dice_wrong_text": "with another image's caption",
    "dice_swapped_text": "with left and right exchanged in the caption",
    "dice_swapped_text_and_mask": "the same, against the mask of the other side",
    "dice_bound_without_text": "at best expected without reading, seeing all else perfectly",
}


def demo(folder: str | Path = "demo", kind: str = "chest", epochs: int = 30, seed: int = 0) -> dict[str, float]:
    """Generate a phantom, train on it and measure what the sentence is worth.

    The training is ``python -m monai.bundle run``'s, the evaluation repeats it with right and wrong captions.

    Args:
        folder: a new folder; it gets the data, ``model.pt``, the reports, ``cases.csv``, ``story.png`` and
            ``summary.json``.
        kind: of the phantom, chest or nuclei.
        epochs: training epochs over 40 images.
        seed: of the images and the training.

    Returns:
        The summary: per-image mean Dice on the 24 test images with each caption, and seconds.
    """
    start, root = time.monotonic(), Path(folder).resolve()
    if root.exists():
        raise FileExistsError(f"{root} exists; remove it or choose another folder")
    splits: dict[str, Any] = {"train": 40, "val": 8, "test": 24}
    print(f"1. Generating {sum(splits.values())} images in {root}/data")
    write_phantom(root / "data", kind, **splits, seed=seed, size=_SIZE)
    write_phantom(root / "swapped", kind, **splits, seed=seed, size=_SIZE, swapped=True)
    options: dict[str, Any] = {
        "dataset_dir": str(root / "data"),
        "output_dir": str(root),
        "ckpt_dir": str(root),
        "cache_dir": str(root / "cache"),
        "resize": _SIZE,
        "max_epochs": epochs,
        "val_interval": 5,
        "seed": seed,
    }
    if _SYMMETRIES[kind]:
        options["symmetries"] = _SYMMETRIES[kind]
    print("2. Training the head on 40 images and their captions; the first epochs compute the frozen features as well")
    _train(options)
    print("3. Evaluating on 24 other images, with right and wrong captions")
    summary = {name: _evaluate(root, options, name, captions, data) for name, captions, data in _READINGS}
    cases = [make_case(kind, (seed << 32) + sum(splits.values()) - 1 - i, _SIZE) for i in range(splits["test"])]
    summary["dice_bound_without_text"] = bound_without_text(cases)
    _write_cases(root)
    _tell_story(root)
    summary["seconds"] = time.monotonic() - start
    (root / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print("\nDice on the test images, mean over images (1 is perfect):")
    for name, meaning in _MEANING.items():
        print(f"  {summary[name]:.3f}  {meaning}")
    print(
        "\nThe sentence decides if the first figure is far above the next three, and the fifth close to it.\n"
        f"Everything is in {root}: story.png shows it, cases.csv has every image, summary.json these figures,\n"
        f"model.pt the trained head ({summary['seconds']:.0f} s). Ask it yourself:\n"
        f'  textdiff segment {root}/data/images --text "{_QUESTION[kind]}" '
        f"--checkpoint {root}/model.pt --out {root}/segmented"
    )
    return summary


def _train(options: dict[str, Any]) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "training"]
    command += ["--config_file", f"{bundle_root()}/configs/train.json"]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True)


def _evaluate(root: Path, options: dict[str, Any], name: str, captions: str, data: str) -> float:
    report = root / "reports" / name
    files = [f"{bundle_root()}/configs/{config}.json" for config in ("train", "evaluate")]
    changed = {"captions": captions, "report_dir": str(report), "dataset_dir": str(root / data)}
    monai.bundle.run("run", config_file=files, **options | changed)
    return float(json.loads((report / "metrics.json").read_text())["mean_dice"])


def _write_cases(root: Path) -> None:
    """One row an image: its caption, and the Dice with each caption."""
    rows: dict[str, dict[str, Any]] = {}
    for name, _, _ in _READINGS:
        for case in read_rows(root / "reports" / name / "cases.csv"):
            row = rows.setdefault(case["id"], {"id": case["id"], "text": case["text"]})
            row[name] = case["mean_dice"]
    write_rows(root / "cases.csv", list(rows.values()))


def _tell_story(root: Path, count: int = 3) -> None:
    """``story.png``: test images, their captions and truths, and what is predicted with right and wrong captions."""
    items = load_datalist(root / "data", "test")
    order = np.argsort([-float(row["dice"]) for row in read_rows(root / "cases.csv")])
    chosen = sorted(order[np.linspace(0, len(items) - 1, count + 2).astype(int)[1:-1]])  # good, middling, poor
    told = {captions: recaption(items, captions) for captions in ("own", "swapped", "other")}
    with (root / "story.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "text"])
        table.writerows([items[i]["image"], told[name][i]["text"]] for i in chosen for name in told)
    out = root / "story"
    segment(root / "story.csv", out=out, checkpoint=str(root / "model.pt"), cache_dir=str(root / "cache"))
    rows = []
    for i in chosen:
        image = read_array(items[i]["image"])
        truth = overlay(image, read_array(items[i]["label"]) > 0)
        files = [items[i]["id"] + suffix for suffix in ("", "_2", "_3")]
        read = [
            (Image.open(out / f"{file}_overlay.png"), told[name][i]["text"])
            for file, name in zip(files, told, strict=True)
        ]
        rows.append([(Image.fromarray(image), ""), (truth, ""), *read])
    headers = ["image", "truth", "with its caption", "left and right exchanged", "with another caption"]
    sheet(headers, rows).save(root / "story.png")

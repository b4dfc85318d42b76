"""The demonstration: a training through the bundle, and what the sentence is worth."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textdiff_monai.apps.demo_tasks import TASKS, Task
from textdiff_monai.apps.report.report import report
from textdiff_monai.apps.story import tell
from textdiff_monai.apps.workflow import WORDS_OF, config_files, run_bundle
from textdiff_monai.data.files import read_rows, write_json, write_rows

SIDE = 128
# Name in the summary, captions that the network reads, where it is reported. The last has the masks of the other sides.
_READINGS = (
    ("dice", "own", "test"),
    ("dice_without_text", "none", "test_captions_none"),
    ("dice_wrong_text", "other", "test_captions_other"),
    ("dice_swapped_text", "swapped", "test_captions_swapped"),
    ("dice_swapped_text_and_mask", "own", "test_swapped"),
)
_MEANING = {
    "dice": "with its sentence",
    "dice_without_text": "without a sentence",
    "dice_wrong_text": "with another sentence",
    "dice_swapped_text": "with left and right exchanged in the sentence",
    "dice_swapped_text_and_mask": "the same, against the mask of the other side",
    "dice_bound_without_text": "the best that can be expected without reading the sentence",
}


def demo(
    folder: str | Path = "demo", kind: str = "lungs", epochs: int | None = None, seed: int = 0
) -> dict[str, float]:
    """Train on a few images and measure what the sentence is worth.

    It trains with ``python -m monai.bundle run``, then tests the head with right and wrong sentences.

    Args:
        folder: a new folder; gets report.html, story.png, summary.json, cases.csv and model.pt.
        kind: lungs (chest X-rays from the bundle; the sentence names the side), or generated images: chest or nuclei.
        epochs: training epochs; by default as many as the kind needs.
        seed: seed of the training and of generated images.

    Returns:
        The summary: mean Dice over the test items with each sentence, and seconds.
    """
    start, root = time.monotonic(), Path(folder).resolve()
    if kind not in TASKS:
        raise ValueError(f"kind is {kind!r}: expected one of {', '.join(TASKS)}")
    if root.exists():
        raise FileExistsError(f"{root} exists; remove it or choose another folder")
    task = TASKS[kind](root, seed, SIDE)
    counts = {split: sum(item["split"] == split for item in task.items) for split in ("train", "val", "test")}
    print(f"1. {task.description}: {counts['train']} sentences and masks to learn from, {counts['test']} to test with")
    options: dict[str, Any] = {
        "dataset_dir": str(task.data),
        "output_dir": str(root),
        "ckpt_dir": str(root),
        "cache_dir": str(root / "cache"),
        "resize": SIDE,
        "max_epochs": epochs or task.epochs,
        "val_interval": 5,
        "seed": seed,
        "symmetries": task.symmetries,
    }
    print("2. Training the head; the first epochs compute the frozen features as well")
    _train(options)
    print("3. Testing on other images, with right and wrong sentences")
    summary = {
        name: _evaluate(root / place, options, captions, task.swapped if place == "test_swapped" else task.data)
        for name, captions, place in _READINGS
    }
    summary["dice_bound_without_text"] = task.bound
    _write_cases(root)
    tell(root, task)
    summary["seconds"] = time.monotonic() - start
    write_json(root / "summary.json", summary)
    report(root, title=f"{root.name}: {task.description}")
    _tell(root, task, summary)
    return summary


def _train(options: dict[str, Any]) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "training"]
    command += ["--config_file", *config_files()]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    print(shlex.join(command), flush=True)
    subprocess.run(command, check=True)


def _evaluate(report: Path, options: dict[str, Any], captions: str, data: Path) -> float:
    changed: dict[str, Any] = {"captions": captions, "report_dir": str(report), "dataset_dir": str(data)}
    changed["words"] = WORDS_OF if report.name == "test" else 0
    run_bundle("run", ["evaluate.json"], options | changed)
    return float(json.loads((report / "metrics.json").read_text())["mean_dice"])


def _write_cases(root: Path) -> None:
    """One row an item: its sentence, and the Dice with each sentence."""
    tables: Sequence[list[dict[str, Any]]] = [read_rows(root / place / "cases.csv") for _, _, place in _READINGS]
    rows = [{"id": cases[0]["id"], "text": cases[0]["text"]} for cases in zip(*tables, strict=True)]
    for (name, _, _), table in zip(_READINGS, tables, strict=True):
        for row, case in zip(rows, table, strict=True):
            row[name] = case["mean_dice"]
    write_rows(root / "cases.csv", rows)


def _tell(root: Path, task: Task, summary: dict[str, float]) -> None:
    print("\nDice on the test items, mean over items (1 is perfect):")
    for name, meaning in _MEANING.items():
        print(f"  {summary[name]:.3f}  {meaning}")
    ask = ["textdiff", "segment", f"{task.data}/images", "--text", task.question]
    ask += ["--checkpoint", f"{root}/model.pt", "--out", f"{root}/segmented"]
    print(
        "\nThe sentence decides if the first figure is far above the next three, and the fifth close to it.\n"
        f"Everything is in {root}: open report.html, or story.png; cases.csv has every item, summary.json these\n"
        f"figures, model.pt the trained head ({summary['seconds']:.0f} s). Ask it yourself:\n"
        f"  {shlex.join(ask)}"
    )

"""The demonstration: a phantom, a training through the bundle, and what the sentence is worth."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from textdiff_monai.bundle import bundle_root
from textdiff_monai.phantom import bound_without_text, make_case, write_phantom


def demo(folder: str, epochs: int = 20, seed: int = 0) -> dict[str, float]:
    """Train on a generated data set through ``python -m monai.bundle run`` and evaluate with right and wrong captions.

    Args:
        folder: a new folder; it gets the data, the weights, the reports and ``summary.json``.
        epochs: training epochs.
        seed: of the images and the training.

    Returns:
        The summary: per-image mean Dice on the test split with each caption, and seconds.
    """
    start, root = time.monotonic(), Path(folder).resolve()
    if root.exists():
        raise FileExistsError(f"{root} exists; remove it or choose another folder")
    data = write_phantom(root / "data", train=40, val=8, test=24, seed=seed, size=128)
    options = {
        "dataset_dir": data,
        "output_dir": root,
        "ckpt_dir": root,
        "resize": 128,
        "max_epochs": epochs,
        "learning_rate": 0.002,
        "val_interval": 5,
        "seed": seed,
    }
    _run_bundle("training", ["train.json"], options)
    summary = {"dice": _evaluate(root, options, "own")}
    for name, captions in (("without_text", "none"), ("wrong_text", "other"), ("swapped_text", "swapped")):
        summary[f"dice_{name}"] = _evaluate(root, options, captions)
    summary["dice_bound_without_text"] = bound_without_text([make_case("chest", 10_000 + i, 128) for i in range(50)])
    summary["seconds"] = time.monotonic() - start
    (root / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"\nEverything is in {root}. Dice on test images, mean over images (summary.json):")
    for name, value in summary.items():
        print(f"  {name:28s} {value:.3f}" if name != "seconds" else f"  {name:28s} {value:.0f}")
    return summary


def _evaluate(root: Path, options: dict, captions: str) -> float:
    report = root / f"captions_{captions}"
    _run_bundle("run", ["train.json", "evaluate.json"], options | {"captions": captions, "report_dir": report})
    return json.loads((report / "metrics.json").read_text())["mean_dice"]


def _run_bundle(run_id: str, configs: list[str], options: dict) -> None:
    files = [str(Path(bundle_root()) / "configs" / name) for name in configs]
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", run_id, "--config_file", str(files)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    subprocess.run(command, check=True)

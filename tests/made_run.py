"""The folder of a run, as training and evaluation leave it, with made figures and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from textdiff_monai.data.files import write_rows
from textdiff_monai.data.pictures import strip
from textdiff_monai.data.words import WordEffect, word_strip
from textdiff_monai.statistics.calibration import area_under_roc, roc_curve
from textdiff_monai.statistics.intervals import mean_interval

STRANGE = 'left & <b>upper</b> "lung" <script>alert(1)</script> {{ 7 * 7 }}'


def save_run(run: Path, cases: int = 12, readings: tuple[str, ...] = ("none", "swapped")) -> Path:
    """An evaluation of so many cases, two an image; the last has a strange sentence, the third a figure less.

    Case 7 is the worst, with Dice 0.01; the words of it and of the last case have been measured.
    """
    rng = np.random.default_rng(0)
    dice = {"own": rng.uniform(0.5, 1.0, cases), "none": rng.uniform(0.1, 0.5, cases), "swapped": np.zeros(cases)}
    dice["own"][7] = 0.01
    for name in ("own", *readings):
        folder = run / ("test" if name == "own" else f"test_captions_{name}")
        rows = [
            {
                "id": f"case_{number}",
                "image": f"/{number // 2}.png",
                "text": STRANGE if number == cases - 1 else f"The nuclei in the {('left', 'right')[number % 2]}.",
                "mean_dice": value,
                "mean_dice_nonempty": "" if number == 2 else value,
            }
            for number, value in enumerate(dice[name])
        ]
        write_rows(folder / "cases.csv", rows)
        found = mean_interval(dice[name], [row["image"] for row in rows])
        metrics = {"mean_dice": found.mean, "mean_dice_interval": found[1:], "images": cases // 2, "items": cases}
        metrics |= {"empty_targets": 1, "false_alarms": 0}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    curve = [{"pixels": 100, "said": said, "right": said - 0.1} for said in (0.55, 0.75, 0.95)]
    kinds = {
        name: {"error": error, "reliability": curve} for name, error in (("calibrated", 0.01), ("uncalibrated", 0.1))
    }
    there, scores = np.arange(cases) != 2, dice["own"]
    presence = {"present": cases - 1, "absent": 1, "marked_present": cases - 2, "marked_absent": 1}
    presence |= {"auc": area_under_roc(scores, there), "roc": roc_curve(scores, there)}
    about = {"temperature": 1.5, "presence": presence}
    (run / "test" / "calibration.json").write_text(json.dumps(about | kinds))
    y, x = np.mgrid[:96, :128]
    for number in range(cases):
        centre, radius = rng.uniform(30, 70, 2), rng.uniform(10, 25)
        truth = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2).astype(np.uint8)
        found = ((x - centre[0] - 6) ** 2 + (y - centre[1]) ** 2 < radius**2).astype(np.uint8)
        image = np.repeat((60 + 90 * truth + rng.normal(0, 12, truth.shape))[..., None], 3, axis=2)
        (run / "test" / "pictures").mkdir(exist_ok=True)
        strip(image, [truth, found]).save(run / "test" / "pictures" / f"case_{number}.webp", quality=80)
    _save_words(run / "test", {"case_7": "The nuclei in the right.", f"case_{cases - 1}": STRANGE})
    history = [{"epoch": e, "loss": 2 / e, "val_mean_dice": "" if e % 2 else 0.9 - 1 / e} for e in range(1, 11)]
    write_rows(run / "history.csv", history)
    return run


def _save_words(folder: Path, texts: dict[str, str]) -> None:
    """Of cases, by their names: the share of a word grows with its place, and so does what it costs to leave it out."""
    table: list[dict[str, Any]] = []
    (folder / "words").mkdir(exist_ok=True)
    for case, text in texts.items():
        words = text.split()
        shares = np.linspace(0.05, 0.9 / len(words), len(words))
        effects = [WordEffect(word, np.full((96, 128), share), None) for word, share in zip(words, shares, strict=True)]
        word_strip(effects).save(folder / "words" / f"{case}.webp", quality=75)
        for number, (word, share) in enumerate(zip(words, shares, strict=True), 1):
            figures = {"attention": share, "dice": 0.9, "dice_without": 0.9 - 0.05 * number}
            table.append({"id": case, "number": number, "word": word, **figures})
        table.append({"id": case, "word": "(no word)", "attention": 0.1, "dice": 0.9})
    write_rows(folder / "words.csv", table)

"""What a run's folder holds, in the words and figures of its page."""

from __future__ import annotations

import base64
import io
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from textdiff_monai.apps.charts import in_words
from textdiff_monai.data.files import read_rows
from textdiff_monai.data.pictures import TINTS
from textdiff_monai.data.runs import file_hash, versions
from textdiff_monai.engines.pictures import picture_name
from textdiff_monai.networks.recipe import read_recipe
from textdiff_monai.statistics.paired import paired_difference

# Figures of metrics.json, in their order, and what they mean.
FIGURES = {
    "mean_dice": "Dice, mean over images and sentences; an empty target counts 1 if nothing is found, else 0",
    "mean_dice_nonempty": "the same, for targets that are there",
    "mean_iou": "intersection over union, mean over images and sentences",
    "dataset_dice": "Dice of all pixels together: large images and targets count more",
    "expected_dice": "the Dice that the network's own probabilities predict; close to the mean Dice if they are right",
    "presence_auc": "how often a target that is there has a higher probability than one that is not; chance is 0.5",
    "mean_disagreement": "how much the heads disagree in what is marked, 0 to 1: higher is less sure",
    "slice_dice": "Dice of volumes, mean over their slices",
    "surface_distance_mm": "distance of the surfaces, in millimetres: less is better",
}
_WEIGHTS = "checkpoint_sha256"  # of metrics.json
COUNTS = {"empty_targets": "targets that are not there", "false_alarms": "of these, those with something marked"}
# Other evaluations that may lie beside the split's, by their folder's ending.
READINGS = {
    "captions_none": "without a sentence",
    "captions_other": "with another sentence",
    "captions_swapped": "left and right exchanged",
    "captions_reworded": "the same in other words",
    "swapped": "left and right exchanged, mask too",
}


def findings_of(run: Path, split: str) -> dict[str, Any]:
    """What the page's template asks for.

    Raises:
        FileNotFoundError: for a folder without an evaluation of the split.
    """
    metrics, cases = _evaluation(run / split), read_rows(run / split / "cases.csv")
    others = {name: read_rows(run / f"{split}_{ending}" / "cases.csv") for ending, name in READINGS.items()}
    others = {name: rows for name, rows in others.items() if [r["id"] for r in rows] == [c["id"] for c in cases]}
    for ending, name in READINGS.items():
        place = run / f"{split}_{ending}"
        if name in others and _evaluation(place).get(_WEIGHTS) != metrics.get(_WEIGHTS):
            warnings.warn(
                f"{place}: was measured with different weights than {run / split}; evaluate it again", stacklevel=3
            )
            del others[name]
    images = [case["image"] or case["id"] for case in cases]
    dice = _column(cases, "mean_dice")
    readings = [_reading("with its sentence", metrics, dice)]
    for ending, name in READINGS.items():
        if name in others:
            other = _evaluation(run / f"{split}_{ending}")
            readings.append(_reading(name, other, _column(others[name], "mean_dice"), dice, images))
    checkpoint = next(
        (path for path in (Path(metrics.get("checkpoint", "")), run / "model.pt") if path.is_file()), None
    )
    if checkpoint and metrics.get(_WEIGHTS, file_hash(checkpoint)) != file_hash(checkpoint):
        warnings.warn(f"{checkpoint}: is not what {run / split} was measured with; evaluate again", stacklevel=3)
    recipe = dict(read_recipe(checkpoint)) if checkpoint else {}
    pictures, columns = list[str](), [name for name in _told(metrics) if cases and name in cases[0]]
    rows, words = [], _words(run / split)
    for index, case in enumerate(cases):
        picture = _picture(run / split / "pictures" / picture_name(case["id"]), pictures)
        figures = [_number(case[name]) for name in columns]
        figures += [_number(rows[index]["mean_dice"]) for rows in others.values()]
        own, strip = words.get(case["id"], []), run / split / "words" / picture_name(case["id"])
        maps = _picture(strip, pictures)["picture"] if own and picture["picture"] is not None else None
        rows.append({"id": case["id"], "text": case["text"], "figures": figures, **picture, "words": own, "maps": maps})
    names = recipe.get("class_names", ["background", "target"])[1:]
    return {
        "images": metrics["images"],
        "items": metrics["items"],
        "figures": _figures(metrics),
        "readings": readings,
        "verdict": _verdict(readings),
        "history": read_rows(run / "history.csv"),
        "calibration": _calibration(run / split / "calibration.json"),
        "fit": _fit(run / "fit.json"),
        "columns": [in_words(name) for name in columns] + [f"Dice {name}" for name in others],
        "cases": rows,
        "pictures": pictures,
        "has_pictures": bool(pictures),
        "panels": 4 if "mean_disagreement" in columns else 3,  # of a picture, as CasePictures draws them
        "has_words": len(words),
        "legend": [(name, "#{:02x}{:02x}{:02x}".format(*TINTS[i % len(TINTS)])) for i, name in enumerate(names)],
        "tables": _tables(run, checkpoint, recipe),
    }


def _evaluation(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; evaluate first: python -m monai.bundle run with evaluate.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _words(folder: Path) -> dict[str, list[dict[str, str]]]:
    """By case: each word of its sentence, and in words what it does."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(folder / "words.csv"):
        if row["number"]:
            told = f"Dice {float(row['dice_without']):.2f} without it, {float(row['dice']):.2f} with it; "
            told += f"{float(row['attention']):.0%} of the attention"
            found.setdefault(row["id"], []).append({"word": row["word"], "told": told})
    return found


def _calibration(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _fit(path: Path) -> dict[str, Any] | None:
    """What ``textdiff fit`` chose, in words."""
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    for choice in found["choices"]:
        told = ", ".join(f"{name} {json.dumps(value)}" for name, value in choice["options"].items())
        choice["chosen"] = told or "as in train.json"
    for trial in found["trials"]:
        tried = trial["mean_dice"] is not None
        trial["mean"] = f"{trial['mean_dice']:.3f}" if tried else "no time left to try"
        trial["range"] = _range(trial["low"], trial["high"])
    return found


def _told(metrics: Mapping[str, Any]) -> list[str]:
    """Figures of the page: none twice where no target is empty."""
    return [name for name in FIGURES if metrics.get("empty_targets") or name != "mean_dice_nonempty"]


def _figures(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    for name in _told(metrics):
        if metrics.get(name) is not None:
            low, high = metrics.get(f"{name}_interval") or (None, None)
            shown = {"value": f"{metrics[name]:.3f}", "range": _range(low, high)}
            found.append({"name": in_words(name), "meaning": FIGURES[name], **shown})
    for name, meaning in COUNTS.items() if metrics.get("empty_targets") else ():
        found.append({"name": in_words(name), "value": str(metrics[name]), "range": "", "meaning": meaning})
    return found


def _reading(
    name: str, metrics: Mapping[str, Any], dice: Sequence[float], own: Sequence[float] = (), images: Sequence[str] = ()
) -> dict[str, Any]:
    low, high = metrics.get("mean_dice_interval") or (None, None)
    plotted = {"name": name, "mean_dice": metrics["mean_dice"], "low": low, "high": high}
    row = {"name": name, "mean": f"{metrics['mean_dice']:.3f}", "range": _range(low, high), "plotted": plotted}
    row |= {"loss": "", "p": "", "worth": ""}
    if own:
        found = paired_difference(own, dice, images)
        row["loss"] = f"{found.mean:.3f} {_range(found.low, found.high)}"
        row["p"] = "" if math.isnan(found.p) else f"{found.p:.2g}"
        row["worth"] = f"{found.mean:+.3f} Dice {_range(found.low, found.high)}"
    return row


def _verdict(readings: Sequence[Mapping[str, Any]]) -> str:
    without = next((one for one in readings if one["name"] == READINGS["captions_none"]), None)
    if without is None:
        return ""
    return f"Reading the sentence is worth {without['worth']} over the same network without one."


def _tables(run: Path, checkpoint: Path | None, recipe: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    tables = []
    if checkpoint is not None:
        files = [("weights", str(checkpoint)), ("their SHA-256", file_hash(checkpoint))]
        tables.append(("Weights and recipe", files + _flat(recipe)))
    if (last := run / "last.pt").is_file():
        options = torch.load(last, map_location="cpu", weights_only=True, mmap=True).get("options", {})
        tables.append(("Options of the training", _flat(options)))
    return [*tables, ("Versions", list(versions().items()))]


def _flat(entries: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in sorted(entries.items()):
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, json.dumps(value))]
    return rows


def _picture(path: Path, pictures: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {"picture": None}
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    pictures.append(f"data:image/webp;base64,{base64.b64encode(content).decode()}")
    return {"picture": len(pictures) - 1, "width": width, "height": height}


def _column(rows: Sequence[Mapping[str, str]], name: str) -> list[float]:
    return [math.nan if (value := _number(row[name])) is None else value for row in rows]


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"({low:.3f} to {high:.3f})"

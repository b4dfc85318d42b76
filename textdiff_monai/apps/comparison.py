"""The table of a comparison: means with intervals, and what each is paired with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from textdiff_monai.statistics.intervals import mean_interval
from textdiff_monai.statistics.paired import paired_difference


def table_of(measured: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each entry of what was measured.

    Args:
        measured: ``labelled``, ``network``, ``captions``, ``seconds`` and ``cases``: for each seed the rows of its
            ``cases.csv``. The first network with its own captions is what others with as many labels are compared with;
            other captions are compared with the same network's own.

    Returns:
        ``mean_dice`` with ``low`` and ``high``, 95 % over images and seeds; how many ``seeds`` and ``images``;
        ``against`` what it is compared, ``difference`` from that with ``difference_low`` and ``difference_high``, and
        ``p``, as :func:`~textdiff_monai.statistics.paired.paired_difference` has them. None where nothing can be said.
    """
    figures = {_name(entry): _figures(entry["cases"]) for entry in measured}
    images = {_name(entry): [case["image"] or case["id"] for case in entry["cases"][0]] for entry in measured}
    first, rows = measured[0]["network"] if measured else "", []
    for entry in measured:
        name = _name(entry)
        mean, low, high = mean_interval(figures[name], images[name])
        row = {key: entry[key] for key in ("labelled", "network", "captions")}
        row |= {"mean_dice": mean, "low": _known(low), "high": _known(high)}
        row |= {"seeds": len(figures[name]), "images": len(set(images[name])), "seconds": entry["seconds"]}
        other = (entry["labelled"], first if entry["captions"] == "own" else entry["network"], "own")
        row |= dict.fromkeys(("against", "difference", "difference_low", "difference_high", "p"))
        if other in figures and other != name:
            both = min(len(figures[name]), len(figures[other]))
            found = paired_difference(figures[name][:both], figures[other][:both], images[name])
            row["against"] = other[1] if entry["captions"] == "own" else "its own captions"
            row |= {
                "difference": found.mean,
                "difference_low": _known(found.low),
                "difference_high": _known(found.high),
            }
            row["p"] = _known(found.p)
        rows.append(row)
    return rows


def shown(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table in lines of text."""
    images, seeds = (max((row[key] for row in table), default=0) for key in ("images", "seeds"))
    lines = [f"\nDice on the test split: mean and 95 % interval over {images} images and {seeds} seeds"]
    for row in table:
        line = f"  {row['labelled']:4d} labelled  {row['network']:12s} {row['captions']:8s} {row['mean_dice']:.3f}"
        line += f" {_range(row['low'], row['high']):18s} {row['seconds']:5.0f} s"
        if row["against"]:
            change = f"{row['difference']:+.3f} {_range(row['difference_low'], row['difference_high'], '+')}"
            chance = "" if row["p"] is None else f", p {row['p']:.2g}"
            line += f"   {change} against {row['against']}{chance}"
        lines.append(line)
    return lines


def _name(entry: Mapping[str, Any]) -> tuple[int, str, str]:
    return entry["labelled"], entry["network"], entry["captions"]


def _figures(cases: Sequence[Sequence[Mapping[str, str]]]) -> np.ndarray:
    """(seeds, items)"""
    if any([case["id"] for case in one] != [case["id"] for case in cases[0]] for one in cases):
        raise ValueError("the runs of a comparison were measured on different items; choose another folder")
    return np.array([[float(case["mean_dice"] or math.nan) for case in one] for one in cases])


def _known(figure: float) -> float | None:
    return None if math.isnan(figure) else figure


def _range(low: float | None, high: float | None, sign: str = "") -> str:
    return "" if low is None or high is None else f"({low:{sign}.3f} to {high:{sign}.3f})"

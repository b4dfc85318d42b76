"""Plots of what was measured."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours, which colour-blind readers tell apart, and marks for print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKS = ("o", "s", "^", "D", "v", "P")
_INK = "#010203"  # stands for the page's own colour
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "grid.alpha": 0.25,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
}


def as_svg(figure: Figure, name: str, meaning: str) -> str:
    """A figure as an SVG element to put into a page: text as text, in the page's colour, light or dark.

    Args:
        figure: drawn by one of the functions below.
        name: that no other figure of the page has.
        meaning: what it shows, for those who cannot see it.
    """
    file = io.StringIO()
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(meaning, {chr(34): "&quot;"})}" ', 1)


def in_words(name: str) -> str:
    """A figure's name as people write it."""
    return (
        name.replace("_", " ")
        .replace("dice", "Dice")
        .replace("iou", "IoU")
        .replace("auc", "AUC")
        .replace(" mm", " (mm)")
    )


def labels_curves(table: Sequence[Mapping[str, Any]]) -> Figure:
    """Dice against the number of labelled images, a line for each network; bars are 95 % intervals.

    Args:
        table: of :func:`~textdiff_monai.apps.comparison.table_of`.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    networks = list(dict.fromkeys(row["network"] for row in table))
    for index, network in enumerate(networks):
        own = [row for row in table if row["network"] == network and row["captions"] == "own"]
        # A little apart, so that the bars can be told from each other.
        places = [row["labelled"] * 1.03 ** (index - (len(networks) - 1) / 2) for row in own]
        style: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)], "marker": MARKS[index % len(MARKS)]}
        axes.errorbar(places, [row["mean_dice"] for row in own], _bars(own), label=network, capsize=3, **style)
    ticks = sorted({row["labelled"] for row in table})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(count) for count in ticks])
    axes.minorticks_off()
    axes.set(xlabel="labelled images", ylabel="mean Dice on the test split, 95 % interval")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def training_curves(history: Sequence[Mapping[str, str]]) -> Figure:
    """Loss and the validation's figures by epoch, of the rows of ``history.csv``."""
    names = [name for name in history[0] if name.startswith("val_") and any(row[name] for row in history)]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 2.4), layout="constrained")
        left, *right = figure.subplots(1, 2 if names else 1, squeeze=False)[0]
        _curve(left, history, "loss", 0)
        left.set(xlabel="epoch", ylabel="training loss")
        for axes in (left, *right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in right:
            for index, name in enumerate(names):
                _curve(axes, history, name, index + 1)
            axes.set(xlabel="epoch", ylabel="validation")
            axes.legend(fontsize="small")
    return figure


def intervals_plot(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Means with their intervals, one under the other: ``name``, ``mean_dice``, ``low``, ``high``."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 0.7 + 0.36 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(reversed(rows)):
            colour, mark = COLOURS[0 if row is rows[0] else 1], MARKS[0 if row is rows[0] else 1]
            axes.errorbar(row["mean_dice"], place, xerr=_bars([row]), color=colour, marker=mark, capsize=4)
        axes.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
        axes.set(xlim=(0, 1), ylim=(-0.6, len(rows) - 0.4), xlabel="mean Dice, 95 % interval over images")
        axes.grid(axis="x")
    return figure


def histogram(values: Sequence[float]) -> Figure:
    """How many cases have which Dice."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 1.9), layout="constrained")
        axes = figure.add_subplot()
        axes.hist(values, bins=20, range=(0, 1), color=COLOURS[0], rwidth=0.92)
        axes.set(xlim=(0, 1), xlabel="Dice", ylabel="cases")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def reliability_plot(calibration: Mapping[str, Any]) -> Figure:
    """How often pixels are right against how likely they were said to be, of ``calibration.json``."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 3), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
        for index, (name, label) in enumerate((("uncalibrated", "as trained"), ("calibrated", "with temperature"))):
            rows = calibration[name]["reliability"]
            if name == "uncalibrated" and calibration["temperature"] == 1:
                continue
            points = [row["said"] for row in rows], [row["right"] for row in rows]
            label = label if calibration["temperature"] != 1 else "as trained"
            axes.plot(*points, color=COLOURS[1 - index], marker=MARKS[1 - index], markersize=4, label=label)
        axes.set(xlabel="said probability of the likeliest class", ylabel="share that is right")
        axes.grid()
        axes.legend()
    return figure


def roc_plot(presence: Mapping[str, Any]) -> Figure:
    """Of the sentences about what is there, and about what is not, the shares with so high a presence.

    Args:
        presence: of ``calibration.json``.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 3), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
        points = [(0.0, 0.0), *((point["negatives"], point["positives"]) for point in presence["roc"])]
        axes.plot(*zip(*points, strict=True), color=COLOURS[0], label=f"by presence, area {presence['auc']:.3f}")
        masks = [presence[f"marked_{kind}"] / presence[kind] for kind in ("absent", "present")]
        style: dict[str, Any] = {"color": COLOURS[1], "marker": MARKS[1], "linestyle": "none"}
        axes.plot(*([share] for share in masks), label="those that have a mask", **style)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set(xlabel="share of absent targets", ylabel="share of targets that are there")
        axes.grid()
        axes.legend(loc="lower right")
    return figure


def _curve(axes: Any, history: Sequence[Mapping[str, str]], name: str, index: int) -> None:
    points = [(int(row["epoch"]), float(row[name])) for row in history if row[name]]
    mark = MARKS[index % len(MARKS)] if len(points) < 30 else None
    style: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)], "marker": mark, "markersize": 4}
    axes.plot(*zip(*points, strict=True), label=in_words(name.removeprefix("val_")), **style)
    axes.grid()


def _bars(rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """How far the bounds of intervals lie from their means; 0 where nothing can be said."""
    bounds = {"low": -1, "high": 1}
    return [
        [0.0 if row[name] is None else sign * (row[name] - row["mean_dice"]) for row in rows]
        for name, sign in bounds.items()
    ]

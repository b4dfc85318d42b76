"""Plots of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart, and marks for print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKS = ("o", "s", "^", "D", "v", "P")


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
        counts, means = [row["labelled"] for row in own], [row["mean_dice"] for row in own]
        below = [row["mean_dice"] - row["low"] if row["low"] is not None else 0 for row in own]
        above = [row["high"] - row["mean_dice"] if row["high"] is not None else 0 for row in own]
        # A little apart, so that the bars can be told from each other.
        places = [count * 1.03 ** (index - (len(networks) - 1) / 2) for count in counts]
        style: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)], "marker": MARKS[index % len(MARKS)]}
        axes.errorbar(places, means, [below, above], label=network, capsize=3, **style)
    ticks = sorted({row["labelled"] for row in table})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(count) for count in ticks])
    axes.minorticks_off()
    axes.set(xlabel="labelled images", ylabel="mean Dice on the test split, 95 % interval")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure

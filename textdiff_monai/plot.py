"""A picture of the benchmark's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Write the picture; without matplotlib, say how to get it."""
    try:
        import matplotlib
    except ImportError:
        print(f"no {path}: for a plot, pip install 'textdiff-monai[plot]'")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    colours = {"published": "tab:gray", "ours": "tab:blue"}
    figure, ((parts, sizes), (epochs, memory)) = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    growth, training = report["growth"], report["training"]

    def lines(axes: Any, rows: Sequence[Mapping[str, float]], x: str, label: str, title: str) -> None:
        for way, colour in colours.items():
            points = [(row[x], row[way]) for row in rows if way in row]
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=colour, label=way)
        axes.set(xlabel=label, ylabel="seconds", title=title, yscale="log")
        axes.legend()

    names = ["published_features", "published_head_step", "ours_extraction", "ours_cached_step"]
    parts.barh(
        [name.replace("_", " ") for name in reversed(names)],
        [training[name] for name in reversed(names)],
        color=[colours[name.split("_")[0]] for name in reversed(names)],
    )
    parts.set(xlabel="seconds", title="training, an image")
    lines(sizes, growth["inference_seconds_per_image_by_size"], "size", "side in pixels", "inference, an image")
    rows = growth["training_seconds_per_image_by_epochs"]
    lines(epochs, rows, "epochs", "epochs", "training, an image, all epochs")
    if report["training_memory_bytes"]:
        used = report["training_memory_bytes"]
        memory.bar(list(colours), [used[way] / 2**20 for way in colours], color=list(colours.values()))
    memory.set(ylabel="MiB", title="peak of training beyond the frozen weights")
    figure.suptitle(f"{report['config']}, {report['machine']['device']}, {report['machine']['threads']} threads")
    figure.savefig(path, dpi=120)
    plt.close(figure)

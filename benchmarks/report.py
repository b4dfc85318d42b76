"""The benchmark's report, in lines and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Write the picture."""
    colours = {"published": "tab:gray", "ours": "tab:blue"}
    figure = Figure(figsize=(10, 7), layout="constrained")
    (parts, sizes), (epochs, memory) = figure.subplots(2, 2)
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
    lines(sizes, growth["inference_seconds_by_size"], "size", "side in pixels", "inference, an image")
    rows = growth["training_seconds_by_epochs"]
    lines(epochs, rows, "epochs", "epochs", "training, an image, all epochs")
    if report["training_memory_bytes"]:
        used = report["training_memory_bytes"]
        memory.bar(list(colours), [used[way] / 2**20 for way in colours], color=list(colours.values()))
    memory.set(ylabel="MiB", title="peak of training beyond the frozen weights")
    figure.suptitle(f"{report['config']}, {report['machine']['device']}, {report['machine']['threads']} threads")
    figure.savefig(path, dpi=120)


def summary(report: Mapping[str, Any]) -> Iterator[str]:
    """The figures that matter, a line each."""
    about, seconds = report["machine"], report["inference"]["seconds"]["ours"]
    yield f"{report['config']} on {about['device']}, {about['threads']} threads, load {about['load_before']}"
    meanings = {
        "inference_fp32": "times faster: inference, float32",
        "inference_best": f"times faster: inference, {min(seconds, key=seconds.get)}",
        "training_50_epochs": "times faster: training over 50 epochs, extraction included",
        "cached_step": "times faster: a training step on cached features",
        "training_memory": "of the memory: training, beyond the frozen weights",
        "over_floor": "times the floor: inference, float32",
    }
    for name, meaning in meanings.items():
        value = report["ratios"][name]
        yield f"  {'not measured' if value is None else f'{value:.2f}':>12s} {meaning}"
    yield f"  {report['max_relative_error']:12.1e} largest relative error of the logits, float32"

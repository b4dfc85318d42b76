"""What the savings save: the published way of computing and this project's, side by side on the same weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.measure import DTYPES, error, in_precision, machine, matrix_rate, multiply_adds, side_by_side
from benchmarks.memory import training_memory
from benchmarks.report import plot
from benchmarks.setting import SETTINGS, Setting, Work, write_weights
from textdiff_monai.data.files import check_writable, write_json
from textdiff_monai.engines.features import FeatureCache

EPOCHS = 50
# Training steps on cached features that are measured in a row.
_STEPS = 5


def benchmark(
    config: str | Setting = "adm-256",
    out: str | Path = "benchmark.json",
    device: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure, and write a report and a plot beside it.

    Args:
        config: a name in :data:`SETTINGS`, or a setting.
        out: the JSON file; the plot has its name and ends in .png.
        device: default CUDA where there is one.
        progress: shows a bar.

    Returns:
        The report. Its ``ratios`` are speeds (published time over ours), ``training_memory`` (ours over published) and
        ``over_floor`` (ours over the time that the computed multiply-adds take at the machine's rate).
    """
    if isinstance(config, str) and config not in SETTINGS:
        raise ValueError(f"config is {config!r}: expected one of {', '.join(SETTINGS)}")
    path = Path(out)
    if path.suffix == ".png":
        raise ValueError(f"out is {out}: the plot beside the report has that ending; name the report *.json")
    check_writable(path.parent)
    setting = SETTINGS[config] if isinstance(config, str) else config
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    report: dict[str, Any] = {"config": config if isinstance(config, str) else "own", "machine": machine(where)}
    with tempfile.TemporaryDirectory() as folder:
        report |= _report(setting, where, Path(folder), progress)
    write_json(path, report)
    plot(report, path.with_suffix(".png"))
    return report


def _report(setting: Setting, device: torch.device, folder: Path, progress: bool) -> dict[str, Any]:
    with tqdm(total=5, disable=not progress, leave=False) as stages:

        def stage(name: str) -> None:
            stages.set_description(name)
            stages.update()

        stage("weights")
        write_weights(setting, folder)
        stage("memory")
        memory = training_memory(setting, folder, device)
        work = Work(setting, folder, device)
        stage("inference")
        inference = _inference(work)
        stage("training")
        training = _training(work, FeatureCache(folder / "cache"))
        stage("growth")
        by_size = _by_size(work)
    published, ours = inference["seconds"]["published"], inference["seconds"]["ours"]
    floor = inference["multiply_adds"]["ours"] / inference["multiply_adds_per_second"]["float32"]
    ratios = {
        "inference_fp32": published / ours["float32"],
        "inference_best": published / min(ours.values()),
        "training_50_epochs": _per_epoch(training, "published", EPOCHS) / _per_epoch(training, "ours", EPOCHS),
        "cached_step": training["published_head_step"] / training["ours_cached_step"],
        "training_memory": memory["ours"] / memory["published"] if memory else None,
        "over_floor": ours["float32"] / floor,
    }
    return {
        "setting": asdict(setting),
        "ratios": ratios,
        "max_relative_error": inference["relative_error"]["float32"],
        "inference": inference,
        "training": training,
        "training_memory_bytes": memory,
        "growth": {"inference_seconds_by_size": by_size, "training_seconds_by_epochs": _by_epochs(training)},
    }


def _inference(work: Work) -> dict[str, Any]:
    """Both ways in float32, and ours in every precision whose matrix products are faster here than float32's."""
    image, device = work.image(), work.device
    rates = {name: matrix_rate(dtype, device) for name, dtype in DTYPES.items()}
    precisions = {name: dtype for name, dtype in DTYPES.items() if rates[name] >= rates["float32"]}
    expected, counted = multiply_adds(lambda: work.infer_published(image, work.text))
    errors = {
        name: error(in_precision(lambda: work.infer(image, work.text), device, dtype)(), expected)
        for name, dtype in precisions.items()
    }
    jobs = {name: in_precision(lambda: work.infer(image), device, dtype) for name, dtype in precisions.items()}
    seconds = side_by_side({"published": lambda: work.infer_published(image), **jobs}, work.setting.repeats, device)
    return {
        "seconds": {"published": seconds.pop("published"), "ours": seconds},
        "relative_error": errors,
        "multiply_adds": {"published": counted, "ours": multiply_adds(lambda: work.infer(image))[1]},
        "multiply_adds_per_second": rates,
    }


def _training(work: Work, cache: FeatureCache) -> dict[str, Any]:
    """Seconds of the parts of an image's epoch: published, all of them each time; ours, the features once."""
    image = work.image()
    features, text = work.published_features(image), work.published_text(work.text)
    published, ours = work.published_trainer(), work.trainer(cache)

    def extract() -> None:
        work.backbone.cache = cache
        work.backbone(work.image())  # no other image has its features
        work.backbone.cache = None

    def steps() -> None:
        for _ in range(_STEPS):
            ours(image)

    exact = work.infer(image, work.text)
    work.backbone.cache = cache
    rounding = error(work.infer(image, work.text), exact)
    work.backbone.cache = None
    (entry,) = cache.folder.rglob("*.safetensors")
    jobs: dict[str, Callable[[], Any]] = {
        "published_features": lambda: work.published_features(image),
        "published_text": lambda: work.published_text(work.text),
        "published_head_step": lambda: published(features, text),
        "ours_extraction": extract,
        "ours_cached_step": steps,
    }
    seconds = side_by_side(jobs, work.setting.repeats, work.device)
    seconds["ours_cached_step"] /= _STEPS
    size = entry.stat().st_size
    return seconds | {"cache_bytes_per_image": size, "relative_error_of_cached_features": rounding}


def _per_epoch(training: Mapping[str, float], way: str, epochs: int) -> float:
    """Seconds an image and epoch, what is done once shared among the epochs."""
    if way == "published":
        return sum(training[f"published_{part}"] for part in ("features", "text", "head_step"))
    return training["ours_extraction"] / epochs + training["ours_cached_step"]


def _by_size(work: Work) -> list[dict[str, float]]:
    """Seconds an image against its side."""
    rows = []
    for size in work.setting.sizes:
        jobs = {
            "published": partial(work.infer_published, work.image(size)),
            "ours": partial(work.infer, work.image(size)),
        }
        rows.append({"size": size, **side_by_side(jobs, max(1, work.setting.repeats // 3), work.device)})
    return rows


def _by_epochs(training: Mapping[str, float]) -> list[dict[str, float]]:
    """Seconds of an image's whole training against its epochs, from the seconds of the parts."""
    return [
        {"epochs": n, **{way: n * _per_epoch(training, way, n) for way in ("published", "ours")}}
        for n in (1, 5, 10, 25, 50, 100)
    ]

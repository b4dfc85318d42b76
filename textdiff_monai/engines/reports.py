"""Ignite handlers that write what a run measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.data import decollate_batch
from monai.utils import string_list_all_gather
from torch import Tensor

from textdiff_monai.data.files import read_rows, write_json, write_rows
from textdiff_monai.engines.features import FeatureCache
from textdiff_monai.statistics.intervals import Interval, mean_interval, ratio_interval


class History:
    """One row an epoch, of the trainer's mean loss and the validator's metrics, in ``history.csv``.

    Args:
        folder: where.
        validator: the evaluator that a ``ValidationHandler`` before this handler runs.
    """

    def __init__(self, folder: str, validator: Engine) -> None:
        self.path, self.validator, self.losses = Path(folder) / "history.csv", validator, list[float]()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        """A new run starts a new table; one that goes on from an epoch keeps the rows up to it."""
        rows = read_rows(self.path) if engine.state.epoch else []
        write_rows(self.path, [row for row in rows if int(row["epoch"]) <= engine.state.epoch])

    def count(self, engine: Engine) -> None:
        output: Any = engine.state.output
        self.losses.append(float((output[0] if isinstance(output, Sequence) else output)["loss"]))

    def write(self, engine: Engine) -> None:
        row: dict[str, float | None] = {
            "epoch": engine.state.epoch,
            "loss": sum(self.losses) / max(len(self.losses), 1),
        }
        if self.validator.state.epoch == engine.state.epoch:
            row |= {f"val_{name}": _figure(value) for name, value in self.validator.state.metrics.items()}
        self.losses = []
        write_rows(self.path, [*read_rows(self.path), row])


class FeatureReport:
    """After each epoch, logs how many images' features were computed in it, and how many read from the cache."""

    def __init__(self, cache: FeatureCache) -> None:
        self.cache = cache

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.report)

    def report(self, engine: Engine) -> None:
        if self.cache.computed or self.cache.read:
            engine.logger.info(
                f"features: {self.cache.computed} images computed, {self.cache.read} read from {self.cache.folder}"
            )
        self.cache.computed = self.cache.read = 0


class MetricsReport:
    """After an evaluation: ``metrics.json`` and ``metrics.csv``, and ``cases.csv`` with one row an image and sentence.

    With the metrics ``mean_dice`` (an empty target counts 1 where nothing is found, else 0) and ``mean_dice_nonempty``
    (images without a target don't count) the first two also hold the numbers of ``empty_targets`` and, among them, of
    ``false_alarms``; of several classes each counts. A figure that rests on nothing is null, or an empty cell. Beside
    each mean ``metrics.json`` has its 95 % interval over images, such as ``mean_dice_interval``.

    Args:
        folder: where.
        about: more entries for ``metrics.json``, such as the checkpoint's path.
        group_by: a column of the data's table, such as its targets: ``groups.csv`` has the means for each value of it.
    """

    def __init__(self, folder: str, about: Mapping[str, Any] | None = None, group_by: str | None = None) -> None:
        self.folder, self.about, self.group_by = Path(folder), dict(about or {}), group_by
        self.cases, self.warned = list[dict[str, str]](), False

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def start(self, engine: Engine) -> None:
        self.cases = []

    def collect(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        for item in decollate_batch(batch) if isinstance(batch, dict) else batch:
            image = str(item["image"].meta.get("filename_or_obj", ""))
            case = {"id": str(item.get("id") or image), "image": image, "text": item.get("text", "")}
            if self.group_by is not None:
                case[self.group_by] = item[self.group_by]
            self.cases.append(case)

    def write(self, engine: Engine) -> None:
        cases = [json.loads(case) for case in string_list_all_gather([json.dumps(case) for case in self.cases])]
        if idist.get_rank() > 0:
            return
        everything: dict[str, Tensor] = getattr(engine.state, "metric_details", {})
        details = {name: values for name, values in everything.items() if values.ndim == 2}
        metrics = {name: _figure(value) for name, value in engine.state.metrics.items()} | _empty(details)
        columns = {name: [_figure(value) for value in values.nanmean(dim=1)] for name, values in details.items()}
        rows = [case | {name: column[i] for name, column in columns.items()} for i, case in enumerate(cases)]
        for name in ("groups.csv", "words.csv"):  # of an evaluation before, which this one may not have
            (self.folder / name).unlink(missing_ok=True)
        write_rows(self.folder / "metrics.csv", [metrics])
        write_rows(self.folder / "cases.csv", rows)
        self._write_groups(engine, rows, list(details))
        images = [case["image"] or case["id"] for case in cases]
        intervals = {name: interval for name, values in everything.items() if (interval := _interval(values, images))}
        report: dict[str, Any] = metrics | {"images": len(set(images)), "items": len(cases)}
        report |= {f"{name}_interval": [_figure(found.low), _figure(found.high)] for name, found in intervals.items()}
        write_json(self.folder / "metrics.json", report | self.about)
        for name, value in metrics.items():
            low, high = intervals[name][1:] if name in intervals else (math.nan, math.nan)
            within = "" if math.isnan(low) else f" (95 % interval {low:.4g} to {high:.4g})"
            engine.logger.info(f"{name}: {_shown(value)}{within}")
        if metrics.get("empty_targets") and metrics.get("mean_dice_nonempty") is None and not self.warned:
            self.warned = True
            engine.logger.warning(
                f"all {metrics['empty_targets']} targets are empty: mean_dice only says how often nothing is marked"
            )
        engine.logger.info(f"written: {self.folder}/metrics.json, metrics.csv, cases.csv")

    def _write_groups(self, engine: Engine, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
        if self.group_by is None:
            return
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            groups.setdefault(row[self.group_by], []).append(row)
        table: list[dict[str, Any]] = [
            {self.group_by: value, "items": len(own)} | {name: _mean(row[name] for row in own) for name in names}
            for value, own in sorted(groups.items())
        ]
        write_rows(self.folder / "groups.csv", table)
        for group in table:
            figures = ", ".join(f"{name} {_shown(group[name])}" for name in names)
            engine.logger.info(f"{self.group_by} {group[self.group_by]!r}: {figures} ({group['items']} items)")


def _figure(value: Any) -> float | None:
    """A measured number; None where there was nothing to measure, which JSON can write."""
    return None if math.isnan(value) else float(value)


def _interval(values: Tensor, images: Sequence[str]) -> Interval | None:
    """Of a metric's figures (items, classes), or of MONAI's confusion matrices (items, classes, 4), which give Dice."""
    if values.ndim == 2:
        return mean_interval(values.nanmean(dim=1).cpu(), images)
    if values.ndim == 3 and values.shape[-1] == 4:
        hits, false, _, missed = values.double().cpu().numpy()[None].transpose(3, 0, 1, 2)
        return ratio_interval(2 * hits, 2 * hits + false + missed, images)
    return None


def _mean(figures: Iterable[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return fmean(known) if known else None


def _shown(figure: float | None) -> str:
    return "nothing to measure" if figure is None else f"{figure:.4g}"


def _empty(details: Mapping[str, Tensor]) -> dict[str, int]:
    """How many targets (images and classes) are empty, and in how many of them something was found all the same."""
    if not {"mean_dice", "mean_dice_nonempty"} <= details.keys():
        return {}
    empty = details["mean_dice_nonempty"].isnan()
    return {"empty_targets": int(empty.sum()), "false_alarms": int((details["mean_dice"][empty] == 0).sum())}

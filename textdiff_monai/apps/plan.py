"""What ``textdiff fit`` will do, chosen by the data, a few trials and the time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import UNet2DModel
from monai.bundle import ConfigParser

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.apps.choices import Choice, candidates, framing, in_two, schedule, testing_seconds, unread, winner
from textdiff_monai.apps.trials import Trials
from textdiff_monai.apps.workflow import config_files
from textdiff_monai.data.extents import extents_of
from textdiff_monai.data.slices import slices_of
from textdiff_monai.statistics.intervals import mean_interval

_OF_THE_DRAW = ("columns", "num_labelled", "count")  # what the tables of trials already hold
_IMAGES = 24  # in the trials
_SHARE = 0.4  # of the time, for trials
_SURE = 0.85  # of the time is planned for: machines have other things to do as well


@dataclass(frozen=True)
class Plan:
    """Options of ``train.json``, and a table of what was chosen and why."""

    options: dict[str, Any]
    report: dict[str, Any]


def plan(
    folder: Path,
    items: Sequence[Mapping[str, Any]],
    held: Mapping[str, int],
    seconds: float,
    backbones: Sequence[str],
    options: Mapping[str, Any],
) -> Plan:
    """Choose how to train.

    Args:
        folder: of the trials.
        items: to train on.
        held: items of the splits "val" and "test"; they are not looked at.
        seconds: that trials, training and evaluation may take.
        backbones: further frozen UNets to try.
        options: of ``train.json`` that the user decided.
    """
    start, defaults = time.monotonic(), ConfigParser.load_config_files(config_files()) | dict(options)
    choices = _by_the_data(items, options, defaults)
    decided = _options_of(choices) | dict(options)
    others = [str(Path(one).resolve()) for one in backbones]
    tried = candidates(decided, defaults, items, _decoder_blocks(options.get("backbone")), others)
    shared = {name: value for name, value in decided.items() if name not in _OF_THE_DRAW}
    folds = in_two(items, _IMAGES, defaults["seed"])
    print(f"Trying, for about {_SHARE * seconds / 60:.1f} minutes: {', '.join(tried)}", flush=True)
    trials = Trials(folder, folds, shared)
    cases = {name: trials.cases(name) for name in trials.run(tried, _SHARE * seconds)}
    dice = {name: [float(case["mean_dice"]) for case in rows] for name, rows in cases.items()}
    images = [case["image"] for case in next(iter(cases.values()))]
    best, why = winner(dice, images)
    choices["features"] = Choice(tried[best].options, why)
    cut = ("plane", "slices_per_volume", "seed", "num_classes", "mask_colours")
    pictures = slices_of(items, *(defaults[name] for name in cut))
    shown = len({(item["image"], item.get("slice")) for item in pictures})
    left = _SURE * (seconds - (time.monotonic() - start))
    choices["training"] = schedule(left, trials.pace(best), len(pictures), shown, held, options)
    told = [{"choice": name, "options": dict(one.options), "why": one.why} for name, one in choices.items()]
    print("\n".join(f"{one['choice']}: {one['why']}; {one['options'] or 'as in train.json'}" for one in told))
    table = [{"candidate": name, "what": tried[name].why} | _mean(dice.get(name, []), images) for name in tried]
    report = {"labelled": len({item["image"] for item in folds[0]}), "choices": told, "trials": table}
    report["testing_seconds"] = testing_seconds(trials.pace(best), held)
    return Plan(dict(options) | _options_of(choices), report)


def _by_the_data(
    items: Sequence[Mapping[str, Any]], options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Choice]:
    choices = dict[str, Choice]()
    if not {"resize", "tile", "scales"} & options.keys():
        extents = extents_of(items, *(defaults[name] for name in ("num_classes", "mask_colours", "plane")))
        choices["size"] = framing(extents.images, extents.shares)
    if "read_text" not in options and (silence := unread(items)):
        choices["sentences"] = silence
    return choices


def _options_of(choices: Mapping[str, Choice]) -> dict[str, Any]:
    return {name: value for choice in choices.values() for name, value in choice.options.items()}


def _decoder_blocks(backbone: str | None) -> int:
    config = UNet2DModel.load_config(backbone or f"{bundle_root()}/models/diffusion_unet")
    return len(config["up_block_types"]) * (config["layers_per_block"] + 1)


def _mean(dice: Sequence[float], images: Sequence[str]) -> dict[str, float | None]:
    """With its 95 % interval; nothing for what was not tried."""
    if not dice:
        return dict.fromkeys(("mean_dice", "low", "high"))
    return dict(zip(("mean_dice", "low", "high"), mean_interval(dice, images), strict=True))

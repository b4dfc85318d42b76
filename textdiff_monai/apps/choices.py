"""The rules by which ``textdiff fit`` chooses; they train nothing and open no file."""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from textdiff_monai.data.items import patient_of
from textdiff_monai.statistics.paired import paired_difference

SIDES = (128, 256)
_TARGET = 16  # pixels that a target should be wide: the finest default features have half the image's resolution
VIEWS = (("identity", "mirror"), ("identity",))  # most pictures have an up: turned ones teach what never comes
_TRIAL_STEPS = (60, 400)
_EPOCHS = (10, 100)
_HEADS = (5, 3)
_VALIDATIONS = 5


@dataclass(frozen=True)
class Choice:
    """Options of ``train.json``, and why they were chosen."""

    options: Mapping[str, Any]
    why: str


@dataclass(frozen=True)
class Pace:
    """Seconds that the frozen UNet takes for an image, training for an item with known features, and a test of one."""

    extraction: float
    step: float
    test: float


def framing(longest: Sequence[int], shares: Sequence[float]) -> Choice:
    """Whole images or tiles, and of which side.

    Args:
        longest: the longer side of each image, in pixels.
        shares: of each part of a target, its side as a share of the image's.
    """
    if not shares:
        return Choice({"resize": SIDES[0]}, "no training mask has a target, so its size decides nothing")
    share, side = median(shares), int(median(longest))
    for resize in SIDES:
        if share * resize >= _TARGET or side <= resize:
            seen = f"the median target is {share * resize:.0f} pixels wide once images are {resize} wide"
            enough = f"at least {_TARGET} are wanted" if share * resize >= _TARGET else f"images have {side}, no more"
            return Choice({"resize": resize}, f"{seen}; {enough}")
    small = f"the median target would be {share * SIDES[-1]:.0f} pixels wide in whole images of {SIDES[-1]}"
    return Choice({"tile": SIDES[-1]}, f"{small}; {_TARGET} are wanted, images have {side}")


def candidates(
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    units: int,
    backbones: Sequence[str] = (),
) -> dict[str, Choice]:
    """What is worth a trial beside the default, by name, the most promising first.

    Args:
        given: options that the user decided; these are not tried.
        defaults: of ``blocks`` and ``steps``.
        items: to train on.
        units: of the UNet's decoder.
        backbones: further frozen UNets.
    """
    found = {"default": Choice({}, "train.json as it is")}
    one_each = len({item["image"] for item in items}) == len(items)
    if "read_text" not in given and one_each and len({item["text"] for item in items}) > 1:
        found["silent"] = Choice({"read_text": False}, "without the sentences")
    if not {"head", "detail_channels"} & given.keys():
        found["detail"] = Choice({"detail_channels": 16}, "a small U-Net on the pixels, trained beside the features")
    if "steps" not in given:
        steps = list(defaults["steps"])[:1]
        found["one step"] = Choice({"steps": steps}, "features of one time step: a third of the computation")
    if "backbone" not in given:
        for path in backbones:
            found[f"backbone {path}"] = Choice({"backbone": path}, "another frozen UNet")
    finer = [block + 2 for block in defaults["blocks"]]
    if "blocks" not in given and max(finer) < units:
        found["finer blocks"] = Choice({"blocks": finer}, "features of finer decoder blocks")
    return found


def unread(items: Sequence[Mapping[str, Any]]) -> Choice | None:
    """Without any sentence there is nothing to read."""
    if any(item["text"] for item in items):
        return None
    return Choice({"read_text": False}, "no training row has a sentence")


def in_two(items: Sequence[Mapping[str, Any]], most: int, seed: int) -> list[list[Mapping[str, Any]]]:
    """The two folds of a cross-validation: items of so many images or a patient more, ``split`` being "train" or "val".

    A patient's images, and an image's items, are on the same side.

    Raises:
        ValueError: for a single image, or images of a single patient.
    """
    groups: dict[Hashable, list[Mapping[str, Any]]] = {}
    for item in items:
        groups.setdefault(patient_of(item) or item["image"], []).append(item)
    if len(groups) < 2:
        raise ValueError(
            "all labelled images are of one patient, or there is only one; label images of another patient, or train "
            "with train.json itself"
        )
    drawn, taken = random.Random(seed).sample(list(groups.values()), len(groups)), list[list[Mapping[str, Any]]]()
    for group in drawn:
        if len(taken) < 2 or len({item["image"] for each in taken for item in each}) < most:
            taken.append(group)
    return [
        [
            {**item, "split": "val" if number % 2 == fold else "train"}
            for number, group in enumerate(taken)
            for item in group
        ]
        for fold in range(2)
    ]


def trial_steps(seconds: float, step: float, tried: int) -> int:
    """Steps of training in each trial: few candidates that learned something say more than many that did not.

    Args:
        seconds: for all trials.
        step: seconds of one.
        tried: candidates, of two trials each; half as much again is set aside for slower ones.
    """
    able, (least, most) = seconds / (2 * step), _TRIAL_STEPS
    return int(max(min(able / (1.5 * tried), most), min(least, able)))


def winner(dice: Mapping[str, Sequence[float]], images: Sequence[str]) -> tuple[str, str]:
    """The candidate to take, and why: the default unless another is better beyond the 95 % interval of the difference.

    Args:
        dice: of the same held-out items, by candidate; the first is the default.
        images: of the items.
    """
    first = next(iter(dice))
    own = sum(dice[first]) / len(dice[first])
    best, gain = first, 0.0
    for name, figures in dice.items():
        found = paired_difference(figures, dice[first], images)
        if name != first and found.low > 0 and found.mean > gain:
            best, gain = name, found.mean
    if best != first:
        return best, f"Dice {own + gain:.3f} in cross-validation, {gain:.3f} more than the default"
    if len(dice) == 1:
        return first, f"Dice {own:.3f}; no other tried"
    others = f"no other ({', '.join(list(dice)[1:])}) is surely better"
    return first, f"Dice {own:.3f} in cross-validation; {others}"


def testing_seconds(pace: Pace, held: Mapping[str, int]) -> float:
    """What comes after the training: calibration on the items "val", tests on "test" with sentences and without.

    Where there is no "test", "val" is tested.
    """
    return pace.test * (held["val"] + 2 * (held["test"] or held["val"]))


def schedule(
    seconds: float, pace: Pace, items: int, images: int, held: Mapping[str, int], given: Mapping[str, Any]
) -> Choice:
    """Views, epochs and heads that the time allows.

    Args:
        seconds: left for training and evaluation.
        pace: as measured.
        items: to train on.
        images: these are of.
        held: items of the validation and the test split, "val" and "test".
        given: options that the user decided.
    """
    left = seconds - testing_seconds(pace, held) - pace.test * held["val"] * _VALIDATIONS
    for views in (given["symmetries"],) if "symmetries" in given else VIEWS:
        computing = pace.extraction * images * len(views)
        if computing <= left / 3:
            break
    epoch, (least, most) = pace.step * items, _EPOCHS
    wanted = min(max(math.ceil(400 / items) + 20, least), most)
    left = max(0.0, left - computing)
    able = [heads for heads in _HEADS if heads * wanted * epoch <= left]
    heads = given.get("heads", able[0] if able else 1)
    epochs = given.get("max_epochs", max(1, min(wanted, int(left / (heads * epoch)))))
    told = f"{epochs} epochs of {items} items"
    if "max_epochs" not in given:
        told += f", {wanted} are enough for so many labels" if epochs == wanted else f" of {wanted} wanted fit the time"
    told += f"; {heads} heads" + ("" if "heads" in given or not able else " fit as well") if heads > 1 else "; one head"
    told += f"; about {computing + epochs * heads * epoch:.0f} s"
    interval = given.get("val_interval", max(1, epochs // _VALIDATIONS))
    options = {"max_epochs": epochs, "val_interval": interval, "heads": heads}
    return Choice(options | {"symmetries": list(views)}, told)

"""What is chosen, from figures alone."""

from __future__ import annotations

import numpy as np
import pytest

from textdiff_monai.apps import choices
from textdiff_monai.apps.choices import Pace, candidates, framing, in_two, schedule, trial_steps, unread, winner

DEFAULTS = {"blocks": [1, 3, 5], "steps": [50, 150, 250]}


def items_of(count, text="The {} lung.", rows=1):
    return [
        {"image": f"{image}.png", "text": text.format(("left", "right")[(image + row) % 2])}
        for image in range(count)
        for row in range(rows)
    ]


@pytest.mark.parametrize(
    ("longest", "share", "options", "why"),
    [
        (1024, 0.3, {"resize": 128}, "38 pixels wide once images are 128 wide; at least 16 are wanted"),
        (1024, 0.07, {"resize": 256}, "18 pixels wide once images are 256 wide; at least 16 are wanted"),
        (1024, 0.02, {"tile": 256}, "5 pixels wide in whole images of 256; 16 are wanted, images have 1024"),
        (120, 0.02, {"resize": 128}, "3 pixels wide once images are 128 wide; images have 120, no more"),
        (250, 0.02, {"resize": 256}, "5 pixels wide once images are 256 wide; images have 250, no more"),
    ],
)
def test_small_targets_are_seen_larger_and_the_smallest_in_tiles(longest, share, options, why):
    choice = framing([longest] * 3, [share] * 5)
    assert choice.options == options
    assert choice.why.endswith(why)


def test_without_targets_the_size_stays():
    assert framing([500], []).options == {"resize": 128}


def test_candidates_leave_out_what_is_decided_or_makes_no_sense():
    names = list(candidates({}, DEFAULTS, items_of(6), 10, ["/unet"]))
    assert names == ["default", "silent", "detail", "one step", "backbone /unet", "finer blocks"]
    given = {"read_text": True, "steps": [50], "blocks": [1], "backbone": "mine", "detail_channels": 0}
    assert list(candidates(given, DEFAULTS, items_of(6), 10, ["/unet"])) == ["default"]
    assert "silent" not in candidates({}, DEFAULTS, items_of(6, rows=2), 10)  # the sentence tells which mask
    assert "silent" not in candidates({}, DEFAULTS, items_of(6, "The lesion."), 10)
    assert "finer blocks" not in candidates({}, DEFAULTS, items_of(6), 7)


def test_without_sentences_none_is_read():
    assert unread(items_of(2, "")).options == {"read_text": False}
    assert unread(items_of(2)) is None


def test_folds_share_no_patient_and_test_every_item_once():
    items = [item | {"patient": item["image"][0]} for item in items_of(30, rows=2)]
    folds = in_two(items, 24, seed=0)
    sides = [
        {split: {i["patient"] for i in fold if i["split"] == split} for split in ("train", "val")} for fold in folds
    ]
    assert not any(side["train"] & side["val"] for side in sides)
    assert sides[0]["train"] == sides[1]["val"]
    assert sides[0]["val"] == sides[1]["train"]
    assert in_two(items, 24, seed=0) == folds
    assert len({item["image"] for item in in_two(items_of(50), 24, seed=1)[0]}) == 24
    with pytest.raises(ValueError, match="label images of another patient"):
        in_two(items_of(1, rows=3), 24, seed=0)


def test_trials_learn_something_or_are_fewer():
    assert trial_steps(1200, step=1.0, tried=4) == 100
    assert trial_steps(300, step=1.0, tried=4) == 60
    assert trial_steps(60, step=1.0, tried=4) == 30  # all that the default alone can have
    assert trial_steps(1e6, step=1.0, tried=4) == 400


def test_the_default_stays_unless_another_is_surely_better():
    images = [f"{number}.png" for number in range(12)]
    noise = np.random.default_rng(0).normal(0, 0.1, 12)
    own = 0.6 + noise
    assert winner({"default": own, "a": own + 0.05, "b": own + 0.1}, images)[0] == "b"
    assert winner({"default": own, "a": own - 0.1}, images)[0] == "default"
    assert winner({"default": own, "a": own + noise - noise.mean()}, images)[0] == "default"
    name, why = winner({"default": own, "a": own + 0.05 + noise / 9}, images)
    assert name == "a"
    assert f"{np.mean(own + 0.05 + noise / 9):.3f}" in why


def test_more_time_buys_epochs_then_heads():
    pace, held = Pace(extraction=0.5, step=0.1, test=0.2), {"val": 4, "test": 10}
    found = [schedule(seconds, pace, 20, 20, held, {}).options for seconds in (5, 60, 150, 2000)]
    assert [one["max_epochs"] for one in found] == sorted(one["max_epochs"] for one in found)
    assert found[0]["max_epochs"] == 1
    assert [one["heads"] for one in found] == [1, 1, 1, 5]
    views = [len(one["symmetries"]) for one in found]
    assert views == [1, 1, 2, 2]
    assert 1 <= found[1]["val_interval"] <= found[1]["max_epochs"]
    for seconds, view, one in list(zip((5, 60, 150, 2000), views, found, strict=True))[1:]:
        assert 20 * view * pace.extraction + one["max_epochs"] * one["heads"] * 20 * pace.step <= seconds


def test_what_the_user_decided_is_kept():
    given = {"max_epochs": 7, "heads": 3, "symmetries": ["identity"], "val_interval": 3}
    choice = schedule(1.0, Pace(1, 1, 1), 20, 20, {"val": 0, "test": 5}, given)
    assert choice.options | given == choice.options
    assert "7 epochs" in choice.why


def test_without_test_images_those_of_validation_are_counted_as_tested():
    pace = Pace(0, 0, 2)
    assert choices.testing_seconds(pace, {"val": 3, "test": 5}) == 2 * (
        3 + 2 * 5
    )  # calibrated, with sentences, without
    assert choices.testing_seconds(pace, {"val": 3, "test": 0}) == 2 * (3 + 2 * 3)

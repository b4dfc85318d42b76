"""Reports hold figures that can be checked by hand."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import ConfusionMatrix, IgniteMetricHandler, from_engine
from monai.metrics import DiceMetric
from monai.transforms import AsDiscreted
from torch import nn

from textdiff_monai import History, MetricsReport, NonemptyDice, Progress
from textdiff_monai.statistics.intervals import mean_interval, ratio_interval


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


LOSSES = {1: [4.0, 2.0], 2: [1.0, 2.0], 3: [0.5, 0.0], 4: [0.25, 0.75]}


def recorded(folder, epochs, validated=(), path=None, as_list=False):
    """A run of made losses, validated after some epochs, whose history is recorded; from `path` on if it is given."""

    def step(engine, batch):
        output = {"loss": torch.tensor(LOSSES[engine.state.epoch][batch])}
        return [output, output] if as_list else output

    trainer, validator = Engine(step), Engine(lambda engine, batch: None)

    def validate(engine):
        if engine.state.epoch in validated:
            validator.state.epoch = engine.state.epoch
            validator.state.metrics = {"mean_dice": engine.state.epoch / 10}

    if path is not None:
        Progress(str(path), {}).attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    History(str(folder), validator).attach(trainer)
    trainer.run([0, 1], max_epochs=epochs)
    return [{name: value and float(value) for name, value in row.items()} for row in rows(folder / "history.csv")]


@pytest.mark.parametrize("as_list", [False, True])
def test_a_row_has_the_mean_loss_and_the_metrics_of_its_epoch(tmp_path, as_list):
    assert recorded(tmp_path, 3, validated=(2, 3), as_list=as_list) == [
        {"epoch": 1, "loss": 3, "val_mean_dice": ""},
        {"epoch": 2, "loss": 1.5, "val_mean_dice": 0.2},
        {"epoch": 3, "loss": 0.25, "val_mean_dice": 0.3},
    ]


def test_metrics_of_an_earlier_validation_are_not_repeated(tmp_path):
    found = recorded(tmp_path, 3, validated=(1, 3))
    assert [row["val_mean_dice"] for row in found] == [0.1, "", 0.3]


def test_rows_are_there_while_the_run_goes_on_and_the_folder_is_made(tmp_path):
    trainer, seen, folder = Engine(lambda engine, batch: {"loss": 1.0}), [], tmp_path / "new"
    History(str(folder), Engine(lambda engine, batch: None)).attach(trainer)
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: seen.append(len(rows(folder / "history.csv"))))
    trainer.run([0], max_epochs=3)
    assert seen == [0, 1, 2]


def test_a_run_that_goes_on_keeps_the_rows_up_to_where_it_goes_on(tmp_path):
    expected = recorded(tmp_path / "whole", 4, validated=(1, 2, 3, 4))
    recorded(tmp_path, 2, (1, 2), tmp_path / "last.pt")
    (tmp_path / "second.pt").write_bytes((tmp_path / "last.pt").read_bytes())
    recorded(tmp_path, 3, (1, 2, 3), tmp_path / "last.pt")
    assert recorded(tmp_path, 4, (1, 2, 3, 4), tmp_path / "second.pt") == expected  # epoch 3 ran twice


def test_a_new_run_starts_a_new_table(tmp_path):
    recorded(tmp_path, 3)
    assert [row["epoch"] for row in recorded(tmp_path, 2)] == [1, 2]


def test_a_run_that_goes_on_without_its_table_starts_one(tmp_path):
    recorded(tmp_path, 2, path=tmp_path / "last.pt")
    (tmp_path / "history.csv").unlink()
    assert [row["epoch"] for row in recorded(tmp_path, 3, path=tmp_path / "last.pt")] == [3]


# Predicted and true foreground of three images of 8 pixels, and the Dice of each by hand.
CASES = [
    ([1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0], 2 * 2 / (4 + 2)),
    ([0, 0, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0, 0], 0.0),
    ([1, 0, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 1, 0], 1.0),
]


class Given(nn.Module):
    """Logits that say what the image says."""

    def forward(self, image):
        return torch.cat([1 - image, image], dim=1)


def metric_of(metric):
    return IgniteMetricHandler(metric, output_transform=from_engine(["pred", "label"]))


def evaluator(folder, named=True, about=None, cases=CASES, batch_size=2, more_metrics=None, **options):
    items = []
    for i, (predicted, true, _) in enumerate(cases):
        image = MetaTensor(torch.tensor(predicted).float(), meta={"filename_or_obj": f"/x/{i}.png"})
        items.append({"image": image.reshape(1, 2, 4), "label": torch.tensor(true).reshape(1, 2, 4)})
        items[i] |= {"id": f"case{i}", "text": f'sentence, with "{i}"', "target": f"t{i % 2}"} if named else {}
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=batch_size),
        network=Given(),
        postprocessing=AsDiscreted(["pred", "label"], argmax=[True, False], to_onehot=2),
        key_val_metric={"mean_dice": metric_of(DiceMetric(include_background=False, ignore_empty=False))},
        additional_metrics=more_metrics,
        val_handlers=[MetricsReport(str(folder), about, **options)],
    )


def test_reports_have_the_dice_that_is_computed_by_hand(tmp_path):
    evaluator(tmp_path / "report", about={"split": "test"}).run()
    mean = sum(dice for *_, dice in CASES) / 3
    report = json.loads((tmp_path / "report" / "metrics.json").read_text())
    low, high = report.pop("mean_dice_interval")
    assert low <= mean <= high
    assert report == {"mean_dice": pytest.approx(mean, abs=1e-6), "images": 3, "items": 3, "split": "test"}
    (metrics,) = rows(tmp_path / "report" / "metrics.csv")
    assert float(metrics["mean_dice"]) == pytest.approx(mean, abs=1e-6)
    cases = rows(tmp_path / "report" / "cases.csv")
    assert [case["id"] for case in cases] == ["case0", "case1", "case2"]
    assert [case["image"] for case in cases] == ["/x/0.png", "/x/1.png", "/x/2.png"]
    assert [case["text"] for case in cases] == [f'sentence, with "{i}"' for i in range(3)]
    assert [float(case["mean_dice"]) for case in cases] == pytest.approx([dice for *_, dice in CASES], abs=1e-6)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"metrics.json", "metrics.csv", "cases.csv"}


def test_beside_each_mean_stands_its_interval_over_images(tmp_path, caplog):
    more = {"dataset_dice": ConfusionMatrix(False, "f1 score", output_transform=from_engine(["pred", "label"]))}
    caplog.set_level("INFO")
    evaluator(tmp_path, cases=CASES * 4, more_metrics=more).run()
    report = json.loads((tmp_path / "metrics.json").read_text())
    expected = mean_interval([dice for *_, dice in CASES * 4])
    assert report["mean_dice_interval"] == pytest.approx(expected[1:], abs=1e-5)
    pixels = np.array([[np.dot(predicted, true), sum(predicted) + sum(true)] for predicted, true, _ in CASES * 4])
    pooled = ratio_interval(2 * pixels[None, :, :1], pixels[None, :, 1:])
    assert report["dataset_dice"] == pytest.approx(pooled.mean, abs=1e-6)
    assert report["dataset_dice_interval"] == pytest.approx(pooled[1:], abs=1e-5)
    assert f"mean_dice: {expected.mean:.4g} (95 % interval {expected.low:.4g} to {expected.high:.4g})" in caplog.text


def test_figures_are_grouped_by_a_column_of_the_data(tmp_path):
    evaluator(tmp_path, group_by="target").run()
    groups = rows(tmp_path / "groups.csv")
    assert [(group["target"], group["items"]) for group in groups] == [("t0", "2"), ("t1", "1")]
    expected = [(CASES[0][2] + CASES[2][2]) / 2, CASES[1][2]]
    assert [float(group["mean_dice"]) for group in groups] == pytest.approx(expected, abs=1e-6)
    assert [case["target"] for case in rows(tmp_path / "cases.csv")] == ["t0", "t1", "t0"]


def test_an_image_without_a_name_is_reported_by_its_file(tmp_path):
    evaluator(tmp_path, named=False).run()
    cases = rows(tmp_path / "cases.csv")
    assert [case["id"] for case in cases] == ["/x/0.png", "/x/1.png", "/x/2.png"]
    assert [case["text"] for case in cases] == ["", "", ""]


def test_a_second_evaluation_is_reported_alone(tmp_path):
    engine = evaluator(tmp_path)
    engine.run()
    first = (tmp_path / "cases.csv").read_text(), (tmp_path / "metrics.json").read_text()
    engine.run()
    assert ((tmp_path / "cases.csv").read_text(), (tmp_path / "metrics.json").read_text()) == first
    evaluator(tmp_path, group_by="target").run()
    (tmp_path / "words.csv").write_text("id,number,word\n")
    engine.run()
    assert not {"groups.csv", "words.csv"} & {path.name for path in tmp_path.iterdir()}


def test_an_image_without_foreground_counts_one_if_none_is_found(tmp_path):
    evaluator(tmp_path, cases=[*CASES, ([0] * 8, [0] * 8, 1.0)], batch_size=1).run()
    assert float(rows(tmp_path / "cases.csv")[-1]["mean_dice"]) == 1
    expected = (sum(dice for *_, dice in CASES) + 1) / 4
    assert math.isclose(json.loads((tmp_path / "metrics.json").read_text())["mean_dice"], expected, abs_tol=1e-6)


def test_figures_do_not_depend_on_the_size_of_batches(tmp_path):
    for batch_size in (1, 3):
        evaluator(tmp_path / str(batch_size), batch_size=batch_size).run()
    assert (tmp_path / "1" / "cases.csv").read_text() == (tmp_path / "3" / "cases.csv").read_text()


EMPTY = [([0] * 8, [0] * 8, 1.0), ([0, 1, 0, 0, 0, 0, 0, 0], [0] * 8, 0.0), ([0] * 8, [0] * 8, 1.0)]


def with_nonempty(folder, cases):
    more = {"mean_dice_nonempty": metric_of(NonemptyDice(include_background=False))}
    evaluator(folder, cases=cases, more_metrics=more).run()

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((folder / "metrics.json").read_text(), parse_constant=refuse)


def test_both_conventions_for_empty_targets_are_named_and_told_apart(tmp_path):
    report = with_nonempty(tmp_path, [*CASES, *EMPTY])
    dice = [dice for *_, dice in CASES]
    assert report["mean_dice"] == pytest.approx((sum(dice) + 2) / 6, abs=1e-6)
    assert report["mean_dice_nonempty"] == pytest.approx(sum(dice) / 3, abs=1e-6)
    assert (report["empty_targets"], report["false_alarms"]) == (3, 1)
    cells = [case["mean_dice_nonempty"] for case in rows(tmp_path / "cases.csv")]
    assert [float(cell) for cell in cells[:3]] == pytest.approx(dice, abs=1e-6)
    assert cells[3:] == ["", "", ""]


def test_a_figure_that_rests_on_nothing_is_null_and_warned_of(tmp_path, caplog):
    report = with_nonempty(tmp_path, EMPTY)
    assert report["mean_dice"] == pytest.approx(2 / 3)
    assert report["mean_dice_nonempty"] is None
    assert "all 3 targets are empty: mean_dice only says how often nothing is marked" in caplog.text
    assert rows(tmp_path / "metrics.csv")[0]["mean_dice_nonempty"] == ""


def test_a_class_that_an_image_does_not_have_does_not_count_in_its_mean():
    metric = NonemptyDice()
    truth = torch.tensor([[[1, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]], [[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]])
    found = truth.clone()
    found[0, 1, 1:3], found[1, 2] = 0, 0  # half of class 1 in the first image, nothing of class 2 in the second
    metric(found[..., None], truth[..., None])
    assert metric.aggregate().item() == pytest.approx(((1 + 2 * 1 / 4) / 2 + (1 + 0) / 2) / 2)

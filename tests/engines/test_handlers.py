"""Handlers: a run goes on as if it had never stopped, and reports hold figures that can be checked by hand."""

from __future__ import annotations

import csv
import json
import math

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, LrScheduleHandler, from_engine
from monai.metrics import DiceMetric
from monai.transforms import AsDiscreted
from torch import nn

from textdiff_monai import BestModel, History, MetricsReport, Progress


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Toy:
    """A training of one linear layer on two made batches; `epochs` are those that ran."""

    def __init__(self, wrap=None):
        torch.manual_seed(0)
        self.network = nn.Linear(3, 1)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, 0.5)
        self.epochs, self.trainer = [], Engine(self.step)
        wrapped = wrap(self.network) if wrap else self.network
        self.state = {"network": wrapped, "optimizer": self.optimizer, "scheduler": self.scheduler}
        self.trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: self.epochs.append(engine.state.epoch))
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: self.scheduler.step())

    def step(self, engine, batch):
        self.optimizer.zero_grad()
        loss = self.network(torch.full((2, 3), float(batch))).square().mean()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item()}

    def run(self, path, epochs, **options):
        Progress(str(path), self.state, **options).attach(self.trainer)
        self.trainer.run([1, 2], max_epochs=epochs)
        return self

    def weights(self):
        return torch.cat([parameter.detach().flatten() for parameter in self.network.parameters()])


def evaluate(handler, score, weight):
    """An evaluation of a layer whose weight is known, with a score."""
    handler.network.weight.data.fill_(weight)
    engine = Engine(lambda engine, batch: None)
    engine.state.key_metric_name = "mean_dice"
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(mean_dice=score))
    handler.attach(engine)
    engine.run([1])
    return torch.load(handler.path, weights_only=True)["weight"].unique().item()


def test_the_best_model_is_kept_and_known_when_training_goes_on(tmp_path):
    handler = BestModel(str(tmp_path / "models" / "model.pt"), nn.Linear(2, 1))
    assert [evaluate(handler, score, weight) for score, weight in ((0.2, 1), (0.5, 2), (0.4, 3))] == [1, 2, 2]
    later = BestModel(str(handler.path), nn.DataParallel(nn.Linear(2, 1)))
    later.load_state_dict(handler.state_dict())
    assert [evaluate(later, score, weight) for score, weight in ((0.3, 4), (0.6, 5))] == [2, 5]
    assert [path.name for path in handler.path.parent.iterdir()] == ["model.pt"]


def saved_epoch(path):
    engine = torch.load(path, weights_only=True)["engine"]
    return engine["iteration"] // engine["epoch_length"]


def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole = Toy().run(tmp_path / "whole.pt", 4)
    Toy().run(tmp_path / "last.pt", 2)
    rest = Toy().run(tmp_path / "last.pt", 4)
    assert whole.epochs == [1, 2, 3, 4]
    assert rest.epochs == [3, 4]
    assert torch.equal(rest.weights(), whole.weights())
    assert rest.scheduler.get_last_lr() == whole.scheduler.get_last_lr()
    assert rest.trainer.state.iteration == whole.trainer.state.iteration == 8


def test_a_run_that_is_complete_does_nothing_more(tmp_path):
    first = Toy().run(tmp_path / "last.pt", 2)
    again = Toy().run(tmp_path / "last.pt", 2)
    assert again.epochs == []
    assert torch.equal(again.weights(), first.weights())
    assert Toy().run(tmp_path / "last.pt", 3).epochs == [3]


def test_a_run_without_a_file_starts_at_the_first_epoch_and_makes_the_folders(tmp_path):
    path = tmp_path / "a" / "b" / "last.pt"
    assert Toy().run(path, 2).epochs == [1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]
    assert saved_epoch(path) == 2


def test_without_resuming_a_run_starts_anew_and_overwrites_the_file(tmp_path):
    Toy().run(tmp_path / "last.pt", 4)
    anew = Toy().run(tmp_path / "last.pt", 2, resume=False)
    assert anew.epochs == [1, 2]
    assert torch.equal(anew.weights(), Toy().run(tmp_path / "other.pt", 2).weights())
    assert saved_epoch(tmp_path / "last.pt") == 2


def test_the_file_is_written_every_few_epochs_and_at_the_end(tmp_path):
    toy, path, found = Toy(), tmp_path / "last.pt", []

    @toy.trainer.on(Events.EPOCH_STARTED)
    def look(engine):
        found.append(path.exists() and saved_epoch(path))

    toy.run(path, 5, interval=2)
    assert found == [False, False, 2, 2, 4]
    assert saved_epoch(path) == 5


class Odd:
    """State that can be written once, and never again."""

    def __init__(self):
        self.times = 0

    def state_dict(self):
        self.times += 1
        return {"filler": torch.zeros(1000), "state": self.times if self.times == 1 else (lambda: None)}

    def load_state_dict(self, state):
        self.times = state["state"]


def test_a_failure_while_writing_leaves_the_file_before_it(tmp_path):
    toy, path = Toy(), tmp_path / "last.pt"
    toy.trainer.logger.disabled = True
    toy.state["odd"] = Odd()
    with pytest.raises(Exception, match=r"pickle|local"):
        toy.run(path, 3)
    assert toy.epochs == [1, 2]
    assert saved_epoch(path) == 1
    again = Toy()
    again.state["odd"] = Odd()
    again.trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: engine.terminate())
    Progress(str(path), again.state, interval=100).load(again.trainer)
    assert again.trainer.state.epoch == 1
    assert again.state["odd"].times == 1


@pytest.mark.parametrize("last", [False, True])
def test_what_other_handlers_do_at_the_end_of_an_epoch_is_kept_wherever_they_stand(tmp_path, last):
    """A killed run goes on at the learning rate that it would have had."""

    def run(path, epochs, killed_in=None):
        toy, rates = Toy(), []

        @toy.trainer.on(Events.EPOCH_STARTED)
        def start(engine):
            if engine.state.epoch == killed_in:
                raise KeyboardInterrupt
            rates.append(toy.optimizer.param_groups[0]["lr"])

        handlers = [Progress(str(path), toy.state), LrScheduleHandler(toy.scheduler, print_lr=False)]
        for handler in reversed(handlers) if last else handlers:
            handler.attach(toy.trainer)
        toy.trainer.run([1], max_epochs=epochs)
        return rates

    expected = run(tmp_path / "whole.pt", 4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "last.pt", 4, killed_in=3)
    assert run(tmp_path / "last.pt", 4) == expected[2:]


def test_wrappers_come_and_go_between_runs(tmp_path):
    whole = Toy().run(tmp_path / "whole.pt", 4)
    Toy(wrap=nn.DataParallel).run(tmp_path / "last.pt", 2)
    assert set(torch.load(tmp_path / "last.pt", weights_only=True)["network"]) == {"weight", "bias"}
    assert torch.equal(Toy().run(tmp_path / "last.pt", 3).weights(), Toy().run(tmp_path / "three.pt", 3).weights())
    assert torch.equal(Toy(wrap=nn.DataParallel).run(tmp_path / "last.pt", 4).weights(), whole.weights())


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(idist, "get_rank", lambda: 1)
    assert Toy().run(tmp_path / "last.pt", 1).epochs == [1]
    assert not (tmp_path / "last.pt").exists()


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


def evaluator(folder, named=True, about=None, cases=CASES, batch_size=2, **options):
    items = []
    for i, (predicted, true, _) in enumerate(cases):
        image = MetaTensor(torch.tensor(predicted).float(), meta={"filename_or_obj": f"/x/{i}.png"})
        items.append({"image": image.reshape(1, 2, 4), "label": torch.tensor(true).reshape(1, 2, 4)})
        items[i] |= {"id": f"case{i}", "text": f'sentence, with "{i}"', "target": f"t{i % 2}"} if named else {}
    metric = DiceMetric(include_background=False, ignore_empty=False)
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=batch_size),
        network=Given(),
        postprocessing=AsDiscreted(["pred", "label"], argmax=[True, False], to_onehot=2),
        key_val_metric={"mean_dice": IgniteMetricHandler(metric, output_transform=from_engine(["pred", "label"]))},
        val_handlers=[MetricsReport(str(folder), about, **options)],
    )


def test_reports_have_the_dice_that_is_computed_by_hand(tmp_path):
    evaluator(tmp_path / "report", about={"split": "test"}).run()
    mean = sum(dice for *_, dice in CASES) / 3
    report = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert report == {"mean_dice": pytest.approx(mean, abs=1e-6), "images": 3, "items": 3, "split": "test"}
    (metrics,) = rows(tmp_path / "report" / "metrics.csv")
    assert float(metrics["mean_dice"]) == pytest.approx(mean, abs=1e-6)
    cases = rows(tmp_path / "report" / "cases.csv")
    assert [case["id"] for case in cases] == ["case0", "case1", "case2"]
    assert [case["image"] for case in cases] == ["/x/0.png", "/x/1.png", "/x/2.png"]
    assert [case["text"] for case in cases] == [f'sentence, with "{i}"' for i in range(3)]
    assert [float(case["mean_dice"]) for case in cases] == pytest.approx([dice for *_, dice in CASES], abs=1e-6)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"metrics.json", "metrics.csv", "cases.csv"}


def test_figures_are_grouped_by_a_column_of_the_data(tmp_path):
    evaluator(tmp_path, group_by="target").run()
    groups = rows(tmp_path / "groups.csv")
    assert [(group["target"], group["items"]) for group in groups] == [("t0", "2"), ("t1", "1")]
    expected = [(CASES[0][2] + CASES[2][2]) / 2, CASES[1][2]]
    assert [float(group["mean_dice"]) for group in groups] == pytest.approx(expected, abs=1e-6)
    assert [case["target"] for case in rows(tmp_path / "cases.csv")] == ["t0", "t1", "t0"]
    with pytest.raises(ValueError, match="group_by: the data's table has no column 'organ'"):
        evaluator(tmp_path, group_by="organ").run()


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


def test_an_image_without_foreground_counts_one_if_none_is_found(tmp_path):
    evaluator(tmp_path, cases=[*CASES, ([0] * 8, [0] * 8, 1.0)], batch_size=1).run()
    assert float(rows(tmp_path / "cases.csv")[-1]["mean_dice"]) == 1
    expected = (sum(dice for *_, dice in CASES) + 1) / 4
    assert math.isclose(json.loads((tmp_path / "metrics.json").read_text())["mean_dice"], expected, abs_tol=1e-6)


def test_figures_do_not_depend_on_the_size_of_batches(tmp_path):
    for batch_size in (1, 3):
        evaluator(tmp_path / str(batch_size), batch_size=batch_size).run()
    assert (tmp_path / "1" / "cases.csv").read_text() == (tmp_path / "3" / "cases.csv").read_text()

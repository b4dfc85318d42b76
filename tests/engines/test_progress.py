"""A run goes on as if it had never stopped, and keeps its best model, or its last."""

from __future__ import annotations

import logging
import math

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import LrScheduleHandler
from torch import nn

from textdiff_monai import BestModel, LastModel, Progress


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
    elsewhere = BestModel(str(tmp_path / "others" / "model.pt"), nn.Linear(2, 1))
    elsewhere.load_state_dict(handler.state_dict())
    assert evaluate(elsewhere, 0.1, 6) == 6  # of what there is, the best


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


def test_without_an_evaluation_that_chose_one_the_last_model_is_kept_and_said_so(tmp_path, caplog):
    network, trainer = nn.Linear(2, 1), Engine(lambda engine, batch: None)
    trainer.logger = logging.getLogger("a trainer")
    best = BestModel(str(tmp_path / "model.pt"), network)
    LastModel(best).attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: network.weight.data.fill_(engine.state.epoch))
    with caplog.at_level(logging.WARNING):
        trainer.run([1], max_epochs=3)
    assert torch.load(tmp_path / "model.pt", weights_only=True)["weight"].tolist() == [[3.0, 3.0]]
    assert "model.pt holds the last" in caplog.text
    best.load_state_dict({"score": 0.5})  # a run that goes on
    caplog.clear()
    trainer.run([1], max_epochs=5)
    assert torch.load(tmp_path / "model.pt", weights_only=True)["weight"].tolist() == [[3.0, 3.0]]
    assert "holds the last" not in caplog.text


@pytest.mark.parametrize("metrics", [{}, {"mean_dice": math.nan}])
def test_a_score_that_is_none_chooses_no_model(tmp_path, metrics):
    best = BestModel(str(tmp_path / "model.pt"), nn.Linear(2, 1))
    engine = Engine(lambda engine, batch: None)
    engine.state.key_metric_name = next(iter(metrics), None)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(metrics))
    best.attach(engine)
    engine.run([1])
    assert best.score == -math.inf
    assert not (tmp_path / "model.pt").exists()


def test_a_run_goes_on_with_the_options_that_it_began_with(tmp_path):
    began = {"batch_size": 1, "blocks": (1, 3), "norm": ["instance", {"affine": True}], "device": torch.device("cpu")}
    Toy().run(tmp_path / "last.pt", 1, options=began)
    assert Toy().run(tmp_path / "last.pt", 2, options=began).epochs == [2]
    for changed in (began | {"batch_size": 2}, {name: began[name] for name in ("blocks", "norm", "device")}):
        toy = Toy()
        toy.trainer.logger.disabled = True
        with pytest.raises(
            ValueError, match=r"last\.pt: this run began with batch_size 1 \(now (2|None)\); use the same options"
        ):
            toy.run(tmp_path / "last.pt", 2, options=changed)


def test_a_run_that_starts_anew_leaves_nothing_of_the_one_before(tmp_path):
    Toy().run(tmp_path / "last.pt", 3)
    toy = Toy()
    toy.trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: engine.terminate(skip_completed=True))
    toy.run(tmp_path / "last.pt", 2, resume=False)
    assert not (tmp_path / "last.pt").exists()


class Scaler(Odd):
    """A gradient scaler's state."""

    def state_dict(self):
        return {"state": self.times}


def test_the_scaler_of_lower_precision_goes_on_too(tmp_path):
    toy, later = Toy(), Toy()
    toy.trainer.scaler, later.trainer.scaler = Scaler(), Scaler()
    toy.trainer.scaler.times = 7
    toy.run(tmp_path / "last.pt", 1)
    later.run(tmp_path / "last.pt", 2)
    assert later.trainer.scaler.times == 7

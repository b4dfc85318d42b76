"""Going on is the same as never having stopped: weights and history, bit for bit."""

from __future__ import annotations

import multiprocessing
import re
import time
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from ignite.engine import Events
from killed import train_until_writing

from textdiff_monai import bundle_root

TRAIN = f"{bundle_root()}/configs/train.json"


@pytest.fixture(autouse=True)
def _threads():
    """Tests that change the number of threads leave it as it was."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def options(tiny, tmp_path):
    """Those of a training in a folder."""

    def options(folder, **more):
        place = {
            "output_dir": tmp_path / folder,
            "ckpt_dir": tmp_path / folder,
            "cache_dir": tmp_path / folder / "cache",
        }
        given = tiny | {"max_epochs": 4, "batch_size": 2} | place | more
        return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}

    return options


def train(options, stop_in=None):
    """A training in this process, broken off before the last step of an epoch."""
    workflow = monai.bundle.create_workflow(config_file=TRAIN, **options)
    trainer = workflow.parser.get_parsed_content("train#trainer")
    if stop_in is None:
        workflow.run()
        return

    @trainer.on(Events.ITERATION_STARTED)
    def stop(engine):
        if engine.state.iteration == stop_in * engine.state.epoch_length:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workflow.run()


def outcome(folder):
    """What a run leaves: history, weights, and the state of everything that learns, as bytes that can be compared."""
    folder, read = Path(folder), {}
    for file in ("model.pt", "last.pt"):
        states = torch.load(folder / file, weights_only=True)
        states.get("options", {}).clear()
        read[file] = flat(states)
    return read | {name: (folder / name).read_bytes() for name in ("history.csv", "metrics.json", "cases.csv")}


def flat(state):
    if isinstance(state, torch.Tensor):
        return (str(state.dtype), tuple(state.shape), state.numpy().tobytes())
    if isinstance(state, dict):
        return {name: flat(value) for name, value in state.items()}
    return [flat(value) for value in state] if isinstance(state, (list, tuple)) else state


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"augment": "published", "batch_size": 1, "num_workers": 2},
        {"resize": None, "tile": 16, "tiles_per_image": 2},
        {"cache_gib": 0, "val_interval": 3, "batch_size": 3},
    ],
    ids=["augmented", "workers", "tiles", "uncached"],
)
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_training_that_was_broken_off_ends_as_if_it_had_not_been(options, tmp_path, more, threads):
    torch.set_num_threads(threads)
    train(options("whole", **more))
    for epoch in (1, 3):
        train(options("parts", resume=True, **more), stop_in=epoch)
    train(options("parts", resume=True, **more))
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_epochs_draw_differently_and_so_do_seeds(options, tmp_path):
    def views(folder, **more):
        workflow = monai.bundle.create_workflow(config_file=TRAIN, **options(folder, **more))
        trainer, seen = workflow.parser.get_parsed_content("train#trainer"), []
        trainer.add_event_handler(
            Events.ITERATION_STARTED, lambda engine: seen.append(engine.state.batch["image"].sum())
        )
        workflow.run()
        return [float(value) for value in seen]

    first = views("first")
    assert len(set(first)) > 4
    assert views("again") == first
    assert views("other", seed=1) != first


def test_a_run_goes_on_with_the_options_that_it_began_with(options, tmp_path):
    train(options("run", max_epochs=2))
    before = (tmp_path / "run" / "last.pt").read_bytes()
    for more, message in {
        ("max_epochs", 5): r"last\.pt: this run began with max_epochs 2 \(now 5\); use the same options",
        ("learning_rate", 0.5): r"learning_rate 0\.001 \(now 0\.5\)",
        ("symmetries", "['identity']"): r"symmetries \[.*\] \(now .*\)",
        ("num_labelled", 2): r"items \[4, 2\] \(now \[2, 2\]\), num_labelled None \(now 2\)",
    }.items():
        with pytest.raises(RuntimeError) as failure:
            train(options("run", resume=True, **{"max_epochs": 2} | dict([more])))
        assert re.search(message, str(failure.value.__cause__))
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    train(options("run", resume=True, max_epochs=2, blocks=(1, 3)))  # a list all the same


def test_the_learning_rate_falls_to_the_end(options, tmp_path):
    train(options("run"), stop_in=3)
    train(options("run", resume=True))
    (rate,) = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["lr_scheduler"]["_last_lr"]
    assert rate == pytest.approx(0, abs=1e-9)


def test_a_run_that_starts_anew_cannot_be_mixed_with_the_one_before_it(options, tmp_path):
    train(options("run"))
    train(options("run", seed=1), stop_in=1)
    train(options("run", seed=1, resume=True))
    train(options("other", seed=1))
    assert outcome(tmp_path / "run") == outcome(tmp_path / "other")


@pytest.fixture
def started():
    """Starts a training in a process of its own, which has imported everything when it begins."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["monai.bundle", "monai.engines", "textdiff_monai.networks.textdiff"])

    def start(moment=None, **options):
        process = context.Process(target=train_until_writing, args=(moment, TRAIN), kwargs=options)
        process.start()
        return process

    return start


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_twenty_kills_at_random_moments_change_nothing(threads, options, started, tmp_path):
    more = {"max_epochs": 60, "initialize": [f"$torch.set_num_threads({threads})", "$monai.utils.set_determinism(0)"]}
    started(**options("whole", **more)).join()
    history, kills = tmp_path / "parts" / "history.csv", 0
    for delay in [*np.random.default_rng(threads).uniform(0, 0.4, 10), None]:
        before = history.stat().st_mtime_ns if history.exists() else 0
        part = started(**options("parts", **more), resume=True)
        while part.is_alive() and (not history.exists() or history.stat().st_mtime_ns == before):
            time.sleep(0.001)  # the training begins when it writes its history
        part.join(delay)
        kills += part.is_alive()
        part.kill()
        part.join()
    assert kills == 10
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_a_kill_whenever_a_file_is_written_changes_nothing(options, started, tmp_path):
    more = {"max_epochs": 2, "cache_dir": tmp_path / "cache"}
    started(**options("whole", **more)).join()
    expected, moments, exit_code = outcome(tmp_path / "whole"), 0, None
    while exit_code != 0:
        moments += 1
        parts = options(f"killed{moments}", **more)
        part = started(moments, **parts)
        part.join()
        exit_code = part.exitcode
        started(**parts, resume=True).join()
        assert outcome(tmp_path / f"killed{moments}") == expected
        assert not list((tmp_path / f"killed{moments}").glob("*.part"))
    assert moments > 20

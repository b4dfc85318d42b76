"""What is random in an epoch depends on the seed and the epoch alone."""

from __future__ import annotations

import random

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset, DistributedSampler
from monai.transforms import Compose, Randomizable, Transform
from torch.utils.data import WeightedRandomSampler

from textdiff_monai import EpochSeed


class Draw(Randomizable, Transform):
    """Adds a random number."""

    def __call__(self, value):
        return value + self.R.random_sample()


def draws(seed, epochs, disturbed=False, **options):
    """What each epoch draws: order and transforms of the data, and the three global generators."""
    loader = DataLoader(Dataset(list(range(6)), Compose([float, Draw()])), batch_size=2, **options)
    seen = {}

    def step(engine, batch):
        seen.setdefault(engine.state.epoch, []).extend(batch.tolist())
        seen[engine.state.epoch] += [torch.rand(1).item(), np.random.rand(), random.random()]
        if disturbed:
            torch.rand(3)

    engine = Engine(step)
    EpochSeed(seed).attach(engine)
    engine.load_state_dict({"epoch": epochs[0] - 1, "max_epochs": epochs[-1], "epoch_length": 3})
    engine.run(loader)
    return seen


def sampler():
    return WeightedRandomSampler([1, 1, 1, 1, 1, 1], 6, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    "options", [lambda: {"shuffle": True}, lambda: {"sampler": sampler()}, lambda: {"shuffle": True, "num_workers": 2}]
)
def test_an_epoch_is_the_same_whatever_came_before_it(options):
    whole = draws(0, range(1, 5), **options())
    torch.rand(7)
    assert draws(0, range(3, 5), **options()) == {epoch: whole[epoch] for epoch in (3, 4)}
    assert draws(0, range(1, 5), **options()) == whole
    assert len({tuple(drawn) for drawn in whole.values()}) == 4
    other = draws(1, range(1, 5), **options())
    assert all(other[epoch] != whole[epoch] for epoch in whole)


def test_processes_share_the_order_and_draw_transforms_of_their_own(monkeypatch):
    orders, values = [], []
    for rank in (0, 1):
        monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
        data = Dataset(list(range(6)), Compose([float, Draw()]))
        parts = DistributedSampler(data, num_replicas=2, rank=0, shuffle=True)
        seen = draws_of(data, parts)
        orders.append([[int(value) for value in epoch] for epoch in seen])
        values.append(seen)
    assert orders[0] == orders[1]
    assert values[0] != values[1]
    assert orders[0][0] != orders[0][1]


def draws_of(data, sampler):
    loader, seen = DataLoader(data, batch_size=3, sampler=sampler), []
    engine = Engine(lambda engine, batch: seen.append(batch.tolist()))
    EpochSeed(0).attach(engine)
    engine.run(loader, max_epochs=4)
    return seen

"""Randomness that depends on seed and epoch alone, so that a run that goes on draws what it would have drawn."""

from __future__ import annotations

import random
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd


class EpochSeed:
    """An Ignite handler that seeds all that is random in an epoch when it starts.

    The generators of PyTorch, NumPy and Python; those of MONAI's transforms; that of the loader's sampler, or its epoch
    where it is a distributed one. Workers of a data loader start anew each epoch and take their seeds from PyTorch's;
    those that persist, as ``pretrain.json`` lets them, draw on from where they are.

    Args:
        seed: of the run; processes that train together draw differently from the same one.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        seed = int(np.random.SeedSequence([self.seed % 2**32, epoch, idist.get_rank()]).generate_state(1)[0])
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        loader: Any = engine.state.dataloader
        sampler: Any = getattr(loader, "sampler", None)
        set_rnd(getattr(loader, "dataset", None), seed)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        for source in (loader, sampler):
            if isinstance(generator := getattr(source, "generator", None), torch.Generator):
                generator.manual_seed(seed)

"""The peak memory of training, measured where nothing else was computed before."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.measure import peak_bytes
from benchmarks.setting import Setting, Work
from textdiff_monai.engines.features import FeatureCache

# From this many bytes on, the GNU C library gives what is freed back to the system at once.
_GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def training_memory(setting: Setting, folder: Path, device: torch.device) -> dict[str, int] | None:
    """Peak bytes beyond the weights, published and ours; None where the system does not tell.

    In a process of its own, so that what is freed does not stay with it and hide what is taken afterwards.
    """
    before = dict(os.environ)
    os.environ.update(_GIVEN_BACK)
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_training_memory, setting, folder, device, torch.get_num_threads()).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _training_memory(setting: Setting, folder: Path, device: torch.device, threads: int) -> dict[str, int] | None:
    """Two images, each new and then again: extraction, cache and optimizer included."""
    torch.set_num_threads(threads)
    work = Work(setting, folder, device)
    images = [work.image() for _ in range(2)]

    def published() -> None:
        step = work.published_trainer()
        for image in images * 2:
            step(work.published_features(image), work.published_text(work.text))

    def ours() -> None:
        step = work.trainer(FeatureCache(folder / "memory"))
        for image in images * 2:
            step(image)

    theirs, peak = peak_bytes(published, device), peak_bytes(ours, device)
    if theirs is None or peak is None:
        return None
    # The published step works on a copy of the head's weights, which counts; ours were there before.
    return {"published": theirs, "ours": peak + sum(weight.nbytes for weight in work.head.values())}

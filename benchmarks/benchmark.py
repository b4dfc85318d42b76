"""What the savings save: the published way of computing and this project's, side by side on the same weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from monai.losses import DiceCELoss
from torch import Tensor
from tqdm import tqdm

from benchmarks.measure import (
    DTYPES,
    error,
    in_precision,
    machine,
    matrix_products,
    matrix_rate,
    multiply_adds,
    peak_bytes,
    side_by_side,
)
from benchmarks.reference import published_features, published_head, published_logits
from benchmarks.report import plot
from benchmarks.setting import SETTINGS, Setting, build_network, frozen_folders
from textdiff_monai.engines.features import FeatureCache
from textdiff_monai.language.grammar import sentences
from textdiff_monai.networks.textdiff import TextDiff

EPOCHS = 50
# Training steps on cached features that are measured in a row.
_STEPS = 10


def benchmark(
    config: str | Setting = "tiny",
    out: str | Path = "benchmark.json",
    device: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure, and write a report and, where matplotlib is installed, a plot beside it.

    Args:
        config: a name in :data:`SETTINGS`, or a setting.
        out: the JSON file; the plot has its name and ends in .png.
        device: default CUDA where there is one.
        progress: shows a bar.

    Returns:
        The report. Its ``ratios`` are speeds (published time over ours), ``training_memory`` (ours over published) and
        ``over_floor`` (ours over the time that the computed multiply-adds take at the machine's rate).
    """
    if isinstance(config, str) and config not in SETTINGS:
        raise ValueError(f"config is {config!r}: expected one of {', '.join(SETTINGS)}")
    setting = SETTINGS[config] if isinstance(config, str) else config
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    report: dict[str, Any] = {"config": config if isinstance(config, str) else "own", "machine": machine(where)}
    with tempfile.TemporaryDirectory() as folder:
        report |= _report(setting, where, Path(folder), progress)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    plot(report, path.with_suffix(".png"))
    return report


def _report(setting: Setting, device: torch.device, folder: Path, progress: bool) -> dict[str, Any]:
    with tqdm(total=7, disable=not progress, leave=False) as stages:

        def stage(name: str) -> None:
            stages.set_description(name)
            stages.update()

        stage("weights")
        folders = frozen_folders(setting, folder)
        network = build_network(setting, folders, device)
        work = _Work(setting, network, device)
        stage("matrix rates")
        rates = {name: matrix_rate(dtype, device) for name, dtype in DTYPES.items()}
        stage("inference")
        inference = _inference(work, rates)
        stage("training")
        training = _training(work, FeatureCache(folder / "cache"))
        stage("memory")
        memory = _memory(work, folder / "memory")
        stage("growth")
        growth = _growth(work, training)
        del network, work
        stage("options")
        options = _options(setting, folders, device, folder)
    floor = inference["multiply_adds"]["ours"] / inference["multiply_adds_per_second"]
    published, ours = inference["seconds"]["published"], inference["seconds"]["ours"]
    ratios = {
        "inference_fp32": published / ours["float32"],
        "inference_best": published / min(ours.values()),
        "training_50_epochs": _per_epoch(training, "published", EPOCHS) / _per_epoch(training, "ours", EPOCHS),
        "cached_step": training["published_head_step"] / training["ours_cached_step"],
        "training_memory": memory["ours"] / memory["published"] if memory else None,
        "over_floor": ours["float32"] / floor,
    }
    return {
        "setting": {"blocks": setting.blocks, "steps": setting.steps, "size": setting.size, "repeats": setting.repeats},
        "ratios": ratios,
        "max_relative_error": inference["relative_error"]["float32"],
        "multiply_adds_per_second": rates,
        "floor_seconds": floor,
        "inference": inference,
        "training": training | {way: _per_epoch(training, way, EPOCHS) for way in ("published", "ours")},
        "training_memory_bytes": memory,
        "growth": growth,
        "options": options,
    }


class _Work:
    """The same network, images, captions and labels for everything that is measured."""

    def __init__(self, setting: Setting, network: TextDiff, device: torch.device) -> None:
        self.setting, self.network, self.device = setting, network, device
        # As long as QaTa-COV19's captions.
        self._sentences = (sentence for sentence in sentences(seed=1) if 12 <= len(sentence.split()) <= 16)
        self.text = next(self._sentences)
        self.loss = DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=True, batch=True, lambda_dice=1.5)

    def images(self, count: int = 1, size: int | None = None) -> Tensor:
        side = size or self.setting.size
        return torch.rand(count, 3, side, side, device=self.device) * 2 - 1

    @torch.no_grad()
    def infer(self, image: Tensor, published: bool, texts: Sequence[str] | None = None) -> Tensor:
        """Logits of images; each has a sentence of its own, as new images have, that was never encoded before."""
        self.network.eval()
        texts = texts or list(islice(self._sentences, len(image)))
        return published_logits(self.network, image, texts) if published else self.network(image, texts)

    def trainer(self, published: bool) -> Callable[[Sequence[Tensor], Tensor], float]:
        """A training step of the head on features and text: forward, backward, Adam."""
        head = self.network.head
        optimizer = torch.optim.Adam(head.parameters(), lr=1e-4, fused=not published)
        size = (self.setting.size,) * 2
        label = (torch.rand(1, 1, *size, device=self.device) > 0.5).long()

        def step(features: Sequence[Tensor], text: Tensor) -> float:
            head.train()
            optimizer.zero_grad()
            logits = published_head(head, features, text, size) if published else head(features, text, None, size)
            loss = self.loss(logits, label)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    def cached_steps(self, cache: FeatureCache, image: Tensor) -> Callable[[], None]:
        """Training steps in a row, as they are taken once all features are there, with features read from the cache."""
        step, backbone, encoder = self.trainer(published=False), self.network.backbone, self.network.text_encoder

        def steps() -> None:
            for _ in range(_STEPS):
                step(cache(image, backbone.identity, backbone._compute), encoder([self.text])[0].to(self.device))

        return steps


def _inference(work: _Work, rates: Mapping[str, float]) -> dict[str, Any]:
    """Both ways in float32, and ours in every precision whose matrix products are faster here than float32's."""
    image, device = work.images(), work.device
    precisions = {name: dtype for name, dtype in DTYPES.items() if rates[name] >= rates["float32"]}

    def published() -> Tensor:
        return work.infer(image, published=True)

    def ours() -> Tensor:
        return work.infer(image, published=False)

    jobs = {name: in_precision(ours, device, dtype) for name, dtype in precisions.items()}
    product, count = matrix_products(torch.float32, device)
    seconds = side_by_side({"published": published, "products": product, **jobs}, work.setting.repeats, device)
    expected, counted = multiply_adds(lambda: work.infer(image, published=True, texts=[work.text]))
    errors = {
        name: error(in_precision(lambda: work.infer(image, False, [work.text]), device, dtype)(), expected)
        for name, dtype in precisions.items()
    }
    return {
        "multiply_adds_per_second": count / seconds.pop("products"),
        "seconds": {"published": seconds.pop("published"), "ours": seconds},
        "relative_error": errors,
        "multiply_adds": {"published": counted, "ours": multiply_adds(ours)[1]},
    }


def _training(work: _Work, cache: FeatureCache) -> dict[str, Any]:
    """Seconds of the parts of an image's epoch: published, all of them each time; ours, the features once."""
    image, backbone, encoder = work.images(), work.network.backbone, work.network.text_encoder
    text = encoder([work.text])[0].to(work.device)
    features = backbone(image)
    published = work.trainer(published=True)

    def extract() -> None:
        fresh = work.images()  # no other image has its features
        cache(fresh, backbone.identity, backbone._compute)

    jobs: dict[str, Callable[[], Any]] = {
        "published_features": lambda: published_features(backbone, image),
        "published_text": lambda: encoder._encode(work.text),
        "published_head_step": lambda: published(features, text),
        "ours_extraction": extract,
        "ours_cached_step": work.cached_steps(cache, image),
    }
    seconds = side_by_side(jobs, work.setting.repeats, work.device)
    seconds["ours_cached_step"] /= _STEPS
    kept = cache(image, backbone.identity, backbone._compute)
    with torch.no_grad():
        head, size = work.network.head.eval(), (work.setting.size,) * 2
        rounding = error(head(kept, text, None, size), head(features, text, None, size))
    size_on_disk = sum(path.stat().st_size for path in cache.folder.rglob("*.safetensors"))
    files = sum(1 for _ in cache.folder.rglob("*.safetensors"))
    return seconds | {"cache_bytes_per_image": size_on_disk / files, "relative_error_of_cached_features": rounding}


def _per_epoch(training: Mapping[str, float], way: str, epochs: int) -> float:
    """Seconds an image and epoch, what is done once shared among the epochs."""
    if way == "published":
        return sum(training[f"published_{part}"] for part in ("features", "text", "head_step"))
    return training["ours_extraction"] / epochs + training["ours_cached_step"]


def _memory(work: _Work, folder: Path) -> dict[str, int] | None:
    """Peak bytes of training beyond the frozen weights: two images, each new and then again."""
    images, backbone, encoder = [work.images() for _ in range(2)], work.network.backbone, work.network.text_encoder

    def train(published: bool) -> None:
        step, cache = work.trainer(published), FeatureCache(folder)
        for image in images * 2:
            if published:
                text = encoder._encode(work.text)[None]
                step(published_features(backbone, image), text.to(work.device))
            else:
                features = cache(image, backbone.identity, backbone._compute)
                step(features, encoder([work.text])[0].to(work.device))

    peaks = {}
    for way in ("published", "ours"):
        work.network.head.zero_grad()
        peak = peak_bytes(lambda way=way: train(way == "published"), work.device)  # type: ignore[misc]
        if peak is None:
            return None
        peaks[way] = peak + sum(p.nbytes for p in work.network.head.parameters())
    return peaks


def _growth(work: _Work, training: Mapping[str, float]) -> dict[str, Any]:
    """Seconds an image against the image's side and the batch; seconds of a training against epochs and images."""
    repeats = max(1, work.setting.repeats // 3)
    by_size, by_batch = [], []
    for size in work.setting.sizes:
        image = work.images(size=size)
        jobs = {
            "published": lambda image=image: work.infer(image, published=True),
            "ours": lambda image=image: work.infer(image, published=False),
        }
        by_size.append({"size": size, **side_by_side(jobs, repeats, work.device)})
    for batch in work.setting.batches:
        image = work.images(batch)
        jobs = {"ours": lambda image=image: work.infer(image, published=False)}
        by_batch.append({"batch": batch, "ours": side_by_side(jobs, repeats, work.device)["ours"] / batch})
    epochs = [
        {"epochs": n, **{way: n * _per_epoch(training, way, n) for way in ("published", "ours")}}
        for n in (1, 5, 10, 25, 50, 100)
    ]
    images = [
        {"images": n, **{way: n * EPOCHS * _per_epoch(training, way, EPOCHS) for way in ("published", "ours")}}
        for n in (10, 100, 1000, 5716)
    ]
    return {
        "inference_seconds_per_image_by_size": by_size,
        "inference_seconds_per_image_by_batch": by_batch,
        "training_seconds_per_image_by_epochs": epochs,
        "training_seconds_of_50_epochs_by_images": images,
    }


def _options(setting: Setting, folders: tuple[Path, Path], device: torch.device, folder: Path) -> list[dict[str, Any]]:
    """What is cheaper because it computes less than the paper; `textdiff compare` tells what that costs in accuracy."""
    choices: dict[str, dict[str, Any]] = {
        "as published": {},
        "one time step": {"steps": setting.steps[:1]},
        "one time step, without noise": {"steps": setting.steps[:1], "noise_seed": None},
        "without the last block": {"blocks": sorted(setting.blocks)[:-1] or setting.blocks},
    }
    rows = []
    for index, (name, choice) in enumerate(choices.items()):
        work = _Work(setting, build_network(setting, folders, device, **choice), device)
        backbone, image, cache = work.network.backbone, work.images(), FeatureCache(folder / f"option{index}")
        jobs: dict[str, Callable[[], Any]] = {
            "inference": partial(work.infer, image, published=False),
            "cached_step": work.cached_steps(cache, image),
        }
        seconds = side_by_side(jobs, max(1, setting.repeats // 3), device)
        seconds["cached_step"] /= _STEPS
        (entry,) = cache.folder.rglob("*.safetensors")
        options = {"blocks": backbone.blocks, "steps": backbone.steps, "noise_seed": backbone.noise_seed}
        rows.append({"option": name, **options, "seconds": seconds, "cache_bytes_per_image": entry.stat().st_size})
    return rows

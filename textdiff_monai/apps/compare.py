"""What a few labels buy: the shipped features, the same UNet untrained, and a U-Net, on the same labelled images."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import monai.bundle
import torch
from diffusers import UNet2DModel

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.apps.overrides import overrides
from textdiff_monai.data.files import read_rows, write_rows, written_whole
from textdiff_monai.data.items import draw_labelled
from textdiff_monai.data.layouts import load_datalist
from textdiff_monai.data.slices import slices_of

NETWORKS = ("pretrained", "random", "unet")


def random_backbone(source: str | Path, folder: str | Path, seed: int = 0) -> Path:
    """A diffusers folder of the same UNet with the weights that its training began with."""
    torch.manual_seed(seed)
    with written_whole(folder) as partial:
        UNet2DModel.from_config(UNet2DModel.load_config(source)).save_pretrained(partial)
    return Path(folder)


def compare(
    dataset_dir: str | Path,
    folder: str | Path,
    labelled: Sequence[int] = (2, 10),
    seeds: int = 3,
    iterations: int = 400,
    backbone: str | None = None,
    networks: Sequence[str] = NETWORKS,
    **options: Any,
) -> list[dict[str, Any]]:
    """Train on a few of your labels with the shipped features, with an untrained UNet's, and with a U-Net; compare.

    No validation image is used: the last weights count. Every network is measured on the test split. Runs that
    ``folder/runs.csv`` holds are not repeated, so a comparison that was stopped goes on.

    Args:
        dataset_dir: a data set as `check` takes it.
        folder: gets the runs, runs.csv, comparison.json and the untrained UNet.
        labelled: numbers of labelled images, each with all its rows.
        seeds: repetitions with other images, heads and orders.
        iterations: training steps of one image each; what they took, features included, is in the table.
        backbone: diffusers folder; default the one in the bundle.
        networks: those to train, of pretrained, random and unet.
        options: of train.json, for all, such as --resize 256.

    Returns:
        One row for each network and number of images: mean and standard deviation over the seeds.

    Raises:
        UsageError: for options that train.json does not have.
        ValueError: for another network.
    """
    if unknown := set(networks) - set(NETWORKS):
        raise ValueError(f"networks {sorted(unknown)}: expected some of {', '.join(NETWORKS)}")
    options = overrides(options, _files([]), compare, ("training", "run"))
    root, dataset_dir = Path(folder).resolve(), Path(dataset_dir).resolve()
    trained = backbone or f"{bundle_root()}/models/diffusion_unet"
    untrained = root / "random_unet"
    if not untrained.exists():
        random_backbone(trained, untrained)
    training = load_datalist(dataset_dir, "train", options.get("columns"))
    done = {(run["network"], int(run["labelled"]), int(run["seed"])): run for run in read_rows(root / "runs.csv")}
    for seed, count, network in product(range(seeds), labelled, networks):
        if (network, count, seed) in done:
            continue
        place = root / f"{network}_{count}_{seed}"
        drawn = slices_of(
            draw_labelled(training, count, seed, options.get("count", "images")),
            options.get("plane"),
            options.get("slices_per_volume"),
            seed,
            options.get("num_classes", 2),
            options.get("mask_colours"),
        )
        epochs = max(1, iterations // len(drawn))
        settings = {
            "dataset_dir": str(dataset_dir),
            "output_dir": str(place),
            "ckpt_dir": str(place),
            "num_labelled": count,
            "seed": seed,
            "max_epochs": epochs,
            "val_interval": epochs,
            "backbone": str(untrained if network == "random" else trained),
            **options,
        }
        print(f"\n{network}, {count} labelled images, seed {seed}", flush=True)
        start = time.monotonic()
        _run_bundle("training", network, [], settings)
        seconds = time.monotonic() - start
        _run_bundle("run", network, ["evaluate.json"], settings)
        metrics = json.loads((place / "test" / "metrics.json").read_text())
        row = {
            "network": network,
            "labelled": count,
            "seed": seed,
            "iterations": epochs * len(drawn),
            "seconds": seconds,
        }
        done[network, count, seed] = row | {name: metrics[name] for name in ("mean_dice", "mean_iou", "dataset_dice")}
        write_rows(root / "runs.csv", list(done.values()))
    table = _table(list(done.values()), labelled, seeds, networks)
    (root / "comparison.json").write_text(json.dumps(table, indent=2) + "\n")
    print(f"\nDice on the test split, mean over images and {seeds} seeds (runs.csv has every run):")
    for row in table:
        line = "  {labelled:4d} labelled  {network:10s}  {mean_dice:.3f} ± {sd:.3f}  {seconds:.0f} s"
        print(line.format(**row))
    return table


def _run_bundle(run_id: str, network: str, overlays: Sequence[str], options: dict[str, Any]) -> None:
    files = _files([*(["unet.json"] if network == "unet" else []), *overlays])
    given = {name: "$None" if value is None else value for name, value in options.items()}  # MONAI drops None
    monai.bundle.run(run_id, config_file=files, **given)


def _files(overlays: Sequence[str]) -> list[str]:
    return [f"{bundle_root()}/configs/{name}" for name in ("train.json", *overlays)]


def _table(
    runs: Sequence[dict[str, Any]], labelled: Sequence[int], seeds: int, networks: Sequence[str]
) -> list[dict[str, Any]]:
    rows = []
    for count, network in product(labelled, networks):
        own = [r for r in runs if r["network"] == network and int(r["labelled"]) == count and int(r["seed"]) < seeds]
        dice = [float(run["mean_dice"]) for run in own]
        rows.append(
            {
                "labelled": count,
                "network": network,
                "mean_dice": mean(dice),
                "sd": stdev(dice) if len(dice) > 1 else 0.0,
                "seeds": len(dice),
                "seconds": mean(float(run["seconds"]) for run in own),
            }
        )
    return rows

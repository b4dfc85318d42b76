"""What a few labels buy: other features, no sentence, U-Nets and other rivals, on the same labelled images."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.apps.charts import labels_curves
from textdiff_monai.apps.comparison import shown, table_of
from textdiff_monai.apps.overrides import overrides
from textdiff_monai.apps.workflow import config_files, hushed, run_bundle, same_settings
from textdiff_monai.data.captions import recaption
from textdiff_monai.data.checks import check_datalist
from textdiff_monai.data.files import read_rows, write_json, write_rows, written_whole
from textdiff_monai.data.items import draw_labelled
from textdiff_monai.data.layouts import load_datalist
from textdiff_monai.data.slices import slices_of
from textdiff_monai.engines.sentences import check_sentences
from textdiff_monai.networks.frozen import check_source
from textdiff_monai.networks.text_encoder import TextEncoder

# What each network changes: configurations laid over train.json, and options.
NETWORKS: Mapping[str, tuple[Sequence[str], Mapping[str, Any]]] = {
    "pretrained": ([], {}),
    "detail": ([], {"detail_channels": 16}),
    "silent": ([], {"read_text": False}),
    "random": ([], {}),
    "pixels": ([], {"read_text": False, "head": {"kind": "pixels"}}),
    "unet": (["unet.json"], {"read_text": False}),
    "unet_text": (["unet.json", "unet_text.json"], {}),
}
CAPTIONS = ("own", "none", "other", "swapped")
_OURS = ("num_labelled", "seed", "max_epochs", "val_interval", "output_dir", "ckpt_dir", "resume")
KNOWN_CAPTIONS = (*CAPTIONS, "reworded")  # not every data set's captions can be


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
    networks: Sequence[str] = tuple(NETWORKS),
    captions: Sequence[str] = CAPTIONS,
    **options: Any,
) -> list[dict[str, Any]]:
    """Train on a few of your labels, with and without sentences and pretraining, and compare, also with U-Nets.

    No validation image is used: the last weights count. Every network is measured on the test split; those that read
    sentences are also measured with other captions. Runs listed in ``folder/runs.csv`` are not repeated, so a
    comparison that was stopped resumes.

    Args:
        dataset_dir: a data set as `check` takes it.
        folder: gets the runs, runs.csv, comparison.json, curves.png and the untrained UNet.
        labelled: numbers of labelled images to train on, each with all its rows.
        seeds: number of repetitions, each with other images, initial weights and order.
        iterations: training steps of one image each; the table says how long they took, including features.
        backbone: diffusers folder; default the one in the bundle.
        networks: networks to train: pretrained (the shipped features), detail (the same with a small U-Net on the
            pixels beside), silent (without sentences), random (the same UNet untrained), pixels (classifiers of single
            pixels on the shipped features), unet (MONAI's U-Net), unet_text (the same with the sentence). The others
            are compared with the first.
        captions: captions for testing the networks that read sentences: own, none, other, swapped, reworded (the same
            meaning in words that training never uses, if captions are understood; see `reword`).
        options: options of train.json, for all networks, such as --resize 256.

    Returns:
        A row for each number of images, network and captions: the mean Dice with its 95 % interval over images and
        seeds, and how far it is from what it is compared with.

    Raises:
        UsageError: for options that train.json does not have.
        DataError: listing what is wrong with the data.
        ValueError: for no labels, seeds or iterations, other networks or captions, captions that cannot be reworded,
            more labels than there are, options that compare sets itself, or a folder of another comparison.
        FileNotFoundError: for a backbone that is not there.
    """
    if taken := [name for name in _OURS if name in options]:
        raise ValueError(f"--{taken[0]} is set by compare, from --labelled, --seeds, --iterations and its folder")
    for name, number in {"labelled": min(labelled, default=0), "seeds": seeds, "iterations": iterations}.items():
        if number < 1:
            raise ValueError(f"{name} {number}: expected 1 or more")
    for name, given, known in (("networks", networks, NETWORKS), ("captions", captions, KNOWN_CAPTIONS)):
        if unknown := set(given) - set(known):
            raise ValueError(f"{name} {sorted(unknown)}: choose from {', '.join(known)}")
    captions = ["own", *(kind for kind in captions if kind != "own")]
    options = overrides(options, config_files(), compare, ("training", "run"))
    root, dataset_dir = Path(folder).resolve(), Path(dataset_dir).resolve()
    trained = backbone or f"{bundle_root()}/models/diffusion_unet"
    check_source(trained)
    items = load_datalist(dataset_dir, columns=options.get("columns"))
    training, tested = ([item for item in items if item["split"] == split] for split in ("train", "test"))
    unit = options.get("count", "images")
    draw_labelled(training, max(labelled), unit=unit)  # an error before any work
    check_datalist(
        items,
        options.get("num_classes", 2),
        require=["train", "test"],
        mask_colours=options.get("mask_colours"),
        plane=options.get("plane"),
    )
    check_sentences(
        training + tested, TextEncoder(options.get("text_encoder") or f"{bundle_root()}/models/text_encoder")
    )
    for kind in captions:
        recaption(tested, kind)
    about = {"dataset": dataset_dir, "iterations": iterations, "backbone": trained}
    same_settings(root, "comparison", about | options, ["runs.csv"])
    done, untrained = read_rows(root / "runs.csv"), root / "random_unet"
    if not done:  # what is left there may be of other settings
        shutil.rmtree(untrained, ignore_errors=True)
    if not untrained.exists():
        random_backbone(trained, untrained)
    for seed, count, network in (bar := tqdm([*product(range(seeds), labelled, networks)], "Comparing", unit="run")):
        place, (overlays, changed) = root / f"{network}_{count}_{seed}", NETWORKS[network]
        reads = (options | dict(changed)).get("read_text", True)
        before = {row["captions"]: row for row in done if _key(row) == (network, count, seed)}
        left = [kind for kind in (captions if reads else captions[:1]) if kind not in before]
        if not left:
            continue
        drawn = slices_of(
            draw_labelled(training, count, seed, unit),
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
            **changed,
        }
        bar.set_postfix_str(f"{network}, {count} labelled {unit}, seed {seed}")
        row = {"network": network, "labelled": count, "seed": seed, "iterations": epochs * len(drawn)}
        row["seconds"] = before["own"]["seconds"] if before else _timed(overlays, settings)
        for kind in left:
            with hushed():
                run_bundle("run", [*overlays, "evaluate.json"], settings | {"captions": kind})
            metrics = json.loads((report_of(place, kind) / "metrics.json").read_text())
            figures = {name: metrics[name] for name in ("mean_dice", "mean_iou", "dataset_dice")}
            done.append({**row, "captions": kind, **figures})
            write_rows(root / "runs.csv", done)
    table = table_of(_measured(root, product(labelled, networks, captions), seeds, done))
    write_json(root / "comparison.json", table)
    labels_curves(table).savefig(root / "curves.png", dpi=150)
    print("\n".join(shown(table)))
    print(f"\ncurves.png shows it, runs.csv has every run, comparison.json these figures: {root}")
    return table


def report_of(place: Path, captions: str) -> Path:
    """Where ``evaluate.json`` reports the test split."""
    return place / ("test" if captions == "own" else f"test_captions_{captions}")


def _key(row: Mapping[str, Any]) -> tuple[str, int, int]:
    return row["network"], int(row["labelled"]), int(row["seed"])


def _timed(overlays: Sequence[str], settings: Mapping[str, Any]) -> float:
    start = time.monotonic()
    with hushed():
        run_bundle("training", overlays, settings)
    return time.monotonic() - start


def _measured(root: Path, wanted: Any, seeds: int, done: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each number of images, network and captions that was run, with the cases of its seeds."""
    found = []
    for count, network, kind in wanted:
        own = [row for row in done if _key(row)[:2] == (network, count) and row["captions"] == kind]
        own = sorted((row for row in own if int(row["seed"]) < seeds), key=lambda row: int(row["seed"]))
        places = [report_of(root / f"{network}_{count}_{row['seed']}", kind) for row in own]
        if own:
            cases = [read_rows(place / "cases.csv") for place in places]
            seconds = [float(row["seconds"]) for row in own]
            about = {"labelled": count, "network": network, "captions": kind}
            found.append(about | {"cases": cases, "seconds": sum(seconds) / len(seconds)})
    return found

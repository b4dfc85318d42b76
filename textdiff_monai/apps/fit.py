"""``textdiff fit``: from labelled images to a trained network and a page that says how good it is."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textdiff_monai.apps.check import check
from textdiff_monai.apps.choices import in_two
from textdiff_monai.apps.overrides import overrides
from textdiff_monai.apps.plan import plan
from textdiff_monai.apps.report.report import report
from textdiff_monai.apps.workflow import WORDS_OF, config_files, run_bundle, same_settings
from textdiff_monai.data.files import write_json
from textdiff_monai.data.items import draw_labelled
from textdiff_monai.data.layouts import load_datalist
from textdiff_monai.data.problems import DataError
from textdiff_monai.networks.frozen import check_source

_OURS = ("output_dir", "ckpt_dir", "resume")
_PATHS = {"backbone", "text_encoder", "start", "cache_dir"}
_WORK = ("trials/trials.csv", "train.json")
_CHECKED = ("num_classes", "columns", "mask_colours", "text_encoder", "plane")


def fit(
    dataset_dir: str | Path,
    run: str | Path,
    minutes: float = 10,
    backbones: Sequence[str] = (),
    **options: Any,
) -> Path:
    """Check your data, choose settings, train, calibrate, evaluate and report, in about the minutes you give.

    Resizing or tiles follow from the sizes of images and targets. Blocks, time steps, backbone, and whether to read the
    sentences and the pixels' details, are chosen by a short cross-validation on training images; epochs, views and
    heads by the time that is left. run/fit.json and the report say what was chosen and why. run/train.json is an
    overlay that repeats the training:
    python -m monai.bundle run training --config_file "['bundle/configs/train.json','run/train.json']".
    If the fit was stopped, the same command resumes it.

    Args:
        dataset_dir: a data set as for `check`, with images to test on: the split test, or val if there is no test.
        run: the folder; gets report.html, fit.json, train.json, trials/, and what training and evaluation write.
        minutes: time to take, planned at the speed measured in the trials; if the machine gets slower, training stops
            after the last epoch that leaves time for the tests, and the same command resumes it.
        backbones: further frozen UNets to try besides the bundle's, such as PRETRAINED/diffusion_unet.
        options: options of train.json, such as --num_labelled 24; options you give are kept as they are.

    Returns:
        The report's path.

    Raises:
        UsageError: for options that train.json does not have.
        DataError: listing what is wrong with the data.
        ValueError: for no minutes, a folder that holds a fit with other options, or labelled images of one patient.
        FileExistsError: for one that holds something else.
    """
    start, root, dataset_dir = time.monotonic(), Path(run).resolve(), Path(dataset_dir).resolve()
    if taken := [name for name in _OURS if name in options]:
        raise ValueError(f"--{taken[0]} is set by fit: everything goes into its folder")
    if minutes <= 0:
        raise ValueError(f"minutes {minutes}: expected more than 0")
    options = overrides(options, config_files(), fit, ("training", "run"))
    for name in _PATHS & options.keys():  # train.json repeats the training from anywhere
        if options[name] and Path(options[name]).exists():
            options[name] = os.path.abspath(options[name])
    for source in (options.get("backbone"), *map(Path, backbones)):
        if source is not None:
            check_source(source)
    check(dataset_dir, **{name: options[name] for name in _CHECKED if name in options})
    items = load_datalist(dataset_dir, columns=options.get("columns"))
    held = {split: sum(item["split"] == split for item in items) for split in ("val", "test")}
    split = "test" if held["test"] else "val"
    training = [item for item in items if item["split"] == "train"]
    for needed, name, use in ((held[split], "test", "test with"), (len(training), "train", "train on")):
        if not needed:
            raise DataError(
                dataset_dir, [f"{dataset_dir}: has no images to {use}; write {name} in the column split of some rows"]
            )
    if split == "val":
        warnings.warn(
            f"{dataset_dir}: has no test images, so those of val are measured, which also choose the weights and the "
            "calibration: the figures will be too good; write test in the split of some rows",
            stacklevel=2,
        )
    drawn = draw_labelled(training, options.get("num_labelled"), options.get("seed", 0), options.get("count", "images"))
    in_two(drawn, 2, 0)  # an error before any work
    if root.exists() and any(root.iterdir()) and not (root / "settings.json").exists():
        raise FileExistsError(f"{root} contains something other than a fit; choose another folder")
    same_settings(root, "fit", {"dataset": dataset_dir, "minutes": minutes, "backbones": backbones, **options}, _WORK)
    if not (root / "train.json").exists():
        found = plan(root / "trials", drawn, held, minutes * 60 - (time.monotonic() - start), backbones, options)
        own = {"dataset_dir": str(dataset_dir), "output_dir": str(root), "ckpt_dir": str(root)}
        write_json(root / "fit.json", found.report)
        write_json(root / "train.json", own | found.options)
    chosen = json.loads((root / "train.json").read_text())
    print(f"\nTraining: {chosen['max_epochs']} epochs; {_spent(start, minutes)}", flush=True)
    left = minutes - (time.monotonic() - start + json.loads((root / "fit.json").read_text())["testing_seconds"]) / 60
    run_bundle("training", [root / "train.json"], {"resume": (root / "last.pt").exists(), "minutes": max(left, 0.0)})
    laid: list[str | Path] = [root / "train.json", "evaluate.json"]
    if held["val"]:
        print(f"\nCalibrating on {held['val']} validation items; {_spent(start, minutes)}", flush=True)
        run_bundle("run", [*laid, "calibrate.json"], {})
    reads = chosen.get("read_text", True)
    for captions in ("own", "none") if reads else ("own",):
        told = "" if captions == "own" else " without their sentences"
        print(f"\nTesting {held[split]} items of {split}{told}; {_spent(start, minutes)}", flush=True)
        measured = {"words": WORDS_OF if reads and captions == "own" else 0}
        run_bundle("run", laid, {"split": split, "captions": captions, **measured})
    print(f"\nDone; {_spent(start, minutes)}")
    return report(root, split=split)


def _spent(start: float, minutes: float) -> str:
    return f"{(time.monotonic() - start) / 60:.1f} of {minutes:g} minutes used"

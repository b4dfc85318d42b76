"""The command line: ``textdiff VERB``, one verb a job. Training and evaluation are ``python -m monai.bundle run``."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import fire


class _Job:
    """A verb with its arguments, run only once the whole command line has been understood."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run


def _verb(function: Callable[..., Any]) -> Callable[..., _Job]:
    @functools.wraps(function)
    def prepare(*args: Any, **kwargs: Any) -> _Job:
        return _Job(functools.partial(function, *args, **kwargs))

    return prepare


@_verb
def check(dataset_dir, num_classes=2):  # type: ignore[no-untyped-def]
    """Check a data set before any work: every file is opened, all problems are listed at once.

    Args:
        dataset_dir: a CSV file (image,mask,text,split), a folder with one, or a folder in LViT's layout.
        num_classes: classes of the masks, background included.
    """
    from textdiff_monai import check_datalist, load_datalist

    items = load_datalist(str(dataset_dir))
    check_datalist(items, num_classes)
    counts = {split: sum(item["split"] == split for item in items) for split in ("train", "val", "test")}
    print(", ".join(f"{count} {split}" for split, count in counts.items()) + f" images in {dataset_dir} are in order")


@_verb
def import_adm(checkpoint, folder, head_channels=64):  # type: ignore[no-untyped-def]
    """Convert OpenAI's unconditional guided-diffusion checkpoint (.pt) to a diffusers folder.

    Args:
        checkpoint: such as 256x256_diffusion_uncond.pt.
        folder: the new folder; train with --backbone FOLDER.
        head_channels: channels of an attention head, which the file does not tell (64 in OpenAI's models).
    """
    from textdiff_monai.apps.weights import import_adm

    print(f"written: {import_adm(str(checkpoint), str(folder), head_channels)}")


@_verb
def import_head(  # type: ignore[no-untyped-def]
    checkpoint, output, backbone, text_encoder="emilyalsentzer/Bio_ClinicalBERT", blocks=(4, 6, 8, 12)
):
    """Convert a head that the published TextDiff code trained to a checkpoint of this project.

    Args:
        checkpoint: the published code's model_best.pth.
        output: the new checkpoint; use it with paper.json.
        backbone: folder of the converted UNet that it was trained with.
        text_encoder: folder or hub name of the text encoder that it was trained with.
        blocks: decoder blocks that it was trained with: 4,6,8,12 for QaTa-COV19, 6,8,12,16 for MoNuSeg.
    """
    import torch

    from textdiff_monai import DiffusionBackbone, TextDiff, TextEncoder, load_published_head

    encoder = TextEncoder(str(text_encoder), max_length=10, mask_padding=False)
    network = TextDiff(DiffusionBackbone(str(backbone), blocks), encoder)
    load_published_head(network.head, str(checkpoint))
    torch.save(network.state_dict(), str(output))
    print(f"written: {output}")


@_verb
def fetch(name, folder=None):  # type: ignore[no-untyped-def]
    """Download one of the paper's encoders, checked and converted; a download that broke off goes on.

    Args:
        name: adm-256 (2.2 GB) or bio-clinicalbert (0.4 GB).
        folder: where; default in the bundle's models, where the configurations look.
    """
    from textdiff_monai.apps.fetch import FETCHERS

    if name not in FETCHERS:
        raise ValueError(f"{name!r} is unknown; fetch one of {', '.join(FETCHERS)}")
    print(f"ready: {FETCHERS[name](folder)}")


@_verb
def phantom(folder, kind="chest", train=50, val=16, test=40, seed=0, size=256):  # type: ignore[no-untyped-def]
    """Generate images with masks and captions whose targets cannot be told without reading.

    Args:
        folder: the new data set, in the CSV layout.
        kind: "chest" (X-ray-like, findings among other opacities) or "nuclei" (histology-like).
        train: number of training images.
        val: number of validation images.
        test: number of test images.
        seed: another seed makes other images.
        size: side of the images in pixels.
    """
    from textdiff_monai.phantoms.phantom import write_phantom

    print(f"written: {write_phantom(str(folder), kind, train, val, test, seed, size)}")


@_verb
def pretrain_text(folder, steps=4500, seed=0):  # type: ignore[no-untyped-def]
    """Train the small text encoder that ships, on sentences of the grammar.

    Args:
        folder: the new Hugging Face folder.
        steps: optimiser steps of 64 sentences.
        seed: of weights and sentences.
    """
    from textdiff_monai.pretraining.language import train_text_encoder

    train_text_encoder(str(folder), steps=steps, seed=seed)
    print(f"written: {folder}")


@_verb
def samples(backbone, out, count=16, steps=50, seed=0):  # type: ignore[no-untyped-def]
    """Draw images from a diffusion UNet, to see what its pretraining has learned.

    Args:
        backbone: its folder.
        out: the picture to write.
        count: number of images, a square number.
        steps: denoising steps.
        seed: of the noise.
    """
    from textdiff_monai.pretraining.diffusion import draw_samples

    draw_samples(str(backbone), count, steps, seed).save(str(out))
    print(f"written: {out}")


@_verb
def demo(folder="demo", kind="chest", epochs=30, seed=0):  # type: ignore[no-untyped-def]
    """Generate a phantom, train on it and measure what the sentence is worth.

    Args:
        folder: where everything goes; must not exist.
        kind: of the phantom, "chest" or "nuclei".
        epochs: training epochs.
        seed: of the images and the training.
    """
    from textdiff_monai.apps.demo import demo

    demo(str(folder), kind, epochs, seed)


@_verb
def compare(  # type: ignore[no-untyped-def]
    dataset_dir, folder, labelled=(2, 10), seeds=3, iterations=400, **options
):
    """Train on a few of your labels with the shipped features, with an untrained UNet's, and with a U-Net; compare.

    Args:
        dataset_dir: a data set as `check` takes it.
        folder: gets the runs and comparison.json; a comparison that was stopped goes on.
        labelled: numbers of labelled images.
        seeds: repetitions with other images.
        iterations: training steps of one image each.
        options: --networks "[pretrained]" for some of them, and those of train.json, such as --resize 256 or
            --backbone FOLDER.
    """
    from textdiff_monai.apps.compare import compare

    labelled = labelled if isinstance(labelled, (list, tuple)) else (labelled,)
    table = compare(str(dataset_dir), str(folder), labelled, seeds, iterations, **options)
    print(f"\nDice on the test split, mean over images and {seeds} seeds (runs.csv has every run):")
    for row in table:
        print("  {labelled:4d} labelled  {network:10s}  {mean_dice:.3f} ± {sd:.3f}  {seconds:.0f} s".format(**row))


@_verb
def segment(source, text="", out="segmented", **options):  # type: ignore[no-untyped-def]
    """Segment one or many images by what a sentence names: masks, overlays and probabilities.

    Args:
        source: an image, a folder of images, or a CSV file with the columns image and text.
        text: the sentence, for images without one of their own.
        out: folder for the results.
        options: of inference.json, such as --checkpoint RUN/model.pt.
    """
    from textdiff_monai.apps.segment import segment

    masks = segment(str(source), str(out), str(text), **options)
    print(f"written: {len(masks)} masks, with overlays and probabilities, in {out}")


@_verb
def label_server(studies, app_dir=None, bundle=None, host="127.0.0.1", port=8000):  # type: ignore[no-untyped-def]
    """Start a MONAI Label server for 3D Slicer, OHIF or curl that reads sentences and trains on what is annotated.

    Args:
        studies: a folder of images, or the URL of a DICOMweb server.
        app_dir: the server's own folder, kept between runs; default: STUDIES-label.
        bundle: the bundle that a new app folder copies; default: the one beside this package.
        host: address to listen at; other than 127.0.0.1 lets others in, unasked.
        port: to listen at.
    """
    from textdiff_monai.apps.label.server import serve

    serve(str(studies), app_dir and str(app_dir), bundle and str(bundle), str(host), int(port))


@_verb
def benchmark(config="tiny", out="benchmark.json", device=None):  # type: ignore[no-untyped-def]
    """Measure the published way of computing and this project's side by side; write JSON and a plot.

    Args:
        config: "tiny" (train.json as it is) or "adm-256" (the paper's encoders with filled weights; half an hour).
        out: the JSON file; the plot lies beside it.
        device: cpu or cuda; by default CUDA where there is one.
    """
    from benchmarks.benchmark import benchmark
    from benchmarks.report import summary

    print("\n".join(summary(benchmark(str(config), str(out), device))))
    print(f"written: {out}")


COMMANDS = {
    "demo": demo,
    "segment": segment,
    "check": check,
    "compare": compare,
    "label-server": label_server,
    "fetch": fetch,
    "import-adm": import_adm,
    "import-head": import_head,
    "phantom": phantom,
    "pretrain-text": pretrain_text,
    "samples": samples,
    "benchmark": benchmark,
}


def main() -> None:
    """Entry point: 0 when the job is done, 1 with a message on bad input, 2 with the usage on a bad command line."""
    os.environ.setdefault("PAGER", "cat")
    command = sys.argv[1:]
    if {"--help", "-h"} & set(command):  # which a verb that takes any option would keep for itself
        command = [*command[: command[0] in COMMANDS], "--", "--help"]
    job = fire.Fire(COMMANDS, command, "textdiff", lambda result: None if isinstance(result, _Job) else result)
    if isinstance(job, _Job):
        try:
            job._run()
        except (OSError, ValueError, ModuleNotFoundError) as error:
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

"""Masks of images from sentences: what ``inference.json`` computes, with pictures to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import SaveImage
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.apps.bundle import bundle_root
from textdiff_monai.apps.overrides import overrides
from textdiff_monai.data.checks import check_datalist
from textdiff_monai.data.layouts import load_images
from textdiff_monai.data.names import NIFTI
from textdiff_monai.data.pictures import overlay
from textdiff_monai.transforms.picture import ToSourceLayoutd


def segment(source: str | Path, text: str = "", out: str | Path = "segmented", **options: Any) -> list[Path]:
    """Segment one or many images by what a sentence names: masks, overlays and probabilities.

    Every image gets three files in ``out``, named by it: ``*_mask``, where class k is k (of two classes in a PNG, the
    foreground is 255); ``*_probability``, of the foreground, 0 to 255 in a PNG; both as wide and high as the source,
    and NIfTI with its affine where that is NIfTI; and ``*_overlay.png``.

    Args:
        source: an image, a folder of images, or a CSV file with the columns image and text; an image that stands there
            twice, with two sentences, gets numbered files.
        text: the sentence, for images without one of their own.
        out: folder for the results, made when needed.
        options: of inference.json, such as --checkpoint RUN/model.pt.

    Returns:
        The masks' paths.

    Raises:
        UsageError: for options that inference.json does not have, or uses elsewhere.
        ValueError: for images that cannot be read, or options that the checkpoint was not trained with; before any
            work.
    """
    used, file = (
        ("network", "preprocessing", "inferer", "device", "checkpoint"),
        f"{bundle_root()}/configs/inference.json",
    )
    options = overrides(options, [file], segment, used)
    items = load_images(source, text)
    check_datalist(items)
    config = ConfigParser()
    config.read_config(file)
    config.update(options)
    try:
        network, preprocess, infer, device, checkpoint = map(config.get_parsed_content, used)
    except RuntimeError as error:  # MONAI's, which wraps what the option was refused for
        raise _cause(error) from None
    _load(network, checkpoint)
    Path(out).mkdir(parents=True, exist_ok=True)
    masks = []
    for item in tqdm(items, desc="segmenting", unit="image"):
        image = preprocess(item)["image"]
        with torch.no_grad():
            logits = infer(image[None].to(device), network)[0].cpu()
        masks.append(_write(Path(out), item["id"], item["image"], image, logits))
    print(f"written: {len(masks)} masks, with overlays and probabilities, in {out}")
    return masks


def _cause(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _cause(error.__cause__)


def _load(network: torch.nn.Module, checkpoint: str) -> None:
    try:
        network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    network.eval()


def _write(out: Path, name: str, source: str, image: MetaTensor, logits: Tensor) -> Path:
    nifti = source.lower().endswith(NIFTI)
    extension = ".nii.gz" if nifti else ".png"
    mask, foreground = logits.argmax(0, keepdim=True), 1 - logits.softmax(0)[:1]
    shown = mask * 255 if len(logits) == 2 and not nifti else mask
    _save(out / f"{name}_mask{extension}", shown.to(torch.uint8), image)
    probability = foreground if nifti else (foreground * 255).round().to(torch.uint8)
    _save(out / f"{name}_probability{extension}", probability, image)
    overlay((image.numpy().transpose(1, 2, 0) + 1) * 127.5, mask[0].numpy()).save(out / f"{name}_overlay.png")
    return out / f"{name}_mask{extension}"


def _save(path: Path, values: Tensor, image: MetaTensor) -> None:
    """In the layout and with the affine of the source (MONAI's writers expect (C, W, H))."""
    laid = ToSourceLayoutd("values")({"values": MetaTensor(values, meta=image.meta)})["values"]
    extension = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
    SaveImage(output_ext=extension, output_dtype=laid.dtype, resample=False, print_log=False)(
        laid, filename=str(path).removesuffix(extension)
    )

"""The chain from files to network inputs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import (
    CastToTyped,
    Compose,
    DeleteItemsd,
    EnsureChannelFirstd,
    Identityd,
    MapTransform,
    OneOf,
    RandRotated,
    Resize,
    SpatialPadd,
    Transform,
)
from torch import Tensor

from textdiff_monai.data.captions import SYMMETRIES
from textdiff_monai.transforms.loading import LoadPictured, MaskReader, PictureReader
from textdiff_monai.transforms.picture import ToInputd
from textdiff_monai.transforms.scales import SqueezeToSquared
from textdiff_monai.transforms.symmetry import RandSymmetryd
from textdiff_monai.transforms.tiles import RandTiled
from textdiff_monai.transforms.wording import RandTextd, RandWordingd


def loading(
    keys: Sequence[str],
    channels: str = "RGB",
    num_classes: int = 2,
    mask_colours: Mapping[Any, int] | None = None,
    intensity_range: Sequence[float] | None = None,
    plane: str | None = None,
    neighbours: bool = False,
) -> list[Transform]:
    """Read ``image`` (and ``label``) from files, as :func:`~textdiff_monai.check_datalist` does.

    Images are (3, H, W) as of :class:`ToInputd`, labels (1, H, W) as of :func:`~textdiff_monai.class_indices`; of an
    item that is a volume and has no ``slice``, (1 or 3, H, W, slices) and (1, H, W, slices).
    """
    if neighbours and channels == "BGR":
        raise ValueError("channels BGR swaps colours, but neighbours uses the channels for slices: give only one")
    chain: list[Transform] = []
    if "label" in keys:  # before the image, whose file says where the mask's slices lie
        chain += [LoadPictured("label", MaskReader(num_classes, mask_colours, plane)), EnsureChannelFirstd("label")]
    chain += [LoadPictured("image", PictureReader(plane, neighbours)), EnsureChannelFirstd("image")]
    return [*chain, DeleteItemsd("slice"), ToInputd("image", channels, intensity_range)]  # pictures beside have none


def preprocessing(
    keys: Sequence[str] = ("image", "label"),
    num_classes: int = 2,
    mask_colours: Mapping[Any, int] | None = None,
    channels: str = "RGB",
    intensity_range: Sequence[float] | None = None,
    resize: int | None = None,
    scales: Mapping[str, int] | None = None,
    grow_labels: bool = False,
    tile: int | None = None,
    tiles_per_image: int = 1,
    augment: str | None = None,
    symmetries: Sequence[str] = tuple(SYMMETRIES),
    reword: float = 0.0,
    deny: float = 0.0,
    plane: str | None = None,
    neighbours: bool = False,
) -> Compose:
    """The chain from files to network inputs, for training (with ``augment``), validation and inference alike.

    Args:
        keys: ``image``, and ``label`` where there is one.
        num_classes: classes of the mask, background included.
        mask_colours: classes by colour, for masks that are pictures.
        channels: "RGB", or "BGR" as the published loader.
        intensity_range: values that become -1 and 1; None as :class:`ToInputd` says.
        resize: side of the square that images and masks are resized to; None keeps the files' pixels.
        scales: for captions that ask for these targets, the square is so many times as large, and a tile of it of the
            side ``resize`` is drawn, every other one with the target in it; see :class:`SqueezeToSquared`.
        grow_labels: masks resized bilinearly, then > 0, as published, so that the foreground grows; else to the
            nearest pixel.
        tile: side of square tiles, drawn from a sliding window's; None takes whole images.
        tiles_per_image: tiles drawn from each image every epoch.
        augment: "symmetries" (with captions rewritten), "published" (flips and small turns, captions left wrong), None.
        symmetries: that "symmetries" draws from; features are cached for each.
        reword: probability that an image is read with its caption in other words; see :class:`RandWordingd`.
        deny: probability that its caption is denied and its mask empty.
        plane: that volumes are cut along, "axial", "coronal" or "sagittal"; None: as they were acquired.
        neighbours: the channels of a slice are the one below, itself and the one above.

    Raises:
        ValueError: for options that exclude each other, or are unknown.
    """
    if grow_labels and num_classes > 2:
        raise ValueError(f"grow_labels merges all {num_classes - 1} classes into one: give --grow_labels False")
    chain = loading(keys, channels, num_classes, mask_colours, intensity_range, plane, neighbours)
    if resize is not None and grow_labels:
        chain.append(_PublishedResized(keys, resize))
    elif resize is not None:
        chain.append(SqueezeToSquared(keys, resize, scales))
        chain += [RandTiled(keys, resize, occupied=0.5)] if scales else []
    if tile is not None:
        chain += [
            SpatialPadd(keys, (tile, tile), mode="edge"),
            RandTiled(keys, tile, tiles_per_image),
        ]
    if reword:
        chain.append(RandTextd())
    if augment == "symmetries":
        chain.append(RandSymmetryd(keys, symmetries=symmetries))
    elif augment == "published":
        chain.append(_published_augmentation(keys))
    elif augment is not None:
        raise ValueError(f"augment is {augment!r}: expected 'symmetries', 'published' or None")
    if reword or deny:
        chain.append(RandWordingd(prob=reword, deny=deny))
    if "label" in keys:
        chain.append(CastToTyped("label", torch.uint8))
    return Compose(chain)


class _PublishedResized(MapTransform):
    """To a square bilinearly, without a low-pass filter, masks too; of volumes each slice."""

    def __init__(self, keys: KeysCollection, side: int) -> None:
        super().__init__(keys)
        self.slices = Resize((side, side), mode="bilinear", dtype=torch.float32)
        self.volumes = Resize((side, side, -1), mode="trilinear", dtype=torch.float32)  # as many slices as before

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = (self.volumes if d[key].ndim == 4 else self.slices)(d[key])
            d[key] = _foreground(d[key]) if key == "label" else d[key]
        return d


def _foreground(label: Tensor) -> Tensor:
    return (label > 0).to(torch.uint8)


def _published_augmentation(keys: Sequence[str]) -> Transform:
    """Half of the time a mirror image at a random turn, a quarter of the time up to 20 degrees, else nothing."""
    mirrored = [name for name, symmetry in SYMMETRIES.items() if symmetry.mirrored]
    mirror = RandSymmetryd(keys, rewrite_text=False, symmetries=mirrored)
    turn = RandRotated(keys, range_x=np.pi / 9, prob=1.0, mode="nearest", padding_mode="zeros")
    return OneOf([mirror, turn, Identityd(keys)], weights=[0.5, 0.25, 0.25])

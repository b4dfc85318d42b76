"""Pictures to network inputs and masks back, and augmentation that keeps the caption true."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, NibabelReader, PILReader
from monai.data.utils import dense_patch_slices
from monai.transforms import (
    CastToTyped,
    Compose,
    EnsureChannelFirstd,
    Identityd,
    Lambdad,
    LoadImaged,
    MapTransform,
    OneOf,
    Randomizable,
    RandRotated,
    Resized,
    SpatialPadd,
    Transform,
)
from torch import Tensor

from textdiff_monai.captions import SYMMETRIES, rewrite


class ToInputd(MapTransform):
    """A loaded picture (C, W, H) to the network's input: RGB (3, H, W), float32 in [-1, 1].

    Gray is repeated, alpha dropped, and a trailing slice axis of length 1 (2D NIfTI) removed. Values that lie in
    [0, 255] are taken as 8 bit; any other range (16 bit, CT, float) is stretched from its 0.5th to its 99.5th
    percentile. ``channels="BGR"`` repeats the published loader.
    """

    def __init__(self, keys: KeysCollection, channels: str = "RGB") -> None:
        super().__init__(keys)
        if channels not in ("RGB", "BGR"):
            raise ValueError(f"channels is {channels!r}: expected 'RGB' or 'BGR'")
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = _rows_first(d[key], key).float()
            if _lies_in_space(image):  # whatever is written back is a slice as well
                image.meta["spatial_shape"] = np.array([image.shape[-1], image.shape[-2], 1])
            image = image[:3] if image.shape[0] >= 3 else image[:1].repeat(3, 1, 1)
            low, high = 0.0, 255.0
            if image.min() < 0 or image.max() > 255 or image.max() <= 1:
                low, high = (float(v) for v in np.percentile(image.numpy(), (0.5, 99.5)))
            image = ((image - low) / max(high - low, 1e-8)).clamp(0, 1) * 2 - 1
            d[key] = image.flip(0) if self.channels == "BGR" else image
        return d


class ToLabeld(MapTransform):
    """A loaded mask (C, W, H) to class indices (1, H, W), uint8; with two classes any value but 0 is the foreground."""

    def __init__(self, keys: KeysCollection, num_classes: int = 2) -> None:
        super().__init__(keys)
        self.num_classes = num_classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            label = _rows_first(d[key], key)[:1]
            d[key] = (label > 0 if self.num_classes == 2 else label).to(torch.uint8)
        return d


class ToSourceLayoutd(MapTransform):
    """A prediction (1, H, W) back to the layout it was loaded from, as writers expect: (1, W, H).

    Of an image that lies in space (NIfTI has an affine, which writers keep for volumes only): (1, W, H, 1).
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            plane = d[key].transpose(-1, -2)
            d[key] = plane[..., None] if _lies_in_space(plane) else plane
        return d


class RandSymmetryd(Randomizable, MapTransform):
    """One of the square's eight symmetries, at random, with left/right/upper/lower rewritten in the caption.

    Only symmetries that the caption allows are drawn (see :func:`textdiff_monai.captions.rewrite`), and quarter turns
    only of square images.

    Args:
        keys: images and masks (C, H, W).
        text_key: the caption.
        prob: probability of drawing at all.
        rewrite_text: False turns and flips without regard to the caption, as the published code does.
        symmetries: names to draw from, of ``textdiff_monai.captions.SYMMETRIES``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        text_key: str = "text",
        prob: float = 1.0,
        rewrite_text: bool = True,
        symmetries: Sequence[str] = tuple(SYMMETRIES),
    ) -> None:
        MapTransform.__init__(self, keys)
        self.text_key, self.prob, self.rewrite_text, self.symmetries = text_key, prob, rewrite_text, tuple(symmetries)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        if self.R.random_sample() >= self.prob:
            return d
        text = d.get(self.text_key) or ""
        square = all(d[key].shape[-1] == d[key].shape[-2] for key in self.key_iterator(d))
        texts = {name: rewrite(text, name) if self.rewrite_text else text for name in self.symmetries}
        allowed = [name for name in texts if texts[name] is not None and (square or not SYMMETRIES[name].turns % 2)]
        if not allowed:
            return d
        name = allowed[self.R.randint(len(allowed))]
        for key in self.key_iterator(d):
            d[key] = apply_symmetry(d[key], name)
        d[self.text_key] = texts[name]
        return d


class RandTiled(Randomizable, MapTransform):
    """Random tiles of those that a sliding window goes through: their features are cached, also for evaluation.

    Args:
        keys: images and masks (C, H, W), at least a tile in size.
        tile: side of the square.
        count: tiles drawn, each as likely, with replacement; the result is a list of as many items.
        overlap: of neighbouring tiles, as a fraction of ``tile``; that of :class:`~textdiff_monai.TextInferer`.
    """

    def __init__(self, keys: KeysCollection, tile: int, count: int = 1, overlap: float = 0.25) -> None:
        MapTransform.__init__(self, keys)
        self.tile, self.count, self.stride = tile, count, int(tile * (1 - overlap))

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:  # type: ignore[override]
        first = next(iter(self.key_iterator(dict(data))))
        tiles = dense_patch_slices(data[first].shape[-2:], (self.tile, self.tile), (self.stride, self.stride))
        drawn = [tiles[self.R.randint(len(tiles))] for _ in range(self.count)]
        return [
            {**data, **{key: data[key][:, rows, columns] for key in self.key_iterator(dict(data))}}
            for rows, columns in drawn
        ]


def apply_symmetry(image: Tensor, name: str) -> Tensor:
    """Flip left-right if the symmetry says so, then turn counter-clockwise; image (..., H, W)."""
    symmetry = SYMMETRIES[name]
    image = image.flip(-1) if symmetry.mirrored else image
    return torch.rot90(image, symmetry.turns, (-2, -1))


def loading(keys: Sequence[str], channels: str = "RGB", num_classes: int = 2) -> list[Transform]:
    """Read ``image`` (and ``label``) from picture files or 2D NIfTI; see :class:`ToInputd` and :class:`ToLabeld`."""
    chain: list[Transform] = [_reading("image", PILReader(converter=_plain_mode)), EnsureChannelFirstd("image")]
    chain.append(ToInputd("image", channels))
    if "label" in keys:
        # A palette's numbers are the classes, whatever colours they stand for.
        chain += [_reading("label", PILReader()), EnsureChannelFirstd("label"), ToLabeld("label", num_classes)]
    return chain


def _reading(key: str, pictures: PILReader) -> Transform:
    return LoadImaged(key, reader=[NibabelReader(), pictures], dtype=None)  # type: ignore[arg-type]


def preprocessing(
    keys: Sequence[str] = ("image", "label"),
    num_classes: int = 2,
    channels: str = "RGB",
    resize: int | None = None,
    grow_labels: bool = False,
    tile: int | None = None,
    tiles_per_image: int = 1,
    augment: str | None = None,
    symmetries: Sequence[str] = tuple(SYMMETRIES),
) -> Compose:
    """The chain from files to network inputs, for training (with ``augment``), validation and inference alike.

    Args:
        keys: ``image``, and ``label`` where there is one.
        num_classes: classes of the mask, background included.
        channels: "RGB", or "BGR" as the published loader.
        resize: side of the square that images and masks are resized to; None keeps the files' pixels.
        grow_labels: masks resized bilinearly, then > 0, as published, so that the foreground grows; else to the
            nearest pixel.
        tile: side of square tiles, drawn from a sliding window's; None takes whole images.
        tiles_per_image: tiles drawn from each image every epoch.
        augment: "symmetries" (with captions rewritten), "published" (flips and small turns, captions left wrong), None.
        symmetries: that "symmetries" draws from; features are cached for each.
    """
    chain: list[Transform] = loading(keys, channels, num_classes)
    if resize is not None:
        chain += _resizing(keys, resize, grow_labels)
    if tile is not None:
        chain += [
            SpatialPadd(keys, (tile, tile), mode="edge"),
            RandTiled(keys, tile, tiles_per_image),
        ]
    if augment == "symmetries":
        chain.append(RandSymmetryd(keys, symmetries=symmetries))
    elif augment == "published":
        chain.append(_published_augmentation(keys))
    elif augment is not None:
        raise ValueError(f"augment is {augment!r}: expected 'symmetries', 'published' or None")
    if "label" in keys:
        chain.append(CastToTyped("label", torch.uint8))
    return Compose(chain)


def _resizing(keys: Sequence[str], side: int, grow_labels: bool) -> list[Transform]:
    # Published: bilinear without a low-pass filter. Otherwise shrinking is anti-aliased.
    steps: list[Transform] = [Resized("image", (side, side), mode="bilinear", anti_aliasing=not grow_labels)]
    if "label" in keys and grow_labels:
        steps += [Resized("label", (side, side), mode="bilinear", dtype=torch.float32), Lambdad("label", _foreground)]
    elif "label" in keys:
        steps += [Resized("label", (side, side), mode="nearest-exact")]
    return steps


def _foreground(label: Tensor) -> Tensor:
    return (label > 0).to(torch.uint8)


def _published_augmentation(keys: Sequence[str]) -> Transform:
    """Half of the time a mirror image at a random turn, a quarter of the time up to 20 degrees, else nothing."""
    mirrored = [name for name, symmetry in SYMMETRIES.items() if symmetry.mirrored]
    mirror = RandSymmetryd(keys, rewrite_text=False, symmetries=mirrored)
    turn = RandRotated(keys, range_x=np.pi / 9, prob=1.0, mode="nearest", padding_mode="zeros")
    return OneOf([mirror, turn, Identityd(keys)], weights=[0.5, 0.25, 0.25])


def _rows_first(image: Tensor, key: Hashable) -> Tensor:
    """(C, W, H) or (C, W, H, 1), as MONAI's readers give it, to (C, H, W)."""
    if image.ndim == 4 and image.shape[-1] == 1:
        image = image[..., 0]
        if isinstance(image, MetaTensor):  # MONAI's writers count the axes here
            image.meta["spatial_shape"] = image.shape[1:]
    if image.ndim != 3:
        name = image.meta.get("filename_or_obj", key) if isinstance(image, MetaTensor) else key
        raise ValueError(f"{name}: expected a 2D image, got the shape {tuple(image.shape[1:])}; give single slices")
    return image.transpose(-1, -2)


def _lies_in_space(image: Tensor) -> TypeGuard[MetaTensor]:
    return isinstance(image, MetaTensor) and "original_affine" in image.meta


def _plain_mode(picture: Any) -> Any:
    """Palettes and alpha to plain RGB; gray, 16-bit and float pictures as they are."""
    return picture.convert("RGB") if picture.mode in ("P", "PA", "LA", "RGBA", "CMYK", "YCbCr") else picture

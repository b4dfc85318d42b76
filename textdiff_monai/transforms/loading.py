"""Our readers where MONAI's ``LoadImaged`` expects its own."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader
from monai.transforms import LoadImaged
from monai.utils import ensure_tuple

from textdiff_monai.data.masks import class_indices, open_mask
from textdiff_monai.data.readers import format_of, open_scan
from textdiff_monai.data.scan import Picture, neighbours, slice_numbers

# MONAI sets up all of its readers beside ours, and tells what one of them lacks.
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)


class PictureReader(ImageReader):
    """Pictures and volumes of every format that :func:`~textdiff_monai.open_scan` knows, as they are seen.

    A picture is (H, W, 1 or 3), a volume (H, W, slices, 1 or 3). Metadata are those of MONAI's readers: ``affine`` of
    rows, columns and slices and, of what lies in space, ``original_affine`` and ``spatial_shape``, which are those of
    the file's three axes; with ``axis`` (the one that slices are cut across), ``stack`` and ``known`` they make up the
    :class:`~textdiff_monai.data.space.Space`. ``window`` is what is shown black and white, where the file or the volume
    decides that. ``slices`` are those that the item's sentence is about.

    Args:
        plane: that volumes are cut along, "axial", "coronal" or "sagittal"; None: as they were acquired.
        neighbours: a slice comes with the one below and the one above as its channels.
    """

    def __init__(self, plane: str | None = None, neighbours: bool = False) -> None:
        self.plane, self.neighbours = plane, neighbours
        self.item: Mapping[Hashable, Any] = {}

    def of(self, item: Mapping[Hashable, Any]) -> PictureReader:
        """The reader of an item: of its ``slice`` alone, where it has one."""
        reader = copy.copy(self)
        reader.item = item
        return reader

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        try:
            return bool([format_of(str(name)) for name in ensure_tuple(filename)])
        except ValueError:
            return False

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Picture:
        (path,) = ensure_tuple(data)
        try:
            return self._read(str(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _read(self, path: str) -> Picture:
        scan, number = open_scan(path, self.plane), self.item.get("slice")
        if not scan.is_stack:
            return scan[0]
        if number is None:
            stack = scan.stack()  # whoever cuts a slice with its neighbours takes the channel that they do here
            return stack._replace(pixels=stack.pixels[..., :1]) if self.neighbours else stack
        return neighbours(scan, int(number)) if self.neighbours else scan[int(number)]

    def get_data(self, img: Picture) -> tuple[np.ndarray, dict[str, Any]]:
        meta: dict[str, Any] = {"original_channel_dim": -1, "slices": str(self.item.get("slices") or "")}
        if (space := img.space) is not None:
            meta |= {"affine": space.seen_affine, "original_affine": space.affine}
            meta["spatial_shape"] = np.array(space.shape)
            meta |= {"axis": space.axis, "stack": space.index is None, "known": space.known}
            meta["measured"] = space.measured
        if img.window is not None:
            meta["window"] = np.array(img.window)
        return self.values(img), meta

    def values(self, picture: Picture) -> np.ndarray:
        """(H, W, channels), of a volume (H, W, slices, channels)"""
        return picture.colours


class MaskReader(PictureReader):
    """Masks as class indices (H, W, 1), of a volume (H, W, slices, 1); see :func:`~textdiff_monai.class_indices`.

    Of an item, what its ``value`` says is the foreground, and nothing outside of its ``slices``.
    """

    def __init__(
        self, num_classes: int = 2, colours: Mapping[Any, int] | None = None, plane: str | None = None
    ) -> None:
        super().__init__(plane)
        self.num_classes, self.colours = num_classes, colours

    def _read(self, path: str) -> Picture:
        image, number = self.item.get("image"), self.item.get("slice")
        of = open_scan(image, self.plane) if isinstance(image, str) else None
        value = self.item.get("value") or None
        scan = open_mask(path, of, self.plane, image if isinstance(image, str) else None, value)
        if not scan.is_stack:
            return scan[0]
        return scan.stack() if number is None else scan[int(number)]

    def values(self, picture: Picture) -> np.ndarray:
        indices = class_indices(picture, self.num_classes, self.colours, self.item.get("value") or None)
        if indices.ndim == 3 and (text := str(self.item.get("slices") or "")):
            inside = np.isin(np.arange(indices.shape[2]), slice_numbers(text, indices.shape[2]))
            indices = indices * inside.astype(indices.dtype)
        return indices[..., None]


class LoadPictured(LoadImaged):
    """Files by one reader, which knows the item that they are of.

    ``LoadImaged`` alone tries others where a reader refuses a file: what was refused would be read after all, by one
    that knows less.
    """

    def __init__(self, keys: KeysCollection, reader: PictureReader) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "NvImgCodecPydicomReader")
            super().__init__(keys, reader=reader, dtype=None, expanduser=False)  # type: ignore[arg-type]
        self.reader = reader

    def __call__(self, data: Mapping[Hashable, Any], reader: ImageReader | None = None) -> dict[Hashable, Any]:
        return super().__call__(data, reader or self.reader.of(data))

"""Our readers where MONAI's ``LoadImaged`` expects its own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader
from monai.transforms import LoadImaged
from monai.utils import ensure_tuple

from textdiff_monai.data.masks import class_indices
from textdiff_monai.data.names import is_picture
from textdiff_monai.data.readers import Picture, read_picture


class PictureReader(ImageReader):
    """Pictures of every format that :func:`~textdiff_monai.read_picture` knows, as they are seen: (H, W, 1 or 3).

    Metadata are those of MONAI's readers: ``affine`` of rows and columns and, of what lies in space,
    ``original_affine`` and ``spatial_shape``, which are those of the file's three axes.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        return all(is_picture(Path(name)) for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Picture:
        (path,) = ensure_tuple(data)
        try:
            return read_picture(path)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def get_data(self, img: Picture) -> tuple[np.ndarray, dict[str, Any]]:
        meta: dict[str, Any] = {"original_channel_dim": -1}
        if img.space is not None:
            meta |= {"affine": img.space.seen_affine, "original_affine": img.space.affine}
            meta["spatial_shape"] = np.array(img.space.shape)
        return self.values(img), meta

    def values(self, picture: Picture) -> np.ndarray:
        """(H, W, channels)"""
        return picture.colours


class MaskReader(PictureReader):
    """Masks as class indices (H, W, 1); see :func:`~textdiff_monai.class_indices`."""

    def __init__(self, num_classes: int = 2, colours: Mapping[Any, int] | None = None) -> None:
        self.num_classes, self.colours = num_classes, colours

    def values(self, picture: Picture) -> np.ndarray:
        return class_indices(picture, self.num_classes, self.colours)[..., None]


class LoadPictured(LoadImaged):
    """Files by one reader.

    ``LoadImaged`` alone tries others where a reader refuses a file: what was refused would be read after all, by one
    that knows less.
    """

    def __init__(self, keys: KeysCollection, reader: PictureReader) -> None:
        super().__init__(keys, reader=reader, dtype=None, expanduser=False)  # type: ignore[arg-type]
        self.reader = reader

    def __call__(self, data: Mapping[Hashable, Any], reader: ImageReader | None = None) -> dict[Hashable, Any]:
        return super().__call__(data, reader or self.reader)

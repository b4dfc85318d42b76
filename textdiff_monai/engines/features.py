"""Features of images, computed once and kept on disk: what is frozen never has to be computed again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

_SUFFIX = ".safetensors"
_GIB = 2**30
_logger = logging.getLogger(__name__)


def cache_folder() -> str:
    """``textdiff-monai`` in the user's cache folder: ``$XDG_CACHE_HOME``, or ``~/.cache``."""
    return str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "textdiff-monai")


class FeatureCache:
    """A folder of feature maps, one file an image, that runs and processes share.

    An image is known by the SHA-256 of its pixels as the backbone gets them, so that whatever changed before (another
    file, size, crop, flip, window of intensities) is another entry, together with all that the backbone says of itself
    (weights, blocks, steps, noise), the precision of the computation and that of the file. Files appear whole under
    their names; one that cannot be read is computed again. Features are handed out as a file of them would give them,
    also when they have just been computed, so that results do not depend on what was there before.

    Once full, the entries that were not used for longest give way, but never those used since this object was made:
    a run over more images than fit keeps as many as do. Nothing is held in memory.

    Args:
        folder: made when first needed; default :func:`cache_folder`. Several caches may share it.
        max_gib: bound of the folder's size in GiB; 0 computes always, and keeps nothing.
        dtype: of the files, "float16" (half the size) or "float32" (to the last bit). A map that float16 cannot hold
            is kept in float32.

    Attributes:
        computed, read: how many images so far.
    """

    def __init__(self, folder: str | Path | None = None, max_gib: float = 20.0, dtype: str = "float16") -> None:
        if dtype not in ("float16", "float32"):
            raise ValueError(f"dtype is {dtype!r}: expected 'float16' or 'float32'")
        self.folder, self.max_bytes = Path(folder or cache_folder()) / "features", int(max_gib * _GIB)
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.computed, self.read = 0, 0
        self._since, self._size, self._unmeasured, self._full = time.time(), 0, self.max_bytes, False

    def __call__(
        self, images: Tensor, identity: Mapping[str, Any], compute: Callable[[Tensor], Sequence[Tensor]]
    ) -> list[Tensor]:
        """Features of images (B, C, H, W), read where they are known.

        Args:
            images: as the backbone gets them.
            identity: what the features depend on besides the image.
            compute: feature maps (b, C, ...) of some of the images.

        Returns:
            Maps (B, C, ...) in float32 on the images' device, channels innermost in memory as the head reads them.
        """
        if not self.max_bytes:
            firsts = [next(j for j in range(i + 1) if torch.equal(images[j], images[i])) for i in range(len(images))]
            once = sorted(set(firsts))  # a batch may hold an image several times
            places = [once.index(first) for first in firsts]
            computed = compute(images if len(once) == len(images) else images[once])
            return [scale.float() if len(once) == len(images) else scale.float()[places] for scale in computed]
        keys = [self._key(image, identity) for image in images.detach().cpu()]
        found = {key: self._load(key) for key in dict.fromkeys(keys)}  # a batch may hold an image several times
        missing = [keys.index(key) for key, maps in found.items() if maps is None]
        for index in missing:  # one by one: in a batch the last bits depend on the neighbours
            fresh = [scale.detach()[0].to("cpu", torch.float32) for scale in compute(images[index : index + 1])]
            found[keys[index]] = self._store(keys[index], [self._packed(scale) for scale in fresh])
        self.computed += len(missing)
        self.read += len(keys) - len(missing)
        scales = zip(*(maps for key in keys if (maps := found[key]) is not None), strict=True)
        return [self._unpacked(scale, images.device) for scale in scales]

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Keeps and reads nothing meanwhile: for images that nobody sees again."""
        bound, self.max_bytes = self.max_bytes, 0
        try:
            yield
        finally:
            self.max_bytes = bound

    def _key(self, image: Tensor, identity: Mapping[str, Any]) -> str:
        about = {
            "identity": identity,
            "shape": list(image.shape),
            "kept": f"{self.dtype}, channels last",
            **_precision(),
        }
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        digest.update(image.float().contiguous().numpy().data)
        return digest.hexdigest()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / (key + _SUFFIX)

    def _packed(self, scale: Tensor) -> Tensor:
        """A map (C, ...) as it is kept (..., C)."""
        scale = scale.movedim(0, -1)
        packed = scale.to(self.dtype)
        return packed.contiguous() if torch.isfinite(packed).all() else scale.contiguous()

    @staticmethod
    def _unpacked(scale: Sequence[Tensor], device: torch.device) -> Tensor:
        """A batch of maps that were kept; those of less precision travel to the device as they are."""
        batch = torch.empty(len(scale), *scale[0].shape, device=device)
        for image, kept in zip(batch, scale, strict=True):
            image.copy_(kept.to(device))
        return batch.movedim(-1, 1)

    def _load(self, key: str) -> list[Tensor] | None:
        path = self._path(key)
        try:
            maps = load_file(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):  # cut off by a full disk or a crash of the machine
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):  # read-only, or just deleted by another process
            os.utime(path)
        return [maps[name] for name in sorted(maps, key=int)]

    def _store(self, key: str, maps: list[Tensor]) -> list[Tensor]:
        path, size = self._path(key), sum(scale.nbytes for scale in maps)
        try:
            if self._has_room(size):
                path.parent.mkdir(parents=True, exist_ok=True)
                handle, partial = tempfile.mkstemp(prefix=f".{key[:8]}-", dir=path.parent)
                os.close(handle)
                try:
                    save_file({str(index): scale for index, scale in enumerate(maps)}, partial)
                    os.replace(partial, path)
                finally:
                    Path(partial).unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:
            warnings.warn(f"{self.folder}: features cannot be saved and will be recomputed ({error})", stacklevel=2)
            self.max_bytes = 0
        return maps

    def _has_room(self, size: int) -> bool:
        """Counts what is written here; looks again at the folder, which others fill too, every 1/20 of the bound."""
        if self._full:
            return False
        self._size += size
        self._unmeasured += size
        if self._size > self.max_bytes or self._unmeasured > self.max_bytes // 20:
            self._size, self._unmeasured = self._make_room(size) + size, 0
            if self._size > self.max_bytes:
                self._full = True
                _logger.warning(
                    f"{self.folder} holds {self.max_bytes / _GIB:.1f} GiB, all in use: features of further images are "
                    "recomputed each time; raise max_gib, or use fewer blocks, steps or symmetries"
                )
        return not self._full

    def _make_room(self, size: int) -> int:
        """Deletes what was unused for longest, if `size` more would not fit; returns the bytes that are left."""
        entries = []
        for path in self.folder.glob("??/*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # deleted by another process
                continue
            abandoned = path.name.startswith(".") and status.st_mtime < time.time() - 3600
            entries.append((0.0 if abandoned else status.st_mtime, status.st_size, path))
        total = sum(entry[1] for entry in entries)
        wanted = self.max_bytes if total + size <= self.max_bytes else int(0.9 * self.max_bytes)
        for used, length, path in sorted(entries):
            if used and (used >= self._since or total + size <= wanted):
                break
            path.unlink(missing_ok=True)
            total -= length
        return total


def _precision() -> dict[str, str]:
    """Autocast changes the features."""
    return {
        f"autocast_{device}": str(torch.get_autocast_dtype(device))
        for device in ("cpu", "cuda")
        if torch.is_autocast_enabled(device)
    }

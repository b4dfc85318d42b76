"""Sentences on their way to the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.transforms import MapTransform


class TextToMetad(MapTransform):
    """Copies the sentence at ``text_key`` into the image's metadata, where :class:`TextInferer` finds it.

    Whatever comes is data: nothing, or None, is the empty sentence; what is no string is read as it prints; characters
    that UTF-8 cannot hold become "?".
    """

    def __init__(self, keys: str | Sequence[str] = "image", text_key: str = "text") -> None:
        super().__init__(keys)
        self.text_key = text_key

    def __call__(self, data: Any) -> dict:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key].meta["text"] = _as_text(d.get(self.text_key))
        return d


def _as_text(value: Any) -> str:
    return "" if value is None else str(value).encode("utf-8", "replace").decode()

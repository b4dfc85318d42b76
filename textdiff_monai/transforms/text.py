"""Sentences on their way to the network."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from monai.transforms import MapTransform

from textdiff_monai.language.lexicon import doubt


class TextToMetad(MapTransform):
    """Copies the sentence at ``text_key`` into the image's metadata, where :class:`TextInferer` finds it.

    Whatever comes is data: nothing, or None, is the empty sentence; what is no string is read as it prints; characters
    that UTF-8 cannot hold become "?". A sentence that may not be understood is a warning, once, which does not
    quote it whole since logs are kept; ``doubt`` in the metadata says why, and is "" otherwise. ``slices`` of the
    data, such as "10-20", comes along: the sentence is then about these slices of a volume.

    Args:
        keys: images.
        text_key: the sentence.
        facts: of the checkpoint, whose ``words`` and ``targets`` training has put there.
        vocabulary: words that the text encoder knows.
    """

    def __init__(
        self,
        keys: str | Sequence[str] = "image",
        text_key: str = "text",
        facts: Mapping[str, Any] | None = None,
        vocabulary: Collection[str] = (),
    ) -> None:
        super().__init__(keys)
        self.text_key, self.facts, self.vocabulary = text_key, facts or {}, vocabulary
        self._warned: set[str] = set()

    def __call__(self, data: Any) -> dict:
        d = dict(data)
        for key in self.key_iterator(d):
            text = _as_text(d.get(self.text_key))
            reason = doubt(text, self.facts, self.vocabulary)
            d[key].meta |= {"text": text, "doubt": reason, "slices": str(d.get("slices") or "")}
            if reason and text not in self._warned:
                self._warned.add(text)
                warnings.warn(f"a sentence may not be understood: {reason}", stacklevel=2)
        return d


def _as_text(value: Any) -> str:
    return "" if value is None else str(value).encode("utf-8", "replace").decode()

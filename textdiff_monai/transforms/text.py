"""Sentences on their way to the network."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from monai.transforms import MapTransform

from textdiff_monai.language.lexicon import doubt
from textdiff_monai.language.nearness import distance


class TextToMetad(MapTransform):
    """Copies the sentence at ``text_key`` into the image's metadata, where :class:`TextInferer` finds it.

    Whatever comes is data: nothing, or None, is the empty sentence; what is no string is read as it prints; characters
    that UTF-8 cannot hold become "?". A sentence that may not be understood is a warning, once, which quotes no word of
    it since logs are kept; ``doubt`` in the metadata says why, and is "" otherwise. ``slices`` of the data, such as
    "10-20", comes along: the sentence is then about these slices of a volume.

    Args:
        keys: images.
        text_key: the sentence.
        facts: of the checkpoint, whose ``words``, ``targets`` and ``centres`` training has put there.
        encoder: the text encoder, whose vocabulary is known, and whose measure tells what is far from the training's
            captions.
    """

    def __init__(
        self,
        keys: str | Sequence[str] = "image",
        text_key: str = "text",
        facts: Mapping[str, Any] | None = None,
        encoder: Any = None,
    ) -> None:
        super().__init__(keys)
        self.text_key, self.facts, self.encoder = text_key, facts or {}, encoder
        self._vocabulary = encoder.tokenizer.get_vocab() if encoder is not None else {}
        self._doubts: dict[str, str] = {}

    def __call__(self, data: Any) -> dict:
        d = dict(data)
        for key in self.key_iterator(d):
            text = _as_text(d.get(self.text_key))
            if text not in self._doubts:
                self._doubts[text] = reason = self._doubt(text)
                if reason:
                    told = doubt(text, self.facts, self._vocabulary, quoting=False) or reason
                    warnings.warn(f"a sentence may not be understood: {told}", stacklevel=2)
            d[key].meta |= {"text": text, "doubt": self._doubts[text], "slices": str(d.get("slices") or "")}
        return d

    def _doubt(self, text: str) -> str:
        reason = doubt(text, self.facts, self._vocabulary)
        if reason or not text or not self.facts.get("centres") or self.encoder is None:
            return reason
        far, radius = distance(text, self.facts, self.encoder), self.facts["radius"]
        return f"it is far from the training captions ({far:.2f}; at most {radius:.2f} is near)" if far > radius else ""


def _as_text(value: Any) -> str:
    return "" if value is None else str(value).encode("utf-8", "replace").decode()

"""Captions that vary in training: another wording of the same meaning every time an image is seen."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

from textdiff_monai.data.layouts import FURTHER_TEXT
from textdiff_monai.language import wording
from textdiff_monai.language.reader import read


class RandTextd(Randomizable, MapTransform):
    """One of the texts that an item has: ``text``, or those of the columns ``text_2``, ``text_3`` and so on, at random.

    It comes before the symmetries, so that whichever is drawn is rewritten by them.

    Args:
        keys: the caption.
    """

    def __init__(self, keys: KeysCollection = "text") -> None:
        MapTransform.__init__(self, keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            others = [d[name] for name in sorted(map(str, d)) if FURTHER_TEXT.fullmatch(name) and d[name]]
            texts = [*([d[key]] if d[key] or not others else []), *others]
            d[key] = texts[self.R.randint(len(texts))]
        return d


class RandWordingd(Randomizable, MapTransform):
    """The caption in other words, or its denial with an empty mask.

    A caption that is understood as a whole (see :func:`textdiff_monai.language.reader.read`) is said anew by the
    grammar; of any other, the sentences change places and, now and then, words are left out that say neither where nor
    whether. It comes after the symmetries: they rewrite the plain caption, which is then worded freely.

    Args:
        keys: the caption.
        label_key: the mask (C, H, W), all zeros where the caption is denied.
        prob: probability that an image gets other words.
        deny: probability that it gets a sentence that says that the target is absent, if the caption's can be.
        thin: share of words left out of captions that are not understood.
    """

    def __init__(
        self,
        keys: KeysCollection = "text",
        label_key: str = "label",
        prob: float = 0.8,
        deny: float = 0.1,
        thin: float = 0.1,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.label_key, self.prob, self.deny, self.thin = label_key, prob, deny, thin

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            rng = np.random.default_rng(self.R.randint(2**31))
            drawn, text = self.R.random_sample(), str(d[key] or "")
            meaning = read(text)
            denial = wording.deny(meaning, rng) if drawn < self.deny and meaning is not None else None
            if denial is not None:
                d[key], d[self.label_key] = denial, torch.zeros_like(d[self.label_key])
            elif drawn < self.deny + (1 - self.deny) * self.prob:
                d[key] = (
                    wording.say(meaning, rng)
                    if meaning is not None
                    else wording.thinned(wording.shuffled(text, rng), rng, self.thin)
                )
        return d

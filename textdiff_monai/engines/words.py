"""What the words of a sentence do in an image: where they are attended to, and what is marked without each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from textdiff_monai.data.files import read_rows, write_rows, written_file
from textdiff_monai.data.pictures import fullest
from textdiff_monai.data.words import WordEffect, agreement, word_rows, word_strip
from textdiff_monai.engines.inferer import TextInferer
from textdiff_monai.engines.pictures import picture_name
from textdiff_monai.networks.ensemble import HeadEnsemble
from textdiff_monai.networks.textdiff import TextDiff

_AT_ONCE = 8  # sentences


class WordEffects:
    """Measures each word of a sentence about an image; costs one pass of the head a word and one for the maps.

    Args:
        network: with a trained head.
        inferer: that runs it; what is marked without a word is what it gives for the sentence without the word.

    Raises:
        ValueError: for a head that reads no sentence.
    """

    def __init__(self, network: nn.Module, inferer: TextInferer) -> None:
        if not isinstance(network, TextDiff) or not inferer.read_text:
            raise ValueError("words: this network does not read sentences, so there are no words to measure")
        if not hasattr(network.text_encoder, "words"):
            raise ValueError(
                f"words: {type(network.text_encoder).__name__} does not say which tokens belong to which word"
            )
        self.network, self.inferer = network, inferer
        self._plain = inferer.plain()

    @torch.no_grad()
    def __call__(self, image: Tensor, text: str) -> list[WordEffect]:
        """One effect a word, in their order, and one of what is no word.

        Args:
            image: (3, H, W) in [-1, 1], on the network's device; of a volume a slice (3, H, W, 1), as
                :meth:`TextInferer.plane` cuts it.
            text: the sentence.
        """
        words = [word for word, _ in self.network.text_encoder.words(text)]  # type: ignore[attr-defined]
        rests = [" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))]
        shape = image.shape[1:3]
        maps = self._plain(image[None], self._maps, text=[text])[0].reshape(-1, *shape).float().cpu().numpy()
        masks = list[np.ndarray]()
        for first in range(0, len(rests), _AT_ONCE):
            some = rests[first : first + _AT_ONCE]
            with warnings.catch_warnings(action="ignore"):  # nobody asked these
                logits = self.inferer(image.expand(len(some), *image.shape), self.network, text=some)
            masks += list(logits.argmax(1).reshape(-1, *shape).to(torch.uint8).cpu().numpy())
        effects = [WordEffect(*one) for one in zip(words, maps[:-1], masks, strict=True)]
        return [*effects, WordEffect("", maps[-1], None)]

    def _maps(self, image: Tensor, text: str | Sequence[str]) -> Tensor:
        return word_maps(self.network, image, text if isinstance(text, str) else text[0])


class WordCases:
    """After an evaluation, measures the words of its worst and best cases: ``words.csv`` and ``words/ID.webp``.

    A case has a row for each word, as :func:`~textdiff_monai.data.words.word_rows` has them but for the Dice, which is
    with the truth: ``dice`` of the whole sentence and ``dice_without`` the word. The picture has the words' maps
    side by side. Of a volume all is of the slice that :class:`CasePictures` shows.

    Args:
        folder: of the evaluation, where :class:`MetricsReport` writes ``cases.csv``.
        dataset: that is evaluated, of items with ``image``, ``label`` and ``text``.
        network, inferer: that are evaluated.
        count: of cases, half of them the worst.

    Raises:
        ValueError: for a head that reads no sentence.
    """

    def __init__(self, folder: str, dataset: Dataset, network: TextDiff, inferer: TextInferer, count: int) -> None:
        self.folder, self.dataset, self.count = Path(folder), dataset, count
        self.network, self.inferer, self.effects = network, inferer, WordEffects(network, inferer)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        cases = sorted(
            (case for case in read_rows(self.folder / "cases.csv") if case["text"].strip() and case["mean_dice"]),
            key=lambda case: float(case["mean_dice"]),
        )
        if len(cases) > self.count:
            worst = -(-self.count // 2)
            cases = cases[:worst] + cases[len(cases) - self.count + worst :]
        places = {str(item["id"]): place for place, item in enumerate(self.dataset.data)}
        rows: list[dict[str, Any]] = []
        with eval_mode(self.network):  # the evaluator is done and has put back how it was
            for case in cases:
                rows += self._measure(case["id"], self.dataset[places[case["id"]]])
        write_rows(self.folder / "words.csv", rows)
        engine.logger.info(f"written: {self.folder}/words.csv and words/, of {len(cases)} of the worst and best cases")

    def _measure(self, case: str, item: Mapping[str, Any]) -> list[dict[str, Any]]:
        device, text = next(self.network.parameters()).device, item["text"]
        image, truth = item["image"].as_tensor().to(device), np.asarray(item["label"][0])
        found = self.inferer(image[None], self.network, text=[text])[0].argmax(0).to(torch.uint8).cpu().numpy()
        if truth.ndim == 3:
            number = fullest(truth if truth.any() else found)
            image, truth, found = self.inferer.plane(image, number)[..., None], truth[..., number], found[..., number]
        effects = self.effects(image, text)
        with written_file(self.folder / "words" / picture_name(case)) as partial:
            word_strip(effects).save(partial, "WEBP", quality=75)
        rows = []
        for row, effect in zip(word_rows(effects, found), effects, strict=True):
            without = "" if effect.without is None else round(agreement(effect.without, truth), 4)
            rows.append({"id": case, **row, "dice": round(agreement(found, truth), 4), "dice_without": without})
        return rows


def word_maps(network: TextDiff, image: Tensor, text: str) -> Tensor:
    """Of each pixel's attention the share that each word of a sentence gets, its tokens together.

    Mean over the scales of the features, both rounds of attention, their heads, and the heads of an ensemble.

    Args:
        network: with a trained head.
        image: (B, 3, H, W) as the network takes it.
        text: one sentence for all images.

    Returns:
        (B, words + 1, H, W); the last is of what is no word: marks of the sentence's beginning and end, and padding.
        They sum to 1.
    """
    heads: Any = network.head if isinstance(network.head, HeadEnsemble) else [network.head]
    device = image.device
    places = [tokens for _, tokens in network.text_encoder.words(text)]  # type: ignore[attr-defined]
    with torch.autocast(device.type, network.autocast, enabled=network.autocast is not None):
        features = network.backbone(image)
        embeddings, mask = (one.to(device).expand(len(image), *one.shape[1:]) for one in network.text_encoder([text]))
        scales = [
            _upsampled(head.attention.shares(project(scale).flatten(2).transpose(1, 2), embeddings, mask), scale, image)
            for head in heads
            for scale, project in zip(features, head.projections(), strict=True)
        ]
    tokens = torch.stack(scales).mean(0)
    words = [tokens[:, own].sum(1) for own in places]
    return torch.stack([*words, 1 - sum(words, torch.zeros_like(tokens[:, 0]))], dim=1)


def _upsampled(shares: Tensor, scale: Tensor, image: Tensor) -> Tensor:
    """Shares (B, h w, L) of a scale's pixels at the image's size (B, L, H, W)."""
    maps = shares.transpose(1, 2).unflatten(2, scale.shape[-2:]).float()
    return F.interpolate(maps, image.shape[-2:], mode="bilinear", align_corners=False)

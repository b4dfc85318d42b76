"""A trained head at work: pictures, volumes and slides, each read once for all of its sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from textdiff_monai.apps.trained import trained
from textdiff_monai.data.pictures import fullest
from textdiff_monai.data.results import Results
from textdiff_monai.data.slides.found import Found
from textdiff_monai.data.slides.regions import Region
from textdiff_monai.data.slides.slide import Slide
from textdiff_monai.engines.disagreement import Disagreement
from textdiff_monai.engines.windows import SlideWindows
from textdiff_monai.engines.words import WordEffects
from textdiff_monai.networks.ensemble import HeadEnsemble
from textdiff_monai.networks.textdiff import TextDiff
from textdiff_monai.transforms.picture import ToInputd, space_of

Item = Mapping[str, Any]
# What of inference.json is used.
NODES = (
    *("reading", "asking", "inferer", "device", "class_names", "plane", "checkpoint", "trained", "tile"),
    *("features", "channels", "intensity_range"),
)
_VALUES = 2**27  # of an image and its sentences, that are in memory at once


@dataclass
class Segmenter:
    """Writes the masks of images.

    Attributes:
        options: of inference.json.
        window: side of slides' windows; None: of the tiles that the head was trained on.
        regions: of slides, each with a sentence of its own or that of the item; none: all of a slide.
        words: also write what each word of the sentences does.
        nodes: of inference.json, by name.
        network: with the trained weights.
    """

    options: Mapping[str, Any]
    window: int | None = None
    regions: Sequence[Region] = ()
    words: bool = False
    nodes: dict[str, Any] = field(init=False)
    network: torch.nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.network, *nodes = trained(NODES, self.options)
        self.nodes = dict(zip(NODES, nodes, strict=True))
        self._effects = WordEffects(self.network, self.nodes["inferer"]) if self.words else None
        several = isinstance(self.network, TextDiff) and isinstance(self.network.head, HeadEnsemble)
        self._apart = Disagreement(self.network, self.nodes["inferer"]) if several else None

    def image(self, items: Sequence[Item], results: Results, progress: Callable[[int], object]) -> None:
        """A picture or a volume with each of its sentences: read once, its features computed once."""
        start = time.monotonic()
        image = self.nodes["reading"](dict(items[0]))["image"]
        at_once = max(1, min(8, _VALUES // image.numel()))
        for first in range(0, len(items), at_once):
            some = items[first : first + at_once]
            asked = [self._ask(item, MetaTensor(image.as_tensor(), meta=dict(image.meta))) for item in some]
            meta = {name: [one[name] for one in asked] for name in ("text", "slices", "doubt")}
            batch = MetaTensor(image.as_tensor().to(self.nodes["device"]).expand(len(some), *image.shape), meta=meta)
            with torch.no_grad():
                found = self.nodes["inferer"](batch, self.network, progress=progress).as_tensor().cpu()
            apart = self._apart(batch).cpu().numpy() if self._apart else [None] * len(some)
            for item, one, doubt, logits, differ in zip(some, asked, batch.meta["doubt"], found, apart, strict=True):
                told = {**item, "doubt": doubt, "seconds": (time.monotonic() - start) / len(some)}
                mask = logits.argmax(0).to(torch.uint8).numpy()
                words = self._effects(self._plane(image, mask), one["text"]) if self._effects else ()
                results.add(told, mask, logits.softmax(0).numpy(), image.numpy(), space_of(image), words, differ)
            start = time.monotonic()

    def slide(self, items: Sequence[Item], slide: Slide, results: Results) -> None:
        """A slide with each of its sentences, window by window; empty glass is not read, and features are not kept."""
        if self.words:
            raise ValueError("the effect of words is measured in images and volumes, not in slides; leave out --words")
        start, asked, side = time.monotonic(), self._of_regions(items), self._side(slide)
        results.folder.mkdir(parents=True, exist_ok=True)
        found = [Found(slide.size, results.folder) for _ in asked]
        # Black and white are those of the slide, whatever is in a window.
        prepare = ToInputd("image", self.nodes["channels"], self.nodes["intensity_range"] or (0.0, 255.0))

        inferer = copy(self.nodes["inferer"])
        inferer.familiarity = None  # of whole pictures

        def run(windows: Tensor, texts: list[str]) -> Tensor:
            images = torch.stack([prepare({"image": window})["image"] for window in windows])
            with torch.no_grad():
                return inferer(images.to(self.nodes["device"]), self.network, text=texts)

        def wanted(top: int, left: int, side: int) -> bool:
            drawn = [region for _, region in asked if region is not None]
            inside = not drawn or any(region.mask(top, left, side, side).any() for region in drawn)
            return inside and slide.has_tissue(top, left, side)

        windows = SlideWindows(side)
        with self.nodes["features"].resting():
            blocks = windows(slide, run, [item["text"] for item, _ in asked], wanted)
            for block in tqdm(blocks, "slide", windows.count(slide), unit="block", leave=False):
                if block.logits is None:
                    continue
                for own, logits, (_, region) in zip(found, block.logits, asked, strict=True):
                    mask = logits.argmax(0).to(torch.uint8).numpy()
                    if region is not None:
                        mask *= region.mask(block.top, block.left, block.height, block.width)
                    own.add(block.top, block.left, mask, 1 - logits.softmax(0)[0].numpy())
        seconds = (time.monotonic() - start) / len(asked)
        for own, (item, _) in zip(found, asked, strict=True):
            doubt = self._ask(item, MetaTensor(torch.zeros(1)))["doubt"]
            results.add_slide({**item, "doubt": doubt, "seconds": seconds}, own, slide.thumbnail, slide.mpp)

    def _plane(self, image: MetaTensor, mask: np.ndarray) -> Tensor:
        """The image, or of a volume the slice that is shown, as the network takes it."""
        pixels = image.as_tensor()
        plane = self.nodes["inferer"].plane(pixels, fullest(mask))[..., None] if pixels.ndim == 4 else pixels
        return plane.to(self.nodes["device"])

    def _ask(self, item: Item, image: MetaTensor) -> dict[str, Any]:
        """What the sentence adds to an image's metadata."""
        return self.nodes["asking"]({**item, "image": image})["image"].meta

    def _of_regions(self, items: Sequence[Item]) -> list[tuple[Item, Region | None]]:
        """An item for each sentence, and where on the slide it is asked."""
        if not self.regions:
            return [(item, None) for item in items]
        theirs = [(item, region) for item in items for region in self.regions if not region.text]
        return theirs + [({**items[0], "text": region.text}, region) for region in self.regions if region.text]

    def _side(self, slide: Slide) -> int:
        side = self.window or self.nodes["tile"]
        if side is None:
            height, width = slide.size
            what = f"a slide of {width} x {height} pixels, but a head that was trained on whole images"
            fix = "give the side, in slide pixels, of the window that corresponds to one such image: --window 1024"
            raise ValueError(f"{what}: {fix}")
        return int(side)

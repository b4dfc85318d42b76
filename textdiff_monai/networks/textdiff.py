"""TextDiff: frozen diffusion features and a frozen sentence, joined by a trained head (Feng, MICCAI 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from textdiff_monai.fast.convolution import ShortConvolutions
from textdiff_monai.fast.head import short_logits
from textdiff_monai.networks.ensemble import HeadEnsemble
from textdiff_monai.networks.head import SegmentationHead
from textdiff_monai.networks.interfaces import Head, ImageBackbone, SentenceEncoder
from textdiff_monai.networks.pixels import PixelHead
from textdiff_monai.networks.recipe import Recipe, encoders_options
from textdiff_monai.networks.tokens import tokens_of

HEADS: Mapping[str, Callable[..., Head]] = {"attention": SegmentationHead, "pixels": PixelHead}


class TextDiff(nn.Module):
    """Segments images with the help of a sentence; only the head is trained.

    Args:
        backbone: the frozen image branch.
        text_encoder: the frozen text branch.
        num_classes: channels of the logits, background included.
        head: more options of :class:`~textdiff_monai.SegmentationHead` (the paper's by default), or, with ``kind``
            "pixels", of :class:`~textdiff_monai.networks.pixels.PixelHead`.
        autocast: "bfloat16" or "float16", the precision of what autocast lowers, on whatever device the images are
            (MONAI's own workflows know CUDA alone). None changes nothing; a trace is in float32.
        fast: computes the same with fewer multiplications and less memory (:mod:`textdiff_monai.fast`); False computes
            everything as the paper tells it, and so do traces and compiled networks.
        heads: how many to train side by side; of several the mean is the prediction
            (:class:`~textdiff_monai.networks.ensemble.HeadEnsemble`).
        recipe: what checkpoints say besides of how pixels and words reach the network; what the arguments above decide
            is added to it.
    """

    def __init__(
        self,
        backbone: ImageBackbone,
        text_encoder: SentenceEncoder,
        num_classes: int = 2,
        head: dict[str, Any] | None = None,
        autocast: str | None = None,
        fast: bool = True,
        heads: int = 1,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__()
        if autocast not in (None, "bfloat16", "float16"):
            raise ValueError(f"autocast is {autocast!r}: expected 'bfloat16', 'float16' or None")
        if heads < 1:
            raise ValueError(f"heads is {heads}: expected 1 or more")
        self.autocast: torch.dtype | None = None if autocast is None else getattr(torch, autocast)
        self.fast = fast
        self.recipe = recipe or Recipe()  # first, so that nothing is loaded before it has agreed
        self.backbone = backbone
        self.text_encoder = text_encoder
        widths = backbone.out_channels, text_encoder.out_channels
        options = {**(head or {})}
        kind = options.pop("kind", "attention")
        if kind not in HEADS:
            raise ValueError(f"head is of the kind {kind!r}: expected {' or '.join(HEADS)}")
        each: list[Any] = [HEADS[kind](*widths, num_classes, **options) for _ in range(heads)]
        self.head: Any = each[0] if heads == 1 else HeadEnsemble(each)
        self.short = short_logits if kind == "attention" else nn.Module.__call__
        self.recipe.describe(**self._options())
        names = self.recipe.options.get("class_names", range(num_classes))
        if len(names) != num_classes:
            raise ValueError(f"class_names {names} name {len(names)} classes, num_classes is {num_classes}; give both")

    def _options(self) -> dict[str, Any]:
        """What rebuilds this network, by the names of the configurations' options, and its frozen branches' hashes."""
        options, head = encoders_options(backbone=self.backbone, text_encoder=self.text_encoder), {**self.head.options}
        if isinstance(self.head, HeadEnsemble):
            options["heads"] = len(self.head)
        return options | {"norm": head.pop("norm"), "detail_channels": head.pop("detail_channels", 0), "head": head}

    def forward(
        self, image: Tensor, text: str | Sequence[str] | Tensor | None = None, text_mask: Tensor | None = None
    ) -> Tensor:
        """Logits of images, each read with its sentence.

        Args:
            image: (B, 3, H, W), float in [-1, 1]; H and W multiples of ``backbone.divisor``.
            text: one sentence for all images, a list of B sentences, or token embeddings (B, L, D);
                None is an empty sentence.
            text_mask: (B, L), True where a token may be seen; only with embeddings, None: all of them.

        Returns:
            (B, num_classes, H, W), in float32 where the network itself lowers the precision; of several heads, in
            training, (B, heads, num_classes, H, W), each head's own.

        Raises:
            ValueError: for an image size the UNet cannot halve (it names sizes that work), or texts that do not match
                the images in number.
        """
        image = image.as_tensor() if isinstance(image, MetaTensor) else image
        embeddings, mask = tokens_of(self.text_encoder, text, image.shape[0], text_mask)
        mask = None if mask is None else mask.to(image.device)
        if self.autocast is None or torch.jit.is_tracing():
            return self._logits(image, embeddings.to(image.device), mask)
        with torch.autocast(image.device.type, self.autocast):
            return self._logits(image, embeddings.to(image.device), mask).float()

    def features(self, image: Tensor) -> list[Tensor]:
        """The backbone's maps of images, as :meth:`forward` has them."""
        with nullcontext() if self.autocast is None else torch.autocast(image.device.type, self.autocast):
            return self._features(image)

    def _features(self, image: Tensor) -> list[Tensor]:
        shortens = self.fast and image.device.type == "cpu"  # elsewhere it would only look at every call
        with ShortConvolutions() if shortens else nullcontext():
            return self.backbone(image)

    def _logits(self, image: Tensor, text: Tensor, mask: Tensor | None) -> Tensor:
        if not self.fast or torch.jit.is_tracing() or torch.compiler.is_compiling():
            return self.head(self.backbone(image), text, mask, image)
        features = self._features(image)
        if isinstance(self.head, HeadEnsemble):
            return self.head(features, text, mask, image, self.short)
        return self.short(self.head, features, text, mask, image)

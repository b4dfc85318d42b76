"""TextDiff: frozen diffusion features and a frozen sentence, joined by a trained head (Feng, MICCAI 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from textdiff_monai.fast.convolution import ShortConvolutions
from textdiff_monai.fast.head import short_logits
from textdiff_monai.networks.ensemble import HeadEnsemble
from textdiff_monai.networks.head import SegmentationHead
from textdiff_monai.networks.interfaces import ImageBackbone, SentenceEncoder
from textdiff_monai.networks.recipe import Recipe


class TextDiff(nn.Module):
    """Segments images with the help of a sentence; only the head is trained.

    Args:
        backbone: the frozen image branch.
        text_encoder: the frozen text branch.
        num_classes: channels of the logits, background included.
        head: more options of :class:`~textdiff_monai.SegmentationHead` (the paper's by default).
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
        each = [SegmentationHead(*widths, num_classes, **(head or {})) for _ in range(heads)]
        self.head: Any = each[0] if heads == 1 else HeadEnsemble(each)
        self.recipe.describe(**self._options())
        names = self.recipe.options.get("class_names", range(num_classes))
        if len(names) != num_classes:
            raise ValueError(f"class_names {names} name {len(names)} classes, num_classes is {num_classes}; give both")

    def _options(self) -> dict[str, Any]:
        """What rebuilds this network, by the names of the configurations' options, and its frozen branches' hashes."""
        images, words, head = dict(self.backbone.identity), dict(self.text_encoder.identity), dict(self.head.options)
        options: dict[str, Any] = {
            name: images.pop(name) for name in ("blocks", "steps", "noise_seed") if name in images
        }
        names = {"max_length": "max_tokens", "mask_padding": "mask_padding"}
        options |= {names[name]: words.pop(name) for name in names if name in words}
        norm = head.pop("norm")
        if isinstance(self.head, HeadEnsemble):
            options["heads"] = len(self.head)
        return options | {"norm": norm, "head": head, "encoders": {"backbone": images, "text_encoder": words}}

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
            (B, num_classes, H, W), in float32 where the network itself lowers the precision.

        Raises:
            ValueError: for an image size the UNet cannot halve (it names sizes that work), or texts that do not match
                the images in number.
        """
        image = image.as_tensor() if isinstance(image, MetaTensor) else image
        embeddings, mask = self._read(text, text_mask, image.shape[0])
        mask = None if mask is None else mask.to(image.device)
        if self.autocast is None or torch.jit.is_tracing():
            return self._logits(image, embeddings.to(image.device), mask)
        with torch.autocast(image.device.type, self.autocast):
            return self._logits(image, embeddings.to(image.device), mask).float()

    def _logits(self, image: Tensor, text: Tensor, mask: Tensor | None) -> Tensor:
        if not self.fast or torch.jit.is_tracing() or torch.compiler.is_compiling():
            return self.head(self.backbone(image), text, mask, image.shape[-2:])
        with ShortConvolutions():
            features = self.backbone(image)
        if isinstance(self.head, HeadEnsemble):
            return self.head(features, text, mask, image.shape[-2:], short_logits)
        return short_logits(self.head, features, text, mask, image.shape[-2:])

    def _read(self, text: Any, mask: Tensor | None, batch: int) -> tuple[Tensor, Tensor | None]:
        if isinstance(text, Tensor):
            expected = (batch, text.shape[1] if text.ndim == 3 else "L", self.text_encoder.out_channels)
            if tuple(text.shape) != expected:
                raise ValueError(f"expected token embeddings of shape {expected}, got {tuple(text.shape)}")
            return text, None if mask is None else mask.bool()
        if text is None or isinstance(text, str):
            embeddings, mask = self.text_encoder([text or ""])
            return embeddings.expand(batch, -1, -1), mask.expand(batch, -1)
        sentences = list(text)
        if len(sentences) != batch:
            raise ValueError(
                f"{len(sentences)} texts for {batch} images: give one for each, one string for all, or none"
            )
        return self.text_encoder(sentences)

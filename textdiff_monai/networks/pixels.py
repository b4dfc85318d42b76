"""A rival of the head: every pixel classified by its own features (Baranchuk et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn


class PixelHead(nn.Module):
    """The upsampled features of a pixel to its logits: an MLP without convolutions, which reads no sentence.

    Args:
        in_channels: channels of each feature map.
        text_channels: of tokens, which are not read.
        num_classes: channels of the logits, background included.
        hidden_channels: widths of the two hidden layers; the paper's for few classes.
        norm: of the hidden layers, as MONAI names them. Theirs is batch norm, over pixels of many images; where batches
            are single images, instance norm is what that becomes in training, and has no running statistics.
        detail_channels: 0; what a U-Net sees is not of single pixels.

    Raises:
        ValueError: for other ``detail_channels``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        text_channels: int,
        num_classes: int = 2,
        hidden_channels: tuple[int, int] = (128, 32),
        norm: str | tuple[str, dict[str, Any]] = "batch",
        detail_channels: int = 0,
    ) -> None:
        super().__init__()
        if detail_channels:
            raise ValueError(f"detail_channels is {detail_channels}: a head of the kind 'pixels' has none; give 0")
        self.options: dict[str, Any] = {"kind": "pixels", "hidden_channels": hidden_channels, "norm": norm}
        self.in_channels = list(in_channels)
        wide, narrow = hidden_channels
        self.first = nn.Conv2d(sum(in_channels), wide, 1)
        self.classifier = nn.Sequential(
            nn.ReLU(inplace=True),
            get_norm_layer(norm, spatial_dims=2, channels=wide),
            nn.Conv2d(wide, narrow, 1),
            nn.ReLU(inplace=True),
            get_norm_layer(norm, spatial_dims=2, channels=narrow),
            nn.Conv2d(narrow, num_classes, 1),
        )

    def forward(self, features: Sequence[Tensor], text: Tensor, mask: Tensor | None, image: Tensor) -> Tensor:
        """Logits as :class:`~textdiff_monai.SegmentationHead` has them; ``text`` and ``mask`` are not read.

        Mixing channels commutes with upsampling: the first layer runs at each scale's own resolution.
        """
        weights = self.first.weight.split(self.in_channels, dim=1)
        mixed = [
            F.interpolate(F.conv2d(scale, weight), image.shape[-2:], mode="bilinear", align_corners=False)
            for scale, weight in zip(features, weights, strict=True)
        ]
        return self.classifier(sum(mixed, start=self.first.bias[:, None, None]))  # type: ignore[index]

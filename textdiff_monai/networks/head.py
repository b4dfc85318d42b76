"""What is trained: projections, image-to-text attention and the pixel classifier (TextDiff, section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers.utils import get_norm_layer
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from textdiff_monai.networks.attention import ImageTextBlock


class SegmentationHead(nn.Module):
    """Multi-scale image features and a sentence's token embeddings to logits.

    The first scale has its own 1x1 projection to ``channels``; later scales share one per number of input channels;
    a scale that already has ``channels`` needs none. One attention block serves all scales. The defaults are the
    paper's.

    Args:
        in_channels: channels of each feature map.
        text_channels: channels of a token's embedding.
        num_classes: channels of the logits, background included.
        channels: width of the attention; each scale gives as many to the classifier.
        heads, head_channels: attention heads, and channels of each.
        hidden_channels: widths of the classifier's two hidden layers.
        norm: of the hidden layers, as MONAI names them. "batch" is the paper's; its running statistics are of little
            use where batches are single images, ``("instance", {"affine": True})`` has none.
        detail_channels: width of a small U-Net (``BasicUNet``) on the image itself, trained with the head, whose
            maps join the classifier's hidden ones: for what is small or thin, as features are of lower resolution; H
            and W of images are then 32 or more. 0, as in the paper: none.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        text_channels: int,
        num_classes: int = 2,
        channels: int = 768,
        heads: int = 8,
        head_channels: int = 64,
        hidden_channels: tuple[int, int] = (128, 32),
        norm: str | tuple[str, dict[str, Any]] = "batch",
        detail_channels: int = 0,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"channels": channels, "heads": heads, "head_channels": head_channels}
        self.options |= {"hidden_channels": hidden_channels, "norm": norm, "detail_channels": detail_channels}
        first, *later = in_channels
        self.shared = [None if width == channels else str(width) for width in later]
        self.project_first = nn.Identity() if first == channels else nn.Conv2d(first, channels, 1)
        self.project_later = nn.ModuleDict({key: nn.Conv2d(int(key), channels, 1) for key in filter(None, self.shared)})
        self.attention = ImageTextBlock(channels, text_channels, heads, head_channels)
        wide, narrow = hidden_channels
        self.classifier = nn.Sequential(
            nn.Conv2d(channels * len(in_channels), wide, 3, padding=1),
            get_norm_layer(norm, spatial_dims=2, channels=wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide + detail_channels, narrow, 3, padding=1),
            get_norm_layer(norm, spatial_dims=2, channels=narrow),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, num_classes, 3, padding=1),
        )
        self.apply(partial(_initialise, channels=channels))
        self.detail = _small_unet(detail_channels) if detail_channels else None

    def forward(self, features: Sequence[Tensor], text: Tensor, mask: Tensor | None, image: Tensor) -> Tensor:
        """Logits of images.

        Args:
            features: one map (B, in_channels[i], h_i, w_i) per scale.
            text: token embeddings (B, L, D).
            mask: (B, L), True where a token may be seen; None: all of them.
            image: (B, 3, H, W), of which the features are; without ``detail_channels`` its size alone counts.

        Returns:
            (B, num_classes, H, W)
        """
        attended = []
        for scale, project in zip(features, self.projections(), strict=True):
            pixels = self.attention(project(scale).flatten(2).transpose(1, 2), text, mask)
            pixels = pixels.transpose(1, 2).unflatten(-1, scale.shape[-2:])
            attended.append(F.interpolate(pixels, image.shape[-2:], mode="bilinear", align_corners=False))
        return self.classify(self.classifier[0](torch.cat(attended, dim=1)), image)

    def classify(self, mixed: Tensor, image: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W) from the classifier's first convolution on (B, hidden_channels[0], H, W).

        Args:
            mixed: what that convolution gives, before its norm.
            image: (B, 3, H, W), as :meth:`forward` has it.
        """
        hidden = self.classifier[1:3](mixed)
        if self.detail is not None:
            hidden = torch.cat([hidden, self.detail(image)], dim=1)
        return self.classifier[3:](hidden)

    def projections(self) -> list[nn.Module]:
        """What brings each scale to the attention's width."""
        later = [self.project_later[width] if width else nn.Identity() for width in self.shared]
        return [self.project_first, *later]


def _small_unet(width: int) -> nn.Module:
    """Maps (B, width, H, W) of images (B, 3, H, W)."""
    widths = (width, width, 2 * width, 4 * width, 8 * width, width)
    return BasicUNet(2, 3, width, widths, norm=("instance", {"affine": True}))


def _initialise(module: nn.Module, channels: int) -> None:
    """As published: N(0, 0.02) for convolutions and linear layers, N(1, 0.02) for batch norm, biases 0.

    Linear layers of other than the published 768 channels start with the gain of those: with fewer and as small weights
    the attention would be almost flat, and stay so for long.
    """
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02 * math.sqrt(768 / channels))
    elif isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)) and module.bias is not None:
        nn.init.zeros_(module.bias)

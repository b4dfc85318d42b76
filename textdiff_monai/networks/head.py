"""What is trained: projections, image-to-text attention and the pixel classifier (TextDiff, section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from monai.networks.layers.utils import get_norm_layer
from torch import Tensor, nn

from textdiff_monai.fast.products import linear
from textdiff_monai.fast.upsampling import Strip, conv_of_upsampled, nine_mixes
from textdiff_monai.networks.attention import ImageTextBlock

# Pixels that a CPU works on at once: what it makes of them should stay in its caches.
_CACHED = 4096


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
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"channels": channels, "heads": heads, "head_channels": head_channels}
        self.options |= {"hidden_channels": hidden_channels, "norm": norm}
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
            nn.Conv2d(wide, narrow, 3, padding=1),
            get_norm_layer(norm, spatial_dims=2, channels=narrow),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, num_classes, 3, padding=1),
        )
        self.apply(partial(_initialise, channels=channels))

    def forward(self, features: Sequence[Tensor], text: Tensor, mask: Tensor | None, size: Sequence[int]) -> Tensor:
        """Logits at a size.

        Args:
            features: one map (B, in_channels[i], h_i, w_i) per scale.
            text: token embeddings (B, L, D).
            mask: (B, L), True where a token may be seen; None: all of them.
            size: height and width of the logits.

        Returns:
            (B, num_classes, *size)
        """
        # Published: every map is upsampled, all are concatenated, then convolved.
        convolution: nn.Conv2d = self.classifier[0]  # type: ignore[assignment]
        assert convolution.bias is not None
        strips = self._strips(features, self.attention.read(text, mask), convolution.weight)
        height, width = size
        return self.classifier[1:](conv_of_upsampled(strips, convolution.bias, (height, width)))

    def _strips(
        self, features: Sequence[Tensor], attend: Callable[[Tensor], Tensor], kernel: Tensor
    ) -> Iterator[Strip]:
        """Attended maps, a few rows at a time: pixels do not depend on each other, and a CPU's caches are small."""
        for index, (scale, part) in enumerate(zip(features, kernel.chunk(len(features), dim=1), strict=True)):
            mixes = nine_mixes(part)
            batch, _, height, width = map(int, scale.shape)
            rows = max(1, _CACHED // (batch * width)) if scale.device.type == "cpu" else height
            project = self._projection(index)
            for top in range(0, height, rows):
                pixels = scale[:, :, top : top + rows].flatten(2).transpose(1, 2)
                yield Strip(attend(project(pixels)), mixes, width, height, top)

    def _projection(self, index: int) -> Callable[[Tensor], Tensor]:
        """Brings pixels (B, N, C_i) of a scale to the attention's width."""
        shared = self.shared[index - 1] if index else None
        convolution = self.project_later[shared] if shared else nn.Identity() if index else self.project_first
        if not isinstance(convolution, nn.Conv2d):
            return convolution
        weight, bias = convolution.weight.flatten(1), convolution.bias
        return lambda pixels: linear(pixels, weight, bias)


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

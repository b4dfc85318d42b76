"""What TextDiff is made of: whatever has this is an image backbone, a text encoder, or a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class ImageBackbone(Protocol):
    """Images to feature maps. An ``nn.Module``; ``tests/networks/test_interfaces.py`` is its contract.

    Attributes:
        identity: all that the features depend on besides the image, as JSON can hold it: checkpoints and caches know
            features by it.
    """

    identity: dict[str, Any]

    @property
    def out_channels(self) -> list[int]:
        """Channels of each feature map."""

    @property
    def divisor(self) -> int:
        """Image height and width must be multiples of this."""

    def __call__(self, image: Tensor) -> list[Tensor]:
        """One map (B, out_channels[i], h_i, w_i) per scale of images (B, C, H, W) in [-1, 1], on their device.

        Raises:
            ValueError: for another number of channels, or a size that is no multiple of ``divisor``.
        """


class SentenceEncoder(Protocol):
    """Sentences to token embeddings. An ``nn.Module``; ``tests/networks/test_interfaces.py`` is its contract.

    Attributes:
        identity: all that the embeddings depend on besides the sentence, as JSON can hold it.
    """

    identity: dict[str, Any]

    @property
    def out_channels(self) -> int:
        """Channels of a token's embedding."""

    def __call__(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, out_channels) of B sentences, and a bool mask (B, L), True where a token may be seen."""


class Head(Protocol):
    """Features and tokens to logits. An ``nn.Module``; ``tests/networks/test_interfaces.py`` is its contract.

    It is made with the channels of each feature map and of a token, the number of classes, and its options.

    Attributes:
        options: what makes it again, as JSON can hold it; the ``kind``, where it is not the paper's, among them.
    """

    options: dict[str, Any]

    def __call__(self, features: Sequence[Tensor], text: Tensor, mask: Tensor | None, image: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W) of images (B, 3, H, W).

        Args:
            features: the images' maps (B, C_i, h_i, w_i).
            text: tokens (B, L, D).
            mask: (B, L), True where a token may be seen; None: all of them.
            image: what the maps are of; a head that reads only these takes its size.
        """

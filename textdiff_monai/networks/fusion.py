"""A rival of the whole: a network of images that is given the sentence beside the pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import Tensor, nn

from textdiff_monai.networks.interfaces import SentenceEncoder
from textdiff_monai.networks.recipe import Recipe, encoders_options
from textdiff_monai.networks.tokens import tokens_of


class EarlyFusion(nn.Module):
    """The sentence, drawn as a few coarse maps, joins the image as channels; all but the text encoder is trained.

    What LViT (Li et al., IEEE TMI 43, 2024) does with tokens and patches, kept small: a linear layer makes of the mean
    of the tokens something else for each place, as a constant would not outlive the network's instance norm.

    Args:
        network: of images with 3 + ``maps`` channels, such as MONAI's ``UNet``.
        text_encoder: frozen.
        maps: how many.
        side: of the maps, before they are enlarged to the image.
        recipe: what checkpoints say of how pixels and words reach the network; the encoder is added to it.
    """

    def __init__(
        self,
        network: nn.Module,
        text_encoder: SentenceEncoder,
        maps: int = 8,
        side: int = 8,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__()
        self.recipe = recipe or Recipe()
        self.recipe.describe(**encoders_options(text_encoder=text_encoder))
        self.text_encoder, self.network = text_encoder, network
        self.draw = nn.Sequential(
            nn.Linear(text_encoder.out_channels, maps * side * side), nn.Unflatten(1, (maps, side, side))
        )

    def forward(self, image: Tensor, text: str | Sequence[str] | Tensor | None = None) -> Tensor:
        """Logits (B, num_classes, H, W) of images (B, 3, H, W), each read with its sentence.

        Args:
            image: float in [-1, 1]; H and W as the network takes them.
            text: as :class:`~textdiff_monai.TextDiff` takes it.

        Raises:
            ValueError: for texts that do not match the images in number.
        """
        image = image.as_tensor() if isinstance(image, MetaTensor) else image
        tokens, mask = tokens_of(self.text_encoder, text, len(image))
        seen = torch.ones_like(tokens[..., :1]) if mask is None else mask[..., None].to(tokens)
        sentence = ((tokens * seen).sum(1) / seen.sum(1)).to(image.device)
        maps = F.interpolate(self.draw(sentence), image.shape[-2:], mode="bilinear", align_corners=False)
        return self.network(torch.cat([image, maps.to(image)], dim=1))

"""Where several heads disagree, image by image, run as the masks are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.networks.utils import eval_mode
from torch import Tensor, nn

from textdiff_monai.engines.inferer import TextInferer
from textdiff_monai.networks.ensemble import HeadEnsemble, disagreement
from textdiff_monai.networks.textdiff import TextDiff


class Disagreement:
    """Maps of how far the heads of a network disagree; costs one more pass of the heads, and of what no cache keeps.

    Args:
        network: with several heads.
        inferer: that runs it.

    Raises:
        ValueError: for a network with a single head.
    """

    def __init__(self, network: nn.Module, inferer: TextInferer) -> None:
        if not isinstance(network, TextDiff) or not isinstance(network.head, HeadEnsemble):
            raise ValueError("disagreement needs several heads: train with --heads 5")
        self.network, self._plain = network, inferer.plain()

    @torch.no_grad()
    def __call__(self, images: Tensor, text: str | Sequence[str] | None = None) -> Tensor:
        """(B, H, W) or (B, H, W, slices) in [0, 1] of images and sentences as the inferer takes them.

        What :func:`~textdiff_monai.networks.ensemble.disagreement` says of the heads as trained; 0 in slices that the
        sentence is not about.
        """
        return self._plain(images, self._maps, text=text)[:, 1].as_subclass(Tensor)

    def _maps(self, image: Tensor, text: str | Sequence[str] | None = None) -> Tensor:
        """(B, 2, h, w): the inferer takes the first channel for the background."""
        with self.network.head.apart():
            apart = disagreement(self.network(image, text))
        return torch.stack([torch.zeros_like(apart), apart], dim=1)


class DisagreementMaps:
    """In an evaluation, puts ``disagreement``, (B, 1, H, W) or (B, 1, H, W, slices), into the evaluator's output.

    Args:
        network, inferer: that are evaluated; see :class:`Disagreement`.
    """

    def __init__(self, network: nn.Module, inferer: TextInferer) -> None:
        self.maps = Disagreement(network, inferer)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        with eval_mode(self.maps.network):
            output["disagreement"] = self.maps(output["image"], batch["text"])[:, None]

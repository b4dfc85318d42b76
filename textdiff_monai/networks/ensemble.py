"""Several heads on the same features: what they agree on is surer than what one says (Lakshminarayanan 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class HeadEnsemble(nn.ModuleList):
    """Heads that differ in the weights they began with, trained side by side; the prediction is their mean.

    Features and sentence are read once for all of them.

    Args:
        heads: of the same shape.
    """

    def __init__(self, heads: Sequence[Any]) -> None:
        super().__init__(heads)
        self.options, self._apart = heads[0].options, False

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Meanwhile each head's own logits are returned in use, too."""
        self._apart = True
        try:
            yield
        finally:
            self._apart = False

    def forward(
        self,
        features: Sequence[Tensor],
        text: Tensor,
        mask: Tensor | None,
        image: Tensor,
        compute: Callable[..., Tensor] = nn.Module.__call__,
    ) -> Tensor:
        """Logits as :class:`~textdiff_monai.SegmentationHead` has them.

        Args:
            features, text, mask, image: as a head takes them.
            compute: what gives a head's logits; called with it and these.

        Returns:
            (B, num_classes, H, W): logarithms of the heads' mean probabilities; in training, and :meth:`apart`, (B,
            heads, num_classes, H, W), each head's own logits, as :class:`EachHead` takes them.
        """
        each = torch.stack([compute(head, features, text, mask, image) for head in self], dim=1)
        return each if self.training or self._apart else each.log_softmax(2).logsumexp(1) - math.log(len(self))


def disagreement(logits: Tensor) -> Tensor:
    """How far heads disagree: the entropy of their mean less the mean of their entropies (Jensen-Shannon divergence).

    What is left of the uncertainty when that which each head admits itself is taken off, as in Baranchuk et al., ICLR
    2022.

    Args:
        logits: (B, heads, classes, H, W).

    Returns:
        (B, H, W) in [0, 1]: 0 where all say the same, 1 where they are sure, and divided evenly among the classes.
    """
    each = logits.float().log_softmax(2)
    mean = each.logsumexp(1) - math.log(each.shape[1])
    own = -(each.exp() * each).sum(2).mean(1)
    return ((-(mean.exp() * mean).sum(1) - own) / math.log(each.shape[2])).clamp(0, 1)


class EachHead(nn.Module):
    """A loss that each head of an ensemble has of its own, averaged; of a single head the loss itself.

    As Adam does not see the scale of a loss, the heads learn as if each were trained alone.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, prediction: Tensor, label: Tensor) -> Tensor:
        """prediction (B, classes, H, W) or (B, heads, classes, H, W), label (B, 1, H, W)."""
        if prediction.ndim == label.ndim:
            return self.loss(prediction, label)
        return torch.stack([self.loss(each, label) for each in prediction.unbind(1)]).mean()

"""Whether what a sentence asks for is there at all, as the mask itself tells it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric  # type: ignore[attr-defined, unused-ignore]
from torch import Tensor

from textdiff_monai.statistics.calibration import area_under_roc

_UNDER = 0.01  # by how much the logit of the background is above the others where a mask is left out


def presence(logits: Tensor) -> Tensor:
    """The mean probability of what is marked or, where nothing is, the highest of any pixel.

    Of the foreground as a whole. What is there is mostly marked surely, what is not at the edge of a guess.

    Args:
        logits: (classes, ...) of one item.

    Returns:
        A scalar in [0, 1].
    """
    foreground = 1 - logits.float().softmax(0)[0]
    marked = logits.argmax(0) > 0
    return foreground[marked].mean() if marked.any() else foreground.max()


def leave_out(logits: Tensor, least: float) -> Tensor:
    """Logits (classes, ...) that mark nothing where the presence is less than ``least``, else as they are."""
    return logits if presence(logits) >= least else unmarked(logits, _UNDER)


def unmarked(logits: Tensor, under: float) -> Tensor:
    """Logits (classes, ...) that mark nothing, in the same order: the background's raised above all by ``under``."""
    lead = (logits[1:].amax(0) - logits[0]).max().clamp(min=0)
    return torch.cat([logits[:1] + lead + under, logits[1:]])


class PresenceAUC(CumulativeIterationMetric):
    """Whether the presence tells items whose target is there from those where it is not.

    The area under the ROC curve, NaN where all are there, or none.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:  # type: ignore[override]
        """Logits (1, classes, ...) and one-hot truth; returns (1, 1, 2): the score, and whether it is there."""
        assert y is not None
        return torch.stack([presence(y_pred[0]), (y[:, 1:] > 0).any().float()]).reshape(1, 1, 2)

    def aggregate(self, reduction: Any = None) -> Tensor:
        """A scalar."""
        scores, present = np.asarray(self.get_buffer().cpu()).reshape(-1, 2).T  # type: ignore[union-attr]
        return torch.tensor(area_under_roc(scores, present > 0))

"""Metrics that MONAI does not have."""

from __future__ import annotations

from typing import Any

import torch
from monai.metrics import DiceMetric


class NonemptyDice(DiceMetric):
    """Mean Dice over the images whose target is not empty, as MONAI's ``ignore_empty`` has it.

    Where no image has a target MONAI gives 0; here the mean of nothing is NaN.

    Args:
        include_background: counts class 0.
    """

    def __init__(self, include_background: bool = True) -> None:
        super().__init__(include_background=include_background, ignore_empty=True)

    def aggregate(self, reduction: Any = None) -> torch.Tensor:
        """A scalar; of several classes each image gives the mean of those that it has."""
        return self.get_buffer().nanmean(dim=1).nanmean()  # type: ignore[union-attr]

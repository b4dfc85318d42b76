"""Metrics that MONAI does not have."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor
from monai.metrics import (  # type: ignore[attr-defined, unused-ignore]
    CumulativeIterationMetric,
    DiceMetric,
    compute_average_surface_distance,
    compute_dice,
)
from torch import Tensor


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


class _OfEach(CumulativeIterationMetric):
    """A figure for each class of each item, of which those that are there are averaged."""

    def aggregate(self, reduction: Any = None) -> Tensor:
        """A scalar, as :meth:`NonemptyDice.aggregate` has it."""
        return self.get_buffer().nanmean(dim=1).nanmean()  # type: ignore[union-attr]


class SliceDice(_OfEach):
    """Dice of volumes slice by slice: the mean over the slices that have a target or in which something is found.

    The other convention, over all voxels of a volume at once, is :class:`monai.metrics.DiceMetric`'s; there a slice
    counts by its size. A volume without any such slice is NaN.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:  # type: ignore[override]
        """One-hot (1, classes, H, W, slices), or an image without slices; returns (1, classes - 1)."""
        assert y is not None
        found, truth = (each if each.ndim == 5 else each[..., None] for each in (y_pred, y))
        found, truth = (each[0].moveaxis(-1, 0) for each in (found, truth))
        dice = compute_dice(found, truth, include_background=False, ignore_empty=False)
        anything = (found + truth)[:, 1:].flatten(2).any(dim=-1)
        return torch.where(anything, dice, torch.nan).nanmean(dim=0, keepdim=True)


class MeanDisagreement(_OfEach):
    """How far heads disagree about what is marked, on average over its pixels; NaN where nothing is marked."""

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:  # type: ignore[override]
        """One-hot (1, classes, ...) and the disagreement (1, 1, ...); returns (1, 1)."""
        assert y is not None
        return y[:, 0][y_pred[:, 0] == 0].mean().reshape(1, 1)


class SurfaceDistance(_OfEach):
    """Mean distance between the surfaces of what is found and of the target, both ways, in millimetres.

    NaN where one of the two is empty, or where nobody knows how long a pixel is.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:  # type: ignore[override]
        """One-hot (1, classes, H, W) or (1, classes, H, W, slices), y with its metadata; returns (1, classes - 1)."""
        assert y is not None
        spacing = _spacing(y)
        if spacing is None:
            return torch.full((1, y.shape[1] - 1), torch.nan)
        plain = [each.as_tensor() if isinstance(each, MetaTensor) else each for each in (y_pred, y)]
        some = (plain[0].flatten(2).any(-1) & plain[1].flatten(2).any(-1))[:, 1:].cpu()
        distance = torch.full(some.shape, torch.nan)
        for index in (int(one) for one in some[0].nonzero()):
            found, truth = (each[:, index + 1 : index + 2] for each in plain)
            both = compute_average_surface_distance(found, truth, True, symmetric=True, spacing=spacing)
            distance[0, index] = both[0, 0].cpu()
        return distance


def _spacing(image: Tensor) -> list[float] | None:
    """Millimetres between rows, columns and slices, where the metadata know them."""
    meta = image.meta if isinstance(image, MetaTensor) else {}
    if not bool(meta.get("measured", False)):
        return None
    steps = torch.as_tensor(meta["affine"], dtype=torch.float64)[..., :3, :3].reshape(3, 3).norm(dim=0)
    return steps[: image.ndim - 2].tolist()

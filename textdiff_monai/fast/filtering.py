"""Minimal filtering: 3x3 convolutions by fewer products than pixels times taps."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Filtering(NamedTuple):
    """How a tile of outputs comes from products of transformed inputs with transformed weights.

    Attributes:
        tile: pixels of an output tile's side.
        step: pixels of the input from one patch to the next; patches overlap by 2.
        patches: (P, patch pixels) makes a patch's P values.
        weights: (P, 9) makes the P values of a 3x3 kernel.
        products: (tile pixels, P) makes the outputs of the products of both.
    """

    tile: int
    step: int
    patches: Tensor
    weights: Tensor
    products: Tensor

    @classmethod
    def of_lines(cls, step: int, patches: Tensor, weights: Tensor, products: Tensor) -> Filtering:
        """From the matrices of one axis."""
        both = (torch.kron(matrix, matrix).float() for matrix in (patches, weights, products))
        return cls(len(products), step, *both)


def _winograd(tile: int, points: list[float]) -> Filtering:
    """F(tile x tile, 3x3): Cook and Toom's products at tile + 1 points and infinity."""
    places = torch.tensor(points, dtype=torch.float64)

    def powers(count: int) -> Tensor:
        infinity = torch.eye(count, dtype=torch.float64)[-1:]
        return torch.cat([torch.vander(places, count, increasing=True), infinity])

    patches = torch.linalg.inv(powers(tile + 2)).T
    least = patches.abs().where(patches.abs() > 1e-9, math.inf).amin(dim=1, keepdim=True)
    # The weights take what bfloat16 could not hold exactly.
    return Filtering.of_lines(tile, (patches / least).round(decimals=6), powers(3) * least, powers(tile).T)


def _doubled() -> Filtering:
    """For an input of which every pixel counts twice along both axes: 2.25 products for an output, none of them large.

    Of pixels a, b, c the middle one makes the outputs v a + (w + x) b and (v + w) b + x c for the kernel (v, w, x).
    """
    patches = [[-1, 1, 0], [0, 1, 0], [0, -1, 1]]
    weights = [[-1, 0, 0], [1, 1, 1], [0, 0, 1]]
    products = [[1, 1, 0], [0, 1, 1]]
    return Filtering.of_lines(1, *(torch.tensor(matrix) for matrix in (patches, weights, products)))


# F(m x m, 3x3), Lavin & Gray 2015, arXiv 1509.09308.
WINOGRAD_4X4, WINOGRAD_2X2 = _winograd(4, [0, 1, -1, 0.5, -2]), _winograd(2, [0, 1, -1])
DOUBLED = _doubled()

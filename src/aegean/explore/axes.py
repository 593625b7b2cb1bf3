"""Directions through code space, and places on a map of it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: Directions that a person gets a slider for.
MOST_AXES = 8
#: What is left free beside the outermost codes, as a share of their range.
MARGIN = 0.06


@dataclass(frozen=True)
class Axes:
    """Directions that codes are moved along; the first two span the map.

    Attributes:
        origin: (d,), the code whose value is 0 along all directions.
        directions: (k, d), orthonormal.
        names: of the k directions.
        low: the least value along each that a person may choose, (k,).
        high: the greatest, (k,).
        share: of the codes' variance that lies in the map, in [0, 1].
    """

    origin: Tensor
    directions: Tensor
    names: tuple[str, ...]
    low: Tensor
    high: Tensor
    share: float

    def values(self, z: Tensor) -> Tensor:
        """Return where codes (n, d) stand along the directions, (n, k)."""
        return (z - self.origin) @ self.directions.T


def find_axes(z: Tensor, free: Tensor, principal: bool, most: int = MOST_AXES) -> Axes:
    """Return the coordinates of codes, or their principal components where those are more than a map has.

    Args:
        z: codes, (n, d), two or more.
        free: which coordinates may be moved along (the others are categories), boolean (d,).
        principal: whether directions may be sought; codes that were drawn from a prior have none.
        most: how many directions at most.
    """
    indices = torch.nonzero(free).flatten()
    d = z.shape[1]
    share = 1.0
    if principal and len(indices) > 2:
        origin = torch.where(free, z.mean(dim=0), 0.0)
        # The right singular vectors are the components, by decreasing variance.
        _, singular, vectors = torch.linalg.svd((z - origin)[:, indices], full_matrices=False)
        vectors, variance = vectors[:most], singular.square()
        share = float(variance[:2].sum() / variance.sum().clamp(min=1e-12))
        # The sign of a component means nothing: its largest coordinate is positive, so that it is always the same.
        largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
        directions = torch.zeros(len(vectors), d)
        directions[:, indices] = vectors * largest.sign()
        names = tuple(f"component {k + 1}" for k in range(len(directions)))
    else:
        origin = torch.zeros(d)
        directions = torch.eye(d)[indices[:most]]
        names = tuple(f"z{k + 1}" for k in range(len(directions)))
    values = (z - origin) @ directions.T
    low, high = values.min(dim=0).values, values.max(dim=0).values
    room = MARGIN * (high - low) + 1e-3  # a code that never changes can still be moved a little
    return Axes(origin, directions, names, low - room, high + room, share)


def corners(categories: int) -> Tensor:
    """Return the corners of a regular polygon around the origin, (k, 2), the first at the top, clockwise."""
    angles = math.pi / 2 - 2 * math.pi * torch.arange(categories) / categories
    return torch.stack((angles.cos(), angles.sin()), dim=1)


def neighbours(z: Tensor, index: int, k: int) -> tuple[Tensor, Tensor]:
    """Return the indices and Euclidean distances of the k codes nearest to one of them, itself left out.

    Args:
        z: (n, d).
        index: of the code.
        k: how many; fewer where there are no more.

    Returns:
        int64 and float32, each (min(k, n - 1),), the nearest first.
    """
    distances = (z - z[index]).norm(dim=1)
    distances[index] = torch.inf
    found = distances.topk(min(k, len(z) - 1), largest=False)
    return found.indices, found.values

"""Which image of a set is nearest to another, pixel by pixel."""

import torch
from torch import Tensor

from aegean.data.images import as_float


def nearest(x: Tensor, images: Tensor, block: int = 5000) -> Tensor:
    """Find the nearest image, in Euclidean distance of pixels.

    Args:
        x: float32 in [0, 1], (n, c, h, w).
        images: uint8, (m, c, h, w), at least one.
        block: images at a time.

    Returns:
        Its index for each x, int64 (n,); the first of several equally near ones.
    """
    wanted = x.flatten(1)
    least, index = torch.full((len(x),), torch.inf), torch.zeros(len(x), dtype=torch.int64)
    for start in range(0, len(images), block):
        part = as_float(images[start : start + block]).flatten(1)
        # |a - b|² less |a|², which is the same for all b.
        distance, position = (part.square().sum(dim=1) - 2 * wanted @ part.T).min(dim=1)
        nearer = distance < least
        least = torch.where(nearer, distance, least)
        index = torch.where(nearer, start + position, index)
    return index


def distance_to_nearest(x: Tensor, images: Tensor) -> Tensor:
    """Return the Euclidean distance of each x to the nearest image, (n,); arguments as for `nearest`."""
    distance: Tensor = (x - as_float(images[nearest(x, images)])).flatten(1).norm(dim=1)
    return distance

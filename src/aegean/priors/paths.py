"""Ways from one code to another that stay where the prior has put codes."""

import torch
from torch import Tensor

from aegean.priors.base import Prior
from aegean.priors.gaussian import Gaussian
from aegean.priors.product import parts_of


def path(prior: Prior | None, start: Tensor, end: Tensor, n: int) -> Tensor:
    """Return codes at equal steps from one code to another.

    Under N(0, I) in d dimensions nearly all codes have a length near sqrt(d), and the middle of the straight line
    between two of them has only 1 / sqrt(2) of it: no code that the decoder has learned from. So coordinates with a
    Gaussian prior of three dimensions or more turn from one direction to the other, while their length grows evenly
    (White, 2016, Sampling Generative Networks). In the plane the prior is densest in the middle, and the other priors
    have no such shell (a step along the line between two categories is a mixture of both): there the way is straight.

    Args:
        prior: p(z); None for a straight way in all coordinates.
        start: the first code, (d,).
        end: the last one, (d,).
        n: how many codes, both ends among them; 1 is the start alone.

    Returns:
        (n, d).
    """
    share = torch.linspace(0, 1, n)[:, None]
    codes = torch.lerp(start.expand(n, -1), end.expand(n, -1), share)
    for part, where in parts_of(prior) if prior is not None else ():
        if isinstance(part, Gaussian) and part.dim > 2:
            codes[:, where] = _turn(start[where], end[where], share)
    return codes


def _turn(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation of directions, linear of lengths; straight where no direction is between the two."""
    lengths = torch.stack((start.norm(), end.norm()))
    cosine = torch.dot(start, end) / lengths.prod()
    angle = cosine.clamp(-1, 1).acos()
    straight = torch.lerp(start.expand(len(share), -1), end.expand(len(share), -1), share)
    if not angle.sin() > 1e-3:  # the same direction, opposite ones, or (not a number) a code of length 0
        return straight
    directions = (
        ((1 - share) * angle).sin() * start / lengths[0] + (share * angle).sin() * end / lengths[1]
    ) / angle.sin()
    return torch.lerp(lengths[0], lengths[1], share) * directions

"""A swiss roll."""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from aegean.config import Config
from aegean.priors.base import Device, Positive, Prior, drawn_components, rotate


class SwissRoll(Prior, Config):
    """A Gaussian whose mean is uniform along the length of a spiral that starts at the origin.

    The swiss roll of "Adversarial Autoencoders" (Makhzani et al., 2015), section 3.1 and figure 4c. Of
    K components, label i chooses the i-th K-th of the spiral's length, counted from the centre.

    Attributes:
        components: into how many parts of equal length labels divide the roll.
        turns: how often the (Archimedean) spiral goes round.
        radius: the distance of its outer end from the origin.
        std: the standard deviation of the Gaussian around it.
    """

    dim: ClassVar[int] = 2

    kind: Literal["swiss_roll"] = "swiss_roll"
    components: int = Field(default=10, ge=1)
    turns: Positive = 2.0
    radius: Positive = 3.0
    std: Positive = 0.1

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`."""
        component = drawn_components(self.components, n, labels, generator, device)
        share = (component + torch.rand(n, generator=generator, device=device)) / self.components
        return self._axis(share) + self.std * torch.randn(n, 2, generator=generator, device=device)

    def walk(self, n: int) -> Tensor:
        """Return steps along the roll's axis, from the centre outwards, as in figure 4d of the paper.

        Args:
            n: how many; step i is at (i + 1/2) / n of the spiral's length.

        Returns:
            z, float32 `(n, 2)`, without the roll's thickness.
        """
        return self._axis((torch.arange(n) + 0.5) / n)

    def _axis(self, share: Tensor) -> Tensor:
        """Return the points of the spiral, (n, 2), at shares of its length, (n,)."""
        angle = _spiral_angle(share, 2 * math.pi * self.turns)
        point = torch.zeros(len(share), 2, device=share.device)
        point[:, 0] = self.radius / (2 * math.pi * self.turns) * angle
        return rotate(point, angle)


def _spiral_angle(share: Tensor, end: float) -> Tensor:
    """Return the angle at which an Archimedean spiral from 0 to `end` has covered a share of its length.

    The length of r = θ up to θ is (θ sqrt(1 + θ²) + asinh θ) / 2. It is convex and at least θ²/2, so that
    Newton's method comes down to the solution from sqrt(2 length); six steps reach float32 precision.
    """
    length = share * (end * math.hypot(1.0, end) + math.asinh(end)) / 2
    angle = (2 * length).sqrt()
    for _ in range(6):
        slope = (1 + angle.square()).sqrt()
        angle = angle - ((angle * slope + angle.asinh()) / 2 - length) / slope
    return angle

"""Points in the plane, made when they are asked for: the toys on which papers show what a distribution does."""

import math
from typing import Literal

import torch
from pydantic import Field

from aegean.data.images import from_arrays
from aegean.data.splits import HeldOut, Splits, SplitSettings

#: Coordinates are in [0, 1], and the ring is around this point.
CENTRE = 0.5


class Points(SplitSettings):
    """Equally weighted Gaussians on a ring, or, with standard deviation 0, as many single points.

    A point is an image of shape (2, 1, 1), its label the Gaussian that it is drawn from. Coordinates are kept to 1/255.

    Attributes:
        points: how many there are; the same ones for every seed.
        modes: Gaussians, at equal angles from the right of the ring counterclockwise.
        radius: of the ring, whose centre is (0.5, 0.5).
        std: standard deviation of each Gaussian, in both coordinates.
        test: points held out for the final judgement: how many, or a share of all, rounded up.
    """

    kind: Literal["points"] = "points"
    points: int = Field(default=10_000, ge=2, le=10_000_000)
    modes: int = Field(default=8, ge=1, le=1000)
    radius: float = Field(default=0.35, gt=0, le=0.5)
    std: float = Field(default=0.02, ge=0)
    test: HeldOut = 0.2

    def load(self) -> Splits:
        """Draw and split; see `SplitSettings.split`. Points outside the square [0, 1]² are moved to its edge."""
        angles = 2 * math.pi / self.modes * torch.arange(self.modes)
        centres = CENTRE + self.radius * torch.stack((angles.cos(), angles.sin()), dim=1)  # (modes, 2)
        mode = torch.arange(self.points) % self.modes
        noise = torch.randn(self.points, 2, generator=torch.Generator().manual_seed(0))
        x = (centres[mode] + self.std * noise).clamp(0, 1)
        names = [str(k) for k in range(self.modes)]
        return self.split(from_arrays(x[:, :, None, None], mode, names, layout="nchw"), source="points")

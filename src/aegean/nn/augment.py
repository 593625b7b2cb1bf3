"""Random small changes of images, and of vectors, that leave what they show as it is."""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from aegean.config import Config
from aegean.processes import all_rows


class Affine(Config):
    """A random rotation, scale, shear and shift of each image; what comes in from outside is 0.

    Each quantity is uniform between minus its setting and its setting, independently for each image.

    Attributes:
        rotation: degrees.
        scale: share; 0.1 is a factor between 0.9 and 1.1, for height and width alike.
        shear: horizontal, degrees.
        shift: share of height and width.
        stretch: share by which height and width are scaled apart from each other.
    """

    rotation: float = Field(default=15.0, ge=0, le=180)
    scale: float = Field(default=0.1, ge=0, lt=1)
    shear: float = Field(default=15.0, ge=0, lt=80)
    shift: float = Field(default=0.1, ge=0, le=1)
    stretch: float = Field(default=0.0, ge=0, lt=1)

    def apply(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return changed images, (n, c, h, w) to (n, c, h, w), with bilinear interpolation.

        Args:
            x: float32 in [0, 1].
            generator: what to draw from, on the device of `x`.
        """
        draws = 2 * torch.rand(6, len(x), generator=generator, device=x.device) - 1  # (6, n)
        angle = math.radians(self.rotation) * draws[0]
        slant = (math.radians(self.shear) * draws[1]).tan()
        across, down = (1 + self.scale * draws[2]) * torch.stack(
            (1 + self.stretch * draws[3], 1 - self.stretch * draws[3])
        )
        shift = 2 * self.shift * draws[4:]  # the grid spans [-1, 1]
        cos, sin = angle.cos(), angle.sin()
        # Where each new pixel comes from: R(angle) · shear · scale, on a grid whose aspect is undone for the rotation.
        aspect = x.shape[2] / x.shape[3]
        rows = (
            torch.stack((cos * across, (slant * cos - sin) * down * aspect, shift[0]), dim=1),
            torch.stack((sin * across / aspect, (slant * sin + cos) * down, shift[1]), dim=1),
        )
        grid = F.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


class Jitter(Config):
    """A small random change of each feature of a vector, where shifts and rotations mean nothing.

    Attributes:
        noise: standard deviation of Gaussian noise on each feature.
        swap: share of features that are taken from another vector of the mini-batch, as in SCARF (Bahri et al., 2022).
    """

    noise: float = Field(default=0.05, ge=0, le=1)
    swap: float = Field(default=0.0, ge=0, lt=1)

    def apply(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return changed vectors, (n, d, 1, 1) to (n, d, 1, 1).

        Args:
            x: float32 in [0, 1].
            generator: what to draw from, on the device of `x`.
        """
        changed = x + self.noise * torch.randn(x.shape, generator=generator, device=x.device)
        if not self.swap:
            return changed
        others = all_rows(changed)[torch.randperm(len(x), generator=generator, device=x.device)]
        taken = torch.rand(x.shape, generator=generator, device=x.device) < self.swap
        return torch.where(taken, others, changed)

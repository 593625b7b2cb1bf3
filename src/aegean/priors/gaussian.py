"""An isotropic Gaussian, and a ring of Gaussians."""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from aegean.config import Config
from aegean.errors import ConfigError
from aegean.priors.base import (
    Device,
    Positive,
    Prior,
    drawn_components,
    log_standard_normal,
    refuse_labels,
    rotate,
    standard_percentiles,
)


class Gaussian(Prior, Config):
    """Isotropic Gaussian N(0, std² I)."""

    components: ClassVar[None] = None

    kind: Literal["gaussian"] = "gaussian"
    dim: int = Field(ge=1)
    std: Positive = 1.0

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`."""
        refuse_labels(self, labels)
        return self.std * torch.randn(n, self.dim, generator=generator, device=device)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, `(n,)`."""
        return log_standard_normal(z.float() / self.std) - self.dim * math.log(self.std)

    def percentiles(self, n: int) -> Tensor:
        """Return codes at equally spaced percentiles of both coordinates, as in figure 2e of the paper.

        Args:
            n: how many along each coordinate; their percentiles are (i + 1/2) / n.

        Returns:
            z, float32 `(n * n, 2)`, row by row from the top: the first coordinate grows rightwards, the second
            upwards.

        Raises:
            UnsupportedError: the prior has not two coordinates.
        """
        return self.std * standard_percentiles(self, n)


class GaussianMixture(Prior, Config):
    """Equally likely Gaussians around a ring, elongated along its radius like the petals of a flower.

    The mixture of ten 2-D Gaussians of "Adversarial Autoencoders" (Makhzani et al., 2015), figures 2b and 4a.
    The paper gives no sizes; the defaults give each coordinate a variance near 1. Coordinates after the
    second, if any, are centred and as narrow as the tangential direction.

    Attributes:
        components: the number of Gaussians; label i chooses the one at angle 2πi / components.
        dim: the number of coordinates, 2 or more.
        radius: the distance of the means from the origin.
        radial_std: the standard deviation along the radius.
        tangential_std: the standard deviation across it.
    """

    kind: Literal["gaussian_mixture"] = "gaussian_mixture"
    components: int = Field(default=10, ge=1)
    dim: int = Field(default=2, ge=2)
    radius: Positive = 1.4
    radial_std: Positive = 0.5
    tangential_std: Positive = 0.1

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`."""
        component = drawn_components(self.components, n, labels, generator, device)
        return self._place(torch.randn(n, self.dim, generator=generator, device=device), component)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, `(n,)`."""
        angles = -2 * math.pi / self.components * torch.arange(self.components, device=z.device)
        unrotated = rotate(z.float()[:, None], angles)  # (n, components, dim)
        radial = (unrotated[..., :1] - self.radius) / self.radial_std
        standard = torch.cat([radial, unrotated[..., 1:] / self.tangential_std], dim=-1)
        log_volume = math.log(self.radial_std) + (self.dim - 1) * math.log(self.tangential_std)
        return log_standard_normal(standard).logsumexp(dim=1) - math.log(self.components) - log_volume

    def percentiles(self, n: int, component: int) -> Tensor:
        """Return codes at equally spaced percentiles along both axes of a component, as in figure 4b of the paper.

        Args:
            n: how many along each axis; their percentiles are (i + 1/2) / n.
            component: whose axes.

        Returns:
            z, float32 `(n * n, 2)`, row by row from the top: the radial coordinate grows rightwards, the tangential
            one (counterclockwise around the origin) upwards.

        Raises:
            UnsupportedError: the prior has not two coordinates.
            ConfigError: there is no such component.
        """
        if not 0 <= component < self.components:
            raise ConfigError(f"Component {component}: the mixture has the components 0 to {self.components - 1}.")
        return self._place(standard_percentiles(self, n), torch.tensor(component))

    def _place(self, standard: Tensor, component: Tensor) -> Tensor:
        """Move values of N(0, I), (n, dim), to components, (n,) or ()."""
        radial = self.radius + self.radial_std * standard[:, :1]
        unrotated = torch.cat([radial, self.tangential_std * standard[:, 1:]], dim=1)
        return rotate(unrotated, 2 * math.pi / self.components * component)

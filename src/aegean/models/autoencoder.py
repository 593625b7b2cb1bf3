"""What models with a decoder of independent pixels have in common: p(z), p(x|z), and their use."""

import torch
from torch import Tensor, nn

from aegean.likelihoods import Likelihood
from aegean.models.base import Model
from aegean.priors import Prior


class Autoencoder(Model):
    """A prior p(z), and p(x|z) as a likelihood whose parameters a network makes of z at once.

    A subclass sets the three attributes below and defines `encode` and its phases.

    Attributes:
        prior: p(z).
        likelihood: p(x|z).
        decoder: from codes (n, d) to the likelihood's parameters (n, outputs, h, w).
    """

    prior: Prior
    likelihood: Likelihood
    decoder: nn.Module

    def draw_code(self, x: Tensor) -> Tensor:
        """Return codes with the noise that they have under q(z|x), (n, c, h, w) to (n, d); without any by default."""
        return self.encode(x)

    def decode(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the means of p(x|z), clipped to [0, 1], which linear means can leave."""
        return self.likelihood.mean(self.decoder(z).float()).clamp(0.0, 1.0)

    def sample(self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Decode draws of the prior; `y` chooses its components, where it has them."""
        return self.decode(self.prior.sample(n, labels=y, generator=generator).to(self.device), generator)

    def conditional_log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) of images (n, c, h, w) and codes (n, d), (n,) nats."""
        return self.likelihood.log_prob(self.decoder(z), x)

    def reconstruction_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x | code of x), (n,) nats."""
        return self.conditional_log_prob(x, self.encode(x))

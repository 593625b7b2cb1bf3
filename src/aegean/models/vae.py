"""The variational autoencoder (Kingma and Welling, 2014)."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from aegean.config import Config
from aegean.data.stream import Batch
from aegean.errors import ConfigError, UnsupportedError
from aegean.likelihoods import Bernoulli, LikelihoodConfig
from aegean.models.autoencoder import Autoencoder
from aegean.models.base import Phase, Shape
from aegean.models.code import ready_prior
from aegean.nn import DecoderConfig, EncoderConfig, MLPConfig
from aegean.priors import Gaussian, PriorConfig


class VAEConfig(Config):
    """Parts of a variational autoencoder.

    Attributes:
        prior: p(z); any with a density. The KL term is exact for N(0, I), else estimated with the one sample of z.
        encoder: network of the posterior's mean and log-variance.
        decoder: network of the likelihood's parameters.
        likelihood: p(x | z).
        beta: weight of the KL term (1 is the evidence lower bound).
    """

    kind: Literal["vae"] = "vae"
    prior: PriorConfig = Gaussian(dim=8)
    encoder: EncoderConfig = MLPConfig()
    decoder: DecoderConfig = MLPConfig()
    likelihood: LikelihoodConfig = Bernoulli()
    beta: float = Field(default=1.0, ge=0)


class VAE(Autoencoder):
    """max  E_q(z|x) log p(x|z) - KL(q(z|x) || p(z)),  with q(z|x) = N(mean(x), diag exp(log_variance(x)))."""

    kind = "vae"
    config_class = VAEConfig
    config: VAEConfig

    def __init__(self, config: VAEConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__(config, shape, classes)
        channels, height, width = shape
        self.prior = ready_prior(config.prior)
        try:
            self.prior.log_prob(torch.zeros(1, self.prior.dim))
        except UnsupportedError as error:
            raise ConfigError(f"A VAE needs the prior's density. {error} Choose another prior, or an AAE.") from None
        self.likelihood = config.likelihood
        self.encoder = config.encoder.build_encoder(shape, 2 * self.prior.dim)
        self.decoder = config.decoder.build_decoder(self.prior.dim, (self.likelihood.outputs(channels), height, width))

    def phases(self) -> tuple[Phase, ...]:
        """One phase: the negative evidence lower bound."""
        return (Phase("elbo", self.negative_elbo, updates=(self.encoder, self.decoder)),)

    def negative_elbo(self, batch: Batch) -> Tensor:
        """Equation 10 of the paper, negated, with one sample of z; (n,) nats."""
        mean, log_variance = self.posterior(batch.x)  # each (n, d)
        z = draw(mean, log_variance, self.rng)
        reconstruction = -self.likelihood.log_prob(self.decoder(z), batch.x)  # (n,)
        if self.prior == Gaussian(dim=self.prior.dim):
            divergence = kl_to_standard_normal(mean, log_variance)  # (n,)
        else:
            divergence = log_normal(z, mean, log_variance) - self.prior.log_prob(z)  # (n,)
        self.observe(reconstruction=reconstruction.mean(), kl=divergence.mean())
        return reconstruction + self.config.beta * divergence

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x), each (n, d)."""
        mean, log_variance = self.encoder(x).float().chunk(2, dim=1)
        return mean, log_variance

    def draw_code(self, x: Tensor) -> Tensor:
        """Sample z ~ q(z|x), (n, c, h, w) to (n, d)."""
        return draw(*self.posterior(x), self.rng)

    def encode(self, x: Tensor) -> Tensor:
        """Return the posterior means, (n, d)."""
        return self.posterior(x)[0]


def draw(mean: Tensor, log_variance: Tensor, generator: torch.Generator | None) -> Tensor:
    """Reparametrised sample of N(mean, diag exp(log_variance)), (n, d)."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    return mean + (0.5 * log_variance).exp() * noise


def log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density of N(mean, diag exp(log_variance)) at z in nats, each (n, d); returns (n,)."""
    squared = (z - mean).square() * (-log_variance).exp()
    return -0.5 * (squared + log_variance + math.log(2 * math.pi)).sum(dim=1)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag exp(log_variance)) || N(0, I)) in nats, (n, d) to (n,); appendix B of the paper."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)

"""The PixelCNN alone, without a code (van den Oord et al., 2016): what the PixelGAN autoencoder is compared with."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor

from aegean.config import Config
from aegean.data.stream import Batch
from aegean.errors import UnsupportedError
from aegean.likelihoods import Bernoulli, LikelihoodConfig
from aegean.models.base import Model, Phase, Shape
from aegean.models.completion import complete
from aegean.nn import PixelCNNConfig
from aegean.nn.pixelcnn_sampling import sample as sample_pixels


class PixelCNNModelConfig(Config):
    """Parts of a PixelCNN.

    Attributes:
        network: the PixelCNN; without a code there is nothing to condition on.
        likelihood: p(pixel | pixels before).
    """

    kind: Literal["pixelcnn"] = "pixelcnn"
    network: PixelCNNConfig = PixelCNNConfig()
    likelihood: LikelihoodConfig = Bernoulli()

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "PixelCNNModelConfig":
        conditioning = self.network.conditioning
        if conditioning != PixelCNNConfig.model_fields["conditioning"].default:
            raise ValueError(
                f"network.conditioning is {conditioning!r}, but there is no code to condition on; leave it out."
            )
        return self


class PixelCNNModel(Model):
    """max  E log p(x),  log p(x) = sum over pixels of log p(x_i | x_1, ..., x_{i-1})."""

    kind = "pixelcnn"
    config_class = PixelCNNModelConfig
    config: PixelCNNModelConfig

    def __init__(self, config: PixelCNNModelConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__(config, shape, classes)
        self.likelihood = config.likelihood
        self.network = config.network.build(0, shape, self.likelihood.outputs(shape[0]))

    def phases(self) -> tuple[Phase, ...]:
        """One phase: the negative log-likelihood."""
        return (Phase("reconstruct", self.negative_log_likelihood, updates=(self.network,)),)

    def negative_log_likelihood(self, batch: Batch) -> Tensor:
        """-log p(x), (n,) nats; exact."""
        return -self.reconstruction_log_prob(batch.x)

    def reconstruction_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x), (n,) nats."""
        return self.likelihood.log_prob(self.network(x), x)

    def sample(self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw images pixel by pixel, in float32: rounding would add up over the pixels."""
        if y is not None:
            raise UnsupportedError("A PixelCNN without a code has no classes to draw from.")
        with torch.autocast(self.device.type, enabled=False):
            return sample_pixels(self.network, self.likelihood, None, n, self.shape, generator=generator)

    def complete(
        self,
        x: Tensor,
        known: Tensor,
        generator: torch.Generator | None = None,
        candidates: int = 100,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Draw the unknown pixels from p(x | known pixels); see `complete`."""
        with torch.autocast(self.device.type, enabled=False):
            return complete(
                self.network, self.likelihood, None, x, known,
                candidates=candidates, generator=generator, progress=progress,
            )  # fmt: skip

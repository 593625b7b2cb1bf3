"""The adversarial autoencoder (Makhzani, Shlens, Jaitly, Goodfellow and Frey, 2015)."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from aegean.adversary import Adversary
from aegean.config import Config
from aegean.data.stream import Batch
from aegean.errors import ConfigError
from aegean.likelihoods import GaussianLikelihood, LikelihoodConfig
from aegean.models.autoencoder import Autoencoder
from aegean.models.base import Group, Phase, Shape
from aegean.models.code import (
    check_network,
    check_paired,
    check_r1,
    code_game,
    confusion_loss,
    discriminator_loss,
    has_batch_norm,
    label_switch,
    ready_prior,
)
from aegean.models.vae import draw
from aegean.nn import DecoderConfig, EncoderConfig, MLPConfig
from aegean.nn.noise import Dropout, GaussianNoise
from aegean.priors import Gaussian, PriorConfig


class AAEConfig(Config):
    """Parts of an adversarial autoencoder.

    Attributes:
        prior: p(z), which the aggregated posterior is trained to match; anything that can be sampled.
        posterior: q(z|x): `"deterministic"` z = f(x); `"gaussian"` N(mean(x), variance(x)); `"universal"` z = f(x, n)
            with `noise` further inputs drawn from N(0, I).
        noise: dimension of n, for the universal approximator posterior alone.
        encoder: network of the posterior.
        decoder: network of the likelihood's parameters.
        discriminator: network on codes.
        label_aware: tell the discriminator the label, or that there is none (section 3.1): labelled images are matched
            to the component of the prior that has their class's number, unlabelled ones to the whole prior.
        paired: play the game on labelled images once more, in mini-batches of their own; a few among many unlabelled
            ones would hardly be seen (PixelGAN autoencoders, section 4).
        likelihood: p(x | z); a Gaussian of standard deviation 1 is half the squared error.
        adversary: losses of the regularization phase.
        input_noise: standard deviation of noise added to the encoder's input in training.
        input_dropout: share of the encoder's inputs set to 0 in training.
    """

    kind: Literal["aae"] = "aae"
    prior: PriorConfig = Gaussian(dim=8, std=5.0)
    posterior: Literal["deterministic", "gaussian", "universal"] = "deterministic"
    noise: int = Field(default=0, ge=0)
    encoder: EncoderConfig = MLPConfig(widths=(1000, 1000))
    decoder: DecoderConfig = MLPConfig(widths=(1000, 1000))
    discriminator: MLPConfig = MLPConfig(widths=(1000, 1000))
    label_aware: bool = False
    paired: bool = False
    likelihood: LikelihoodConfig = GaussianLikelihood()
    adversary: Adversary = Adversary()
    input_noise: float = Field(default=0.0, ge=0)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _noise_belongs_to_universal(self) -> "AAEConfig":
        if (self.posterior == "universal") != (self.noise > 0):
            raise ValueError(
                f"posterior {self.posterior!r} with noise {self.noise}: the universal approximator posterior needs "
                "noise of dimension 1 or more, the others take none."
            )
        check_paired(self)
        return self


class AAE(Autoencoder):
    """An autoencoder whose aggregated posterior q(z) is matched to a prior p(z) by an adversary on the codes.

    ::

    Reconstruction phase:    max over encoder, decoder   E log p(x | z),  z ~ q(z|x)
    Regularization phase:    max over discriminator      E_p(z) log D(z) + E_q(z) log (1 - D(z))
                             max over encoder            E_q(z) log D(z)
    """

    kind = "aae"
    config_class = AAEConfig
    config: AAEConfig

    def __init__(
        self,
        config: AAEConfig,
        shape: Shape,
        classes: int = 0,
        *,
        prior: object | None = None,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        discriminator: nn.Module | None = None,
    ) -> None:
        super().__init__(config, shape, classes)
        channels, height, width = shape
        if config.label_aware and not classes:
            raise ConfigError("model.label_aware=true needs labels, and the data has none; give some, or set it false.")
        self.prior = ready_prior(prior if prior is not None else config.prior, classes if config.label_aware else None)
        dim = self.prior.dim
        self.likelihood = config.likelihood
        self.adversary = config.adversary
        self.corrupt = nn.Sequential(GaussianNoise(config.input_noise), Dropout(config.input_dropout))
        outputs = 2 * dim if config.posterior == "gaussian" else dim
        self.encoder = encoder or config.encoder.build_encoder(shape, outputs, extra_inputs=config.noise)
        parameters = (self.likelihood.outputs(channels), height, width)
        self.decoder = decoder or config.decoder.build_decoder(dim, parameters)
        told = classes + 1 if config.label_aware else 0
        self.discriminator = discriminator or config.discriminator.build(dim + told, 1)
        x, z, noise = torch.zeros(2, *shape), torch.zeros(2, dim), torch.zeros(2, config.noise)
        if encoder is not None:
            check_network("encoder", encoder, (outputs,), *((x, noise) if config.noise else (x,)))
        if decoder is not None:
            check_network("decoder", decoder, parameters, z)
        if discriminator is not None:
            check_network("discriminator", discriminator, (1,), torch.zeros(2, dim + told), flat=True)
        check_r1("adversary", config.adversary, self.discriminator)

    def phases(self) -> tuple[Phase | Group, ...]:
        """Reconstruction, then regularization; the discriminator and its confusion see the same codes."""
        reconstruct = Phase("reconstruct", self.reconstruction_loss, updates=(self.encoder, self.decoder))
        pairs = (code_game(self, "labelled", "-pairs"),) if self.config.paired else ()
        return (reconstruct, code_game(self), *pairs)

    def draw_code(self, x: Tensor) -> Tensor:
        """Sample z ~ q(z|x), (n, c, h, w) to (n, d), differentiable in the encoder (section 2)."""
        x = self.corrupt(x)
        if self.config.posterior == "universal":
            n = torch.randn(len(x), self.config.noise, generator=self.rng, device=x.device)
            code: Tensor = self.encoder(x, n).float()
            return code
        code = self.encoder(x).float()
        if self.config.posterior == "gaussian":
            mean, log_variance = code.chunk(2, dim=1)
            return draw(mean, log_variance, self.rng)
        return code

    def reconstruction_loss(self, batch: Batch) -> Tensor:
        """-log p(x | z) with z ~ q(z|x), (n,) nats."""
        return -self.likelihood.log_prob(self.decoder(self.draw_code(batch.x)), batch.x)

    def discriminator_loss(self, batch: Batch, z: Tensor) -> Tensor:
        """Tell draws of the prior (real) from codes of images (fake)."""
        labels = batch.y if self.config.label_aware else None
        real = self.prior.sample(len(z), labels, self.rng, z.device)
        told, apart = self._told(batch), has_batch_norm(self.discriminator)
        return discriminator_loss(self, self.discriminator, self.adversary, real, z, batch.epoch, told, apart=apart)

    def confusion_loss(self, batch: Batch, z: Tensor) -> Tensor:
        """Move the codes to where the discriminator takes them for draws of the prior."""
        return confusion_loss(self, self.discriminator, self.adversary, z, batch.epoch, self._told(batch))

    def _told(self, batch: Batch) -> Tensor | None:
        """What the discriminator is told beside the code."""
        return label_switch(batch.y, self.classes) if self.config.label_aware else None

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes, (n, d): the mean of a Gaussian posterior, n = 0 for the universal approximator."""
        if self.config.posterior == "universal":
            code: Tensor = self.encoder(x, torch.zeros(len(x), self.config.noise, device=x.device)).float()
            return code
        code = self.encoder(x).float()
        return code.chunk(2, dim=1)[0] if self.config.posterior == "gaussian" else code

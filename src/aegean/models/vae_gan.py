"""VAE/GAN: autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016)."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from aegean.config import Config
from aegean.data.stream import Batch
from aegean.models.base import Group, Model, Phase, Shape
from aegean.models.vae import draw, kl_to_standard_normal
from aegean.nn import (
    DecoderConfig,
    DiscriminatorConfig,
    EncoderConfig,
    ImageDiscriminatorConfig,
    StridedDecoderConfig,
    StridedEncoderConfig,
)
from aegean.priors import Gaussian


class VAEGANConfig(Config):
    """Parts of a VAE/GAN.

    Attributes:
        code: dimension of z; the prior is N(0, I).
        encoder: network of the posterior's mean and log-variance.
        decoder: generator of images from codes; its outputs pass through a sigmoid.
        discriminator: network on images; one of its hidden layers is the space of the reconstruction error.
        feature_weight: gamma, the decoder's weight of the reconstruction against the adversary.
    """

    kind: Literal["vae-gan"] = "vae-gan"
    code: int = Field(default=32, ge=1)
    encoder: EncoderConfig = StridedEncoderConfig()
    decoder: DecoderConfig = StridedDecoderConfig()
    discriminator: DiscriminatorConfig = ImageDiscriminatorConfig()
    feature_weight: float = Field(default=1e-2, gt=0)


@dataclass(frozen=True)
class Pass:
    """What the three losses share: one forward pass of encoder, decoder and discriminator (algorithm 1).

    Attributes:
        kl: KL(q(z|x) || p(z)), (n,).
        feature_error: half the squared distance of discriminator features of x and its reconstruction, (n,).
        real, reconstructed, sampled: logits of the discriminator, (n,) each.
    """

    kl: Tensor
    feature_error: Tensor
    real: Tensor
    reconstructed: Tensor
    sampled: Tensor


class VAEGAN(Model):
    """A VAE whose reconstruction error is measured in the features of a GAN's discriminator.

    Algorithm 1 of the paper, with L_prior = KL(q(z|x) || p(z)), L_like = -log p(Dis_l(x) | z) (a unit Gaussian) and
    L_GAN = log Dis(x) + log(1 - Dis(Dec(z))) + log(1 - Dis(Dec(Enc(x))))::

        encoder        minimises  L_prior + L_like
        decoder        minimises  gamma L_like - L_GAN   (its GAN part in the non-saturating form)
        discriminator  maximises  L_GAN

    All three are differentiated before any network is stepped.
    """

    kind = "vae-gan"
    config_class = VAEGANConfig
    config: VAEGANConfig

    def __init__(self, config: VAEGANConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__(config, shape, classes)
        self.prior = Gaussian(dim=config.code)
        self.encoder = config.encoder.build_encoder(shape, 2 * config.code)
        self.decoder = config.decoder.build_decoder(config.code, shape)
        self.discriminator = config.discriminator.build_discriminator(shape)

    def phases(self) -> tuple[Group, ...]:
        """Three simultaneous phases over one shared forward pass."""
        return (
            Group(
                forward=self.forward_pass,
                uses=(self.encoder, self.decoder, self.discriminator),
                phases=(
                    Phase("encode", self.encoder_loss, updates=(self.encoder,)),
                    Phase("decode", self.decoder_loss, updates=(self.decoder,)),
                    Phase("discriminate", self.discriminator_loss, updates=(self.discriminator,)),
                ),
                simultaneous=True,
            ),
        )

    def forward_pass(self, batch: Batch) -> Pass:
        """Encode, decode codes and draws of the prior, and judge all three kinds of images at once."""
        mean, log_variance = self._posterior(batch.x)
        z = draw(mean, log_variance, self.rng)  # (n, d)
        prior = torch.randn(z.shape, generator=self.rng, device=z.device)
        reconstructed, sampled = self.decoder(torch.cat((z, prior))).float().sigmoid().chunk(2)
        logits, features = self.discriminator(torch.cat((batch.x, reconstructed, sampled)))
        real, fake, new = logits.float().chunk(3)
        features_real, features_fake, _ = features.float().flatten(1).chunk(3)
        return Pass(
            kl=kl_to_standard_normal(mean, log_variance),
            feature_error=0.5 * (features_real - features_fake).square().sum(dim=1),
            real=real,
            reconstructed=fake,
            sampled=new,
        )

    def encoder_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """L_prior + L_like, (n,) nats."""
        self.observe(kl=shared.kl.mean(), feature_error=shared.feature_error.mean())
        return shared.kl + shared.feature_error

    def decoder_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """Gamma L_like - log Dis(Dec(z)) - log Dis(Dec(Enc(x))), (n,)."""
        fooled = F.softplus(-shared.sampled) + F.softplus(-shared.reconstructed)
        return self.config.feature_weight * shared.feature_error + fooled

    def discriminator_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """-L_GAN, (n,)."""
        self.observe(
            real_accuracy=(shared.real > 0).float().mean(),
            fake_accuracy=(torch.cat((shared.reconstructed, shared.sampled)) < 0).float().mean(),
            chance=3 * shared.real.new_tensor(2.0).log(),
        )
        return F.softplus(-shared.real) + F.softplus(shared.reconstructed) + F.softplus(shared.sampled)

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(x).float().chunk(2, dim=1)
        return mean, log_variance

    def encode(self, x: Tensor) -> Tensor:
        """Return the posterior means, (n, d)."""
        mean, _ = self._posterior(x)
        return mean

    def decode(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the decoder's images."""
        images: Tensor = self.decoder(z).float().sigmoid()
        return images

    def sample(self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Decode draws of the prior."""
        return self.decode(self.prior.sample(n, labels=y, generator=generator).to(self.device), generator)

"""The generative adversarial network (Goodfellow et al., 2014), with the networks of DCGAN (Radford et al., 2016)."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aegean.adversary import Adversary
from aegean.config import Config
from aegean.data.stream import Batch
from aegean.models.base import Group, Model, Phase, Shape
from aegean.models.code import check_r1, confusion_loss, discriminator_loss, game, ready_prior
from aegean.nn import DecoderConfig, DiscriminatorConfig, ImageDiscriminatorConfig, StridedDecoderConfig
from aegean.priors import Gaussian, Prior, PriorConfig


class GANParts(Config):
    """What a GAN and its extensions have in common.

    Attributes:
        generator: network to images; its outputs pass through a sigmoid.
        discriminator: network on images.
        adversary: losses of the game; a divergence makes it an f-GAN (Nowozin et al., 2016).
        steps: of the discriminator for one step of the generator, each on other images.
    """

    generator: DecoderConfig = StridedDecoderConfig()
    discriminator: DiscriminatorConfig = ImageDiscriminatorConfig()
    adversary: Adversary = Adversary()
    steps: int = Field(default=1, ge=1)


class GANConfig(GANParts):
    """Parts of a GAN; see `GANParts` for its networks.

    Attributes:
        prior: p(z), of the noise that images are made of.
    """

    kind: Literal["gan"] = "gan"
    prior: PriorConfig = Gaussian(dim=100)


class Generator(Model):
    """The game of a generator of images against their discriminator; subclasses build both, and say what z is.

    Attributes:
        prior: p(z).
        generator: network to images before the sigmoid.
        discriminator: from images to logits and features.
    """

    config: GANParts
    prior: Prior
    generator: nn.Module
    discriminator: nn.Module

    def game(self) -> tuple[Group, ...]:
        """The discriminator, then the generator; on the same made images, unless `steps` is above 1."""
        judge = Phase("discriminate", self.discriminator_loss, updates=(self.discriminator,))
        confuse = Phase("confuse", self.confusion_loss, updates=(self.generator,))
        return game(self.generate, (self.generator,), (judge,), confuse, self.config.steps)

    def generate(self, batch: Batch) -> Tensor:
        """Make as many images as a mini-batch has, (n, c, h, w)."""
        return self.decode(self.draw_prior(len(batch.x)), self.rng)

    def draw_prior(self, n: int) -> Tensor:
        """Sample z from p(z), (n, d)."""
        return self.prior.sample(n, generator=self.rng, device=self.device)

    def discriminator_loss(self, batch: Batch, made: Tensor) -> Tensor:
        """Tell images of the data (real) from made ones (fake), (n,)."""
        adversary = self.config.adversary
        return discriminator_loss(self, self._judge, adversary, batch.x, made, batch.epoch, apart=True)

    def confusion_loss(self, batch: Batch, made: Tensor) -> Tensor:
        """Make images that the discriminator takes for data, (n,)."""
        return confusion_loss(self, self._judge, self.config.adversary, made, batch.epoch)

    def sample(self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Make images of draws of z; `y` chooses its category, where it has one."""
        return self.decode(self.prior.sample(n, labels=y, generator=generator).to(self.device), generator)

    def _judge(self, x: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(x)[0]
        return logits


class GAN(Generator):
    """A generator of images against a discriminator.

    ::

        max over discriminator   E_data log D(x) + E_p(z) log (1 - D(G(z)))
        max over generator       E_p(z) log D(G(z))                           (the non-saturating form)
    """

    kind = "gan"
    config_class = GANConfig
    config: GANConfig

    def __init__(self, config: GANConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__(config, shape, classes)
        self.prior = ready_prior(config.prior)
        self.generator = config.generator.build_decoder(self.prior.dim, shape)
        self.discriminator = config.discriminator.build_discriminator(shape)
        check_r1("adversary", config.adversary, self.discriminator)

    def phases(self) -> tuple[Group, ...]:
        """The two sides of the game."""
        return self.game()

    def decode(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the images of z, (n, d) to (n, c, h, w)."""
        images: Tensor = self.generator(z).float().sigmoid()
        return images

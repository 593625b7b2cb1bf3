"""Adversarially learned inference (Dumoulin et al., 2017), also known as BiGAN (Donahue et al., 2017)."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from aegean.adversary import Adversary
from aegean.data.stream import Batch
from aegean.models.base import Group, Phase, Shape
from aegean.models.code import check_r1, concession_loss, confusion_loss, discriminator_loss, game
from aegean.models.two_way import PairDiscriminator, TwoWay, TwoWayConfig, pair
from aegean.nn import DiscriminatorConfig, ImageDiscriminatorConfig


class ALIConfig(TwoWayConfig):
    """Parts of ALI; see `TwoWayConfig` for prior, likelihood, posterior and their networks.

    Attributes:
        discriminator: network on pairs of an image and a code.
        adversary: losses of the game.
    """

    kind: Literal["ali"] = "ali"
    discriminator: DiscriminatorConfig = ImageDiscriminatorConfig(widths=(64, 128), kernel=4, hidden=(1024,))
    adversary: Adversary = Adversary()


@dataclass(frozen=True)
class Pass:
    """What the phases share.

    Attributes:
        inferred: pairs of images of the data and their codes, draws of q(x, z).
        generated: pairs of images of the model and the codes that they are made of, draws of p(x, z).
    """

    inferred: Tensor
    generated: Tensor


class ALI(TwoWay):
    """Encoder and decoder as the two sides of one game on pairs of an image and its code.

    ::

        max over discriminator       E_q(x, z) log D(x, z) + E_p(x, z) log (1 - D(x, z))
        max over encoder, decoder    E_q(x, z) log (1 - D(x, z)) + E_p(x, z) log D(x, z)

    q(x, z): x of the data, z = f(x, e). p(x, z): z of the prior, x = g(z, n). The second line is the non-saturating
    form (section 2.1 of the paper).
    """

    kind = "ali"
    config_class = ALIConfig
    config: ALIConfig

    def __init__(self, config: ALIConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__(config, shape, classes)
        self.discriminator = PairDiscriminator(config.discriminator, shape, self.prior.dim, config.code_scale)
        check_r1("adversary", config.adversary, self.discriminator)

    def phases(self) -> tuple[Phase | Group, ...]:
        """The two sides of the game over one pass of encoder and decoder."""
        networks = (self.encoder, self.decoder)
        judge = Phase("discriminate", self.discriminator_loss, updates=(self.discriminator,))
        confuse = Phase("confuse", self.confusion_loss, updates=networks)
        return self.with_agreement(game(self.forward_pass, networks, (judge,), confuse, self.config.steps))

    def forward_pass(self, batch: Batch) -> Pass:
        """Encode images of the data, decode draws of the prior."""
        z = self.draw_prior(len(batch.x))
        return Pass(pair(batch.x, self.draw_code(batch.x)), pair(self.draw_image(z), z))

    def discriminator_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """Tell pairs of the data (real) from pairs of the model (fake), (n,)."""
        real, adversary = shared.inferred.detach(), self.config.adversary
        return discriminator_loss(self, self.discriminator, adversary, real, shared.generated, batch.epoch, apart=True)

    def confusion_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """Let each side be taken for the other, (n,)."""
        adversary = self.config.adversary
        decoder = confusion_loss(self, self.discriminator, adversary, shared.generated, batch.epoch)
        encoder = concession_loss(self, self.discriminator, adversary, shared.inferred, batch.epoch)
        self.observe(decoder=decoder.mean(), encoder=encoder.mean())
        return decoder + encoder

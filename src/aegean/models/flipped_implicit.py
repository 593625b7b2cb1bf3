"""The flipped implicit autoencoder ("Implicit Autoencoders", under review for ICLR 2019, section 3)."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from torch import Tensor

from aegean.adversary import Adversary
from aegean.data.stream import Batch
from aegean.errors import ConfigError
from aegean.models.base import Group, Phase, Shape
from aegean.models.code import check_r1, concession_loss, confusion_loss, discriminator_loss, game
from aegean.models.two_way import PairDiscriminator, TwoWay, TwoWayConfig, pair
from aegean.nn import DiscriminatorConfig, ImageDiscriminatorConfig


class FlippedImplicitAutoencoderConfig(TwoWayConfig):
    """Parts of a flipped implicit autoencoder; see `TwoWayConfig` for prior, likelihood, posterior and their networks.

    Attributes:
        image_discriminator: network of the regularization game, on images.
        image_adversary: losses of the regularization game.
        discriminator: network of the reconstruction game, on pairs of an image and a code.
        adversary: losses of the reconstruction game.
        gradients: how both networks learn from the reconstruction game: through the `"negative"` example alone, or
            also through the positive one, whose image is the decoder's.
        reconstruction: weight of the reconstruction game against the regularization game.
        one_hot: show the discriminator the likeliest category of a code, one-hot as those of the prior, in the place of
            probabilities, whose gradients stay (straight-through; Bengio et al., 2013; not in the paper).
    """

    kind: Literal["flipped-implicit"] = "flipped-implicit"
    image_discriminator: DiscriminatorConfig = ImageDiscriminatorConfig(widths=(64, 128), kernel=4, hidden=(1024,))
    image_adversary: Adversary = Adversary()
    discriminator: DiscriminatorConfig = ImageDiscriminatorConfig(widths=(64, 128), kernel=4, hidden=(1024,))
    adversary: Adversary = Adversary()
    gradients: Literal["negative", "both"] = "negative"
    reconstruction: float = Field(default=1.0, gt=0)
    one_hot: bool = False


@dataclass(frozen=True)
class Pass:
    """What the phases share: one way from codes to images and back.

    Attributes:
        z: draws of the prior, (n, d).
        x: images decoded from them, (n, c, h, w).
        reconstruction: codes of these images, (n, d), as the discriminator sees them.
    """

    z: Tensor
    x: Tensor
    reconstruction: Tensor


class FlippedImplicitAutoencoder(TwoWay):
    """An autoencoder of codes: data and code have changed places.

    With z ~ p(z), x = g(z, n) and z' = f(x, e), the joint model distribution p(x, z) and the joint latent
    reconstruction distribution s(x, z) of (x, z'), the bound on KL(p(x) || p_data(x)) is
    KL(p(x) || p_data(x)) + KL(p(x, z) || s(x, z)) (equation 15). Each term is a game::

        Regularization    max over image discriminator   E_data log D(x) + E_p(x) log (1 - D(x))
        Reconstruction    max over discriminator         E log D(x, z) + E log (1 - D(x, z'))
        Both              max over encoder, decoder      E_p(x) log D(x) + reconstruction * E log D(x, z')

    The paper calls g, which makes images, the encoder, and f the decoder; here they keep their names.
    """

    kind = "flipped-implicit"
    config_class = FlippedImplicitAutoencoderConfig
    config: FlippedImplicitAutoencoderConfig

    def __init__(self, config: FlippedImplicitAutoencoderConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__(config, shape, classes)
        if config.one_hot and self.categories is None:
            raise ConfigError("one_hot is about categories, and model.prior has none; leave one_hot out.")
        self.image_discriminator = config.image_discriminator.build_discriminator(shape)
        self.discriminator = PairDiscriminator(config.discriminator, shape, self.prior.dim, config.code_scale)
        check_r1("image_adversary", config.image_adversary, self.image_discriminator)
        check_r1("adversary", config.adversary, self.discriminator)

    def phases(self) -> tuple[Phase | Group, ...]:
        """Both games over one pass of decoder and encoder."""
        networks = (self.encoder, self.decoder)
        judges = (
            Phase("discriminate-image", self.image_discriminator_loss, updates=(self.image_discriminator,)),
            Phase("discriminate-reconstruction", self.discriminator_loss, updates=(self.discriminator,)),
        )
        confuse = Phase("confuse", self.confusion_loss, updates=networks)
        return self.with_agreement(game(self.forward_pass, networks, judges, confuse, self.config.steps))

    def forward_pass(self, batch: Batch) -> Pass:
        """Draw codes, decode them with noise n, encode the images with noise e."""
        z = self.draw_prior(len(batch.x))
        x = self.draw_image(z)
        code = self.draw_code(x)
        return Pass(z, x, self.harden(code) if self.config.one_hot else code)

    def image_discriminator_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """Tell images of the data (real) from images of the model (fake), (n,)."""
        adversary = self.config.image_adversary
        return discriminator_loss(self, self._judge_image, adversary, batch.x, shared.x, batch.epoch, apart=True)

    def discriminator_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """Tell an image with the code that it is made of (real) from one with the code it is given (fake), (n,)."""
        x = shared.x.detach()
        real, fake = pair(x, shared.z), pair(x, shared.reconstruction.detach())
        return discriminator_loss(self, self.discriminator, self.config.adversary, real, fake, batch.epoch, apart=True)

    def confusion_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """Confuse both discriminators, (n,)."""
        image = confusion_loss(self, self._judge_image, self.config.image_adversary, shared.x, batch.epoch)
        adversary, fake = self.config.adversary, pair(shared.x, shared.reconstruction)
        code = confusion_loss(self, self.discriminator, adversary, fake, batch.epoch)
        if self.config.gradients == "both":
            real = pair(shared.x, shared.z)
            code = code + concession_loss(self, self.discriminator, adversary, real, batch.epoch)
        self.observe(image=image.mean(), reconstruction=code.mean())
        return image + self.config.reconstruction * code

    def _judge_image(self, x: Tensor) -> Tensor:
        logits: Tensor = self.image_discriminator(x)[0]
        return logits

"""The implicit autoencoder ("Implicit Autoencoders", under review for ICLR 2019)."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from aegean.adversary import Adversary
from aegean.data.stream import Batch
from aegean.errors import UnsupportedError
from aegean.models.base import Group, Phase, Shape
from aegean.models.code import (
    check_r1,
    concession_loss,
    confusion_loss,
    discriminator_loss,
    game,
    has_batch_norm,
)
from aegean.models.consistency import changed
from aegean.models.two_way import (
    PairDiscriminator,
    TwoWay,
    TwoWayConfig,
    no_prior,
    pair,
    refuse_unused,
    require_classes,
)
from aegean.nn import DiscriminatorConfig, ImageDiscriminatorConfig, MLPConfig
from aegean.nn.noise import Dropout, GaussianNoise


class ImplicitAutoencoderConfig(TwoWayConfig):
    """Parts of an implicit autoencoder; see `TwoWayConfig` for prior, likelihood, posterior and their networks.

    The four special cases of section 2 are `likelihood` (deterministic or stochastic) and `regularization` (0 or not).

    Attributes:
        discriminator: network of the reconstruction game, on pairs of an image and a code. Its `conditioning` is
            location-dependent for reconstructions, location-invariant for clusters and classes (appendix D.1).
        adversary: losses of the reconstruction game.
        gradients: how encoder and decoder learn from the reconstruction game: through the `"negative"` example alone,
            or also through the positive one, whose code is the encoder's (footnote 1).
        regularization: weight of the regularization game against the reconstruction game; 0 leaves it out.
        code_discriminator: network of the regularization game, on codes.
        code_adversary: losses of the regularization game.
        input_noise: standard deviation of noise added to the encoder's input in training.
        input_dropout: share of the encoder's inputs set to 0 in training.
        supervised: add the semi-supervised phase; the categories are then the classes of the data.
    """

    kind: Literal["implicit"] = "implicit"
    discriminator: DiscriminatorConfig = ImageDiscriminatorConfig(
        widths=(64, 128), kernel=4, hidden=(1024,), activation="relu", conditioning="location-dependent"
    )
    adversary: Adversary = Adversary()
    gradients: Literal["negative", "both"] = "negative"
    regularization: float = Field(default=1.0, ge=0)
    code_discriminator: MLPConfig = MLPConfig(widths=(2000, 2000))
    code_adversary: Adversary = Adversary()
    input_noise: float = Field(default=0.0, ge=0)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    supervised: bool = False

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if not self.regularization:
            unused = ("code_discriminator", "code_adversary")
            refuse_unused(self, unused, "without regularization; leave it out, or set regularization above 0.")
        return self


@dataclass(frozen=True)
class Pass:
    """What the phases share: one forward pass of encoder and decoder.

    Attributes:
        x: images, (n, c, h, w).
        z: their codes, (n, d).
        reconstruction: images decoded from z, (n, c, h, w).
    """

    x: Tensor
    z: Tensor
    reconstruction: Tensor


class ImplicitAutoencoder(TwoWay):
    """An autoencoder whose reconstruction error is a game, too, so that p(x|z) may be any distribution.

    With z = f(x, e), x' = g(z, n), the joint data distribution q(x, z) and the joint reconstruction distribution
    r(x, z) of (x', z), the bound on the log-likelihood is -KL(q(x, z) || r(x, z)) - KL(q(z) || p(z)) and the constant
    entropy of the data (equation 7). Each term is a game::

        Reconstruction    max over discriminator         E log D(x, z) + E log (1 - D(x', z))
        Regularization    max over code discriminator    E_p(z) log D(z) + E_q(z) log (1 - D(z))
        Both              max over encoder, decoder      E log D(x', z) + regularization * E_q(z) log D(z)
        Semi-supervised   max over encoder               E log q(z = y | x) on labelled images

    The gradient reaches the encoder through x' and through the condition z of the negative example (equation 10).
    """

    kind = "implicit"
    config_class = ImplicitAutoencoderConfig
    config: ImplicitAutoencoderConfig

    def __init__(self, config: ImplicitAutoencoderConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__(config, shape, classes)
        if config.supervised:
            require_classes(self.prior, classes)
        self.corrupt = nn.Sequential(GaussianNoise(config.input_noise), Dropout(config.input_dropout))
        self.discriminator = PairDiscriminator(config.discriminator, shape, self.prior.dim, config.code_scale)
        check_r1("adversary", config.adversary, self.discriminator)
        self.code_discriminator = config.code_discriminator.build(self.prior.dim, 1) if config.regularization else None
        if self.code_discriminator is not None:
            check_r1("code_adversary", config.code_adversary, self.code_discriminator)

    def phases(self) -> tuple[Phase | Group, ...]:
        """Both games over one pass of encoder and decoder, then the labelled images.

        Discriminators step first and leave the pass as it is, so the last phase's gradients are those of a pass of its
        own.
        """
        judges = [Phase("discriminate-reconstruction", self.discriminator_loss, updates=(self.discriminator,))]
        if self.code_discriminator is not None:
            updates = (self.code_discriminator,)
            judges.append(Phase("discriminate-code", self.code_discriminator_loss, updates=updates))
        networks = (self.encoder, self.decoder)
        confuse = Phase("confuse", self.confusion_loss, updates=networks)
        phases: list[Phase | Group] = list(game(self.forward_pass, networks, tuple(judges), confuse, self.config.steps))
        if self.config.supervised:
            phases.append(Phase("classify", self.classification_loss, updates=(self.encoder,), stream="labelled"))
        return self.with_agreement(phases)

    def forward_pass(self, batch: Batch) -> Pass:
        """Encode with noise e, decode with noise n."""
        z = self.draw_code(self.corrupt(batch.x))
        return Pass(batch.x, z, self.draw_image(z))

    def discriminator_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """Tell an image with its code (real) from a reconstruction with the same code (fake), (n,)."""
        z = shared.z.detach()
        real, fake = pair(shared.x, z), pair(shared.reconstruction.detach(), z)
        return discriminator_loss(self, self.discriminator, self.config.adversary, real, fake, batch.epoch, apart=True)

    def code_discriminator_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """Tell draws of the prior (real) from codes of images (fake), (n,)."""
        assert self.code_discriminator is not None  # noqa: S101 - else there is no such phase
        if self.categories is not None:
            self.observe(usage=shared.z[:, self.categories].mean(dim=0))
        real, adversary = self.draw_prior(len(shared.z)), self.config.code_adversary
        apart = has_batch_norm(self.code_discriminator)
        return discriminator_loss(self, self._judge_code, adversary, real, shared.z, batch.epoch, apart=apart)

    def confusion_loss(self, batch: Batch, shared: Pass) -> Tensor:
        """Confuse both discriminators: T*(x', z) of equation 9, and the same of the code, (n,)."""
        adversary, fake = self.config.adversary, pair(shared.reconstruction, shared.z)
        loss = confusion_loss(self, self.discriminator, adversary, fake, batch.epoch)
        if self.config.gradients == "both":
            loss = loss + concession_loss(self, self.discriminator, adversary, pair(shared.x, shared.z), batch.epoch)
        self.observe(reconstruction=loss.mean())
        if self.code_discriminator is None:
            return loss
        code = confusion_loss(self, self._judge_code, self.config.code_adversary, shared.z, batch.epoch)
        self.observe(code=code.mean())
        return loss + self.config.regularization * code

    def classification_loss(self, batch: Batch) -> Tensor:
        """-log q(z = y | x) on labelled images, (n,) nats (section 2.1.2)."""
        assert self.categories is not None  # noqa: S101 - checked when the model was made
        logits = self.draw_logits(self.corrupt(changed(self.config.consistency, batch.x, self.rng)))
        self.observe(accuracy=(logits.argmax(dim=1) == batch.y).float().mean())
        return F.cross_entropy(logits, batch.y, reduction="none")

    def extra_nats(self, x: Tensor) -> Tensor:
        """Estimate the nats that bits-back coding spends on an image beyond the data's entropy (appendix B).

        Their means over images are KL(q(x, z) || r(x, z)) and KL(q(z) || p(z)) of equation 25, as far as the
        discriminators are optimal: then their logits are the logarithms of these ratios.

        Args:
            x: images in [0, 1], (n, c, h, w).

        Returns:
            (n, 2): of the reconstruction, and of the code (0 without regularization).

        Raises:
            UnsupportedError: the losses of an adversary do not make its logits such logarithms.
        """
        for name, adversary in (("adversary", self.config.adversary), ("code_adversary", self.config.code_adversary)):
            if not adversary.estimates_density_ratio:
                raise UnsupportedError(
                    f"{name}.loss {adversary.loss!r} gives no ratio of densities to estimate a divergence from; train "
                    "with 'non-saturating' or one of the divergences."
                )
        z = self.draw_code(x)
        ratio = self.discriminator(pair(x, z)).float()
        if self.code_discriminator is None:
            return torch.stack((ratio, torch.zeros_like(ratio)), dim=1)
        return torch.stack((ratio, -self._judge_code(z).float().squeeze(1)), dim=1)

    def sample(self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw z from the prior (of the classes or clusters `y`), then images from p(x|z)."""
        if self.code_discriminator is None:
            raise no_prior(self._name)
        return super().sample(n, y, generator)

    def can(self, task: str) -> bool:
        """Without regularisation the codes follow no prior, so there is nothing to draw images from."""
        return super().can(task) and (task != "sample" or self.code_discriminator is not None)

    def _judge_code(self, z: Tensor) -> Tensor:
        assert self.code_discriminator is not None  # noqa: S101 - else nobody asks
        logits: Tensor = self.code_discriminator(self.config.code_scale * z)
        return logits

    @property
    def supervised(self) -> bool:
        """Whether the categories are the classes of the labels."""
        return self.config.supervised

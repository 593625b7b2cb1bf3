"""The PixelGAN autoencoder (Makhzani and Frey, 2017)."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from aegean.adversary import Adversary
from aegean.config import Config
from aegean.data.stream import Batch
from aegean.errors import ConfigError, UnsupportedError
from aegean.likelihoods import Bernoulli, LikelihoodConfig
from aegean.models.base import Group, Model, Moment, Phase, Shape
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
from aegean.models.completion import complete
from aegean.models.consistency import Consistency, changed, merging, with_agreement, with_finer
from aegean.nn import ConvEncoderConfig, EncoderConfig, MLPConfig, PixelCNNConfig
from aegean.nn.noise import Dropout, GaussianNoise
from aegean.nn.pixelcnn import PixelCNN
from aegean.nn.pixelcnn_sampling import sample as sample_pixels
from aegean.priors import Categorical, PriorConfig


class PixelGANConfig(Config):
    """Parts of a PixelGAN autoencoder.

    Attributes:
        prior: p(z). With a categorical one the encoder ends in a softmax and its code is a class or cluster.
        encoder: network of q(z|x), made a universal approximator by the noise on its input (appendix A.1).
        decoder: conditional PixelCNN of p(x|z).
        discriminator: network on codes.
        likelihood: p(pixel | pixels before, z).
        adversary: losses of the adversarial phase.
        input_noise: standard deviation of noise added to the encoder's input in training.
        input_dropout: share of the encoder's inputs set to 0 in training.
        label_aware: tell the discriminator the label, or that there is none, as in section 3.1 of "Adversarial
            Autoencoders": labelled images are matched to the component of the prior with their class's number.
        paired: play the game on labelled images once more, in mini-batches of their own; a few among many unlabelled
            ones would hardly be seen (section 4's pairs of two domains).
        supervised: add the semi-supervised phase; the categories are then the classes of the data.
        consistency: if given, a further phase (not in the paper): the category shall not change with small changes of
            the image, and labelled images are changed so, too.
        reconstruction: have the reconstruction phase. Without it there is no decoder to learn, and what is left is
            output distribution matching (section 4, figure 9a).
        adversarial: have the adversarial phase. Without it nothing shapes the code (figure 5a).
        reconstruct_every: have the reconstruction phase at every so many steps, 1 in the paper. The decoder takes most
            of a step's time and learns in fewer steps than the categories do.
        decode_every: have a phase (not in the paper), at every so many steps, in which the decoder learns alone, of
            codes through which no gradient flows: for one that would learn too seldom by `reconstruct_every`. 0: none.
    """

    kind: Literal["pixelgan"] = "pixelgan"
    prior: PriorConfig = Categorical(categories=10)
    encoder: EncoderConfig = ConvEncoderConfig()
    decoder: PixelCNNConfig = PixelCNNConfig()
    discriminator: MLPConfig = MLPConfig(widths=(1000, 1000))
    likelihood: LikelihoodConfig = Bernoulli()
    adversary: Adversary = Adversary()
    input_noise: float = Field(default=0.0, ge=0)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    label_aware: bool = False
    paired: bool = False
    supervised: bool = False
    consistency: Consistency | None = None
    reconstruction: bool = True
    adversarial: bool = True
    reconstruct_every: int = Field(default=1, ge=1)
    decode_every: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _classes_are_categories(self) -> "PixelGANConfig":
        if self.supervised and not isinstance(self.prior, Categorical):
            raise ValueError(f"supervised needs a categorical prior, not {self.prior.kind!r}.")
        if self.consistency is not None and not isinstance(self.prior, Categorical):
            raise ValueError(f"consistency is about categories; the prior is {self.prior.kind!r}.")
        check_paired(self)
        if not self.reconstruction and not self.adversarial:
            raise ValueError("reconstruction or adversarial must be true; a classifier alone is not this model.")
        if self.paired and not self.adversarial:
            raise ValueError("paired: a further game, so it needs adversarial=true.")
        return self

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> "PixelGANConfig":
        for name in ("decoder", "likelihood", "reconstruct_every", "decode_every"):
            if not self.reconstruction and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} has no effect without reconstruction; leave it out, or set reconstruction=true."
                )
        return self


class PixelGAN(Model):
    """An autoencoder whose decoder is a PixelCNN, with the code matched to a prior by an adversary.

    ::

    Reconstruction phase:    max over encoder, decoder   E log p(x | z),  z = f(x, n)       (equation 2, first term)
    Adversarial phase:       max over discriminator      E_p(z) log D(z) + E_q(z) log (1 - D(z))
                             max over encoder            E_q(z) log D(z)                    (for KL(q(z) || p(z)))
    Semi-supervised phase:   max over encoder            E log q(z = y | x) on labelled images
    """

    kind = "pixelgan"
    config_class = PixelGANConfig
    config: PixelGANConfig

    def __init__(
        self,
        config: PixelGANConfig,
        shape: Shape,
        classes: int = 0,
        *,
        prior: object | None = None,
        encoder: nn.Module | None = None,
        discriminator: nn.Module | None = None,
    ) -> None:
        super().__init__(config, shape, classes)
        if config.label_aware and not classes:
            raise ConfigError("model.label_aware=true needs labels, and the data has none; give some, or set it false.")
        self.prior = ready_prior(prior if prior is not None else config.prior, classes if config.label_aware else None)
        dim = self.prior.dim
        self.categorical = isinstance(self.prior, Categorical)
        if config.supervised and dim != classes:
            raise ConfigError(
                f"model.prior has {dim} categories, the data has {classes} classes; a supervised PixelGAN needs "
                f"model.prior.categories={classes}."
            )
        self.likelihood = config.likelihood
        self.adversary = config.adversary
        self.corrupt = nn.Sequential(GaussianNoise(config.input_noise), Dropout(config.input_dropout))
        if encoder is not None and config.consistency is not None and config.consistency.finer:
            raise ConfigError("model.consistency.finer is of the configured encoder; with one of your own set it to 0.")
        build = partial(config.encoder.build_encoder, shape)
        self.encoder = encoder or with_finer(config.consistency, build, dim, dim, supervised=config.supervised)
        outputs = self.likelihood.outputs(shape[0])
        self.decoder = config.decoder.build(dim, shape, outputs) if config.reconstruction else None
        told = classes + 1 if config.label_aware else 0
        self.discriminator = discriminator or config.discriminator.build(dim + told, 1)
        if encoder is not None:
            check_network("encoder", encoder, (dim,), torch.zeros(2, *shape))
        if discriminator is not None:
            check_network("discriminator", discriminator, (1,), torch.zeros(2, dim + told), flat=True)
        if config.adversarial:
            check_r1("adversary", config.adversary, self.discriminator)

    def phases(self) -> tuple[Phase | Group, ...]:
        """Reconstruction and adversarial phases on all images, then the labelled ones."""
        phases: list[Phase | Group] = []
        if self.decoder is not None:
            networks, every = (self.encoder, self.decoder), self.config.reconstruct_every
            phases.append(Phase("reconstruct", self.reconstruction_loss, updates=networks, every=every))
            if often := self.config.decode_every:
                phases.append(Phase("decode", self.decoding_loss, updates=(self.decoder,), every=often))
        if self.config.adversarial:
            phases.append(code_game(self))
        if self.config.paired:
            phases.append(code_game(self, "labelled", "-pairs"))
        if self.config.supervised:
            phases.append(Phase("classify", self.classification_loss, updates=(self.encoder,), stream="labelled"))
        return tuple(with_agreement(self.config.consistency, phases, self.encoder, self.consistency_loss))

    def draw_code(self, x: Tensor) -> Tensor:
        """Sample z = f(x, n), (n, c, h, w) to (n, d): softmax probabilities under a categorical prior."""
        return self._code(self.encoder(self.corrupt(x)).float())

    def reconstruction_loss(self, batch: Batch) -> Tensor:
        """-log p(x | z), (n,) nats."""
        return -self.conditional_log_prob(batch.x, self.draw_code(batch.x))

    def decoding_loss(self, batch: Batch) -> Tensor:
        """-log p(x | z), (n,) nats, without a gradient for the encoder. Not in the paper."""
        with torch.no_grad():
            z = self.draw_code(batch.x)
        return -self.conditional_log_prob(batch.x, z)

    def discriminator_loss(self, batch: Batch, z: Tensor) -> Tensor:
        """Tell draws of the prior (real) from codes of images (fake)."""
        if self.categorical:
            self.observe(usage=z.mean(dim=0))
        labels = batch.y if self.config.label_aware else None
        real = self.prior.sample(len(z), labels, self.rng, z.device)
        told, apart = self._told(batch), has_batch_norm(self.discriminator)
        return discriminator_loss(self, self.discriminator, self.adversary, real, z, batch.epoch, told, apart=apart)

    def confusion_loss(self, batch: Batch, z: Tensor) -> Tensor:
        """Move the codes to where the discriminator takes them for draws of the prior."""
        return confusion_loss(self, self.discriminator, self.adversary, z, batch.epoch, self._told(batch))

    def classification_loss(self, batch: Batch) -> Tensor:
        """-log q(z = y | x) on labelled images, (n,) nats (section 2.2)."""
        x = changed(self.config.consistency, batch.x, self.rng)
        logits = self.encoder(self.corrupt(x)).float()
        self.observe(accuracy=(logits.argmax(dim=1) == batch.y).float().mean())
        return F.cross_entropy(logits, batch.y, reduction="none")

    def moments(self) -> tuple[Moment, ...]:
        """The merging of finer categories, where the settings ask for such."""
        return merging(self.config.consistency, self.encoder, lambda x: self.encoder(x).float())

    def consistency_loss(self, batch: Batch) -> Tensor:
        """Keep q(y|x) under small changes of the image, see `Consistency`; (n,) nats. Not in the paper."""
        assert self.config.consistency is not None  # noqa: S101 - else there is no such phase
        return self.config.consistency.loss(
            batch, lambda x: self.encoder(x).float(), self.corrupt, self.rng, self.encoder
        )

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes without noise: class probabilities (n, k), or continuous codes (n, d)."""
        return self._code(self.encoder(x).float())

    def decode(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw images from p(x|z), pixel by pixel, in float32: rounding would add up over the pixels."""
        with torch.autocast(z.device.type, enabled=False):
            return sample_pixels(self._decoder, self.likelihood, z, len(z), self.shape, generator=generator)

    def sample(self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw z from the prior (or the one-hot vectors of `y`), then images from p(x|z)."""
        return self.decode(self.prior.sample(n, labels=y, generator=generator).to(self.device), generator)

    def complete(
        self,
        x: Tensor,
        known: Tensor,
        generator: torch.Generator | None = None,
        candidates: int = 100,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Draw z from p(z | known pixels), then the unknown pixels from p(x | z, known pixels); see `complete`."""
        with torch.autocast(self.device.type, enabled=False):
            return complete(
                self._decoder, self.likelihood, self.prior, x, known,
                candidates=candidates, generator=generator, progress=progress,
            )  # fmt: skip

    def predict(self, x: Tensor) -> Tensor:
        """Return q(z|x), the probability of each class or cluster, (n, k)."""
        return self.encode(x) if self.categorical else super().predict(x)

    def log_predict(self, x: Tensor) -> Tensor:
        """Return log q(z|x), (n, k), in double precision: in float32 many confident images would be equal."""
        return self.encoder(x).double().log_softmax(dim=1) if self.categorical else super().log_predict(x)

    def can(self, task: str) -> bool:
        """A continuous code has no classes to predict; without reconstruction there are no images to make."""
        if task in ("decode", "reconstruct", "sample", "complete", "reconstruction_log_prob") and self.decoder is None:
            return False
        return super().can(task) and (task != "predict" or self.categorical)

    @property
    def supervised(self) -> bool:
        """Whether the categories are the classes of the labels."""
        return self.config.supervised

    def conditional_log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) of images (n, c, h, w) and codes (n, d), (n,) nats; exact."""
        return self.likelihood.log_prob(self._decoder(x, z), x)

    def reconstruction_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x | code of x), (n,) nats."""
        return self.conditional_log_prob(x, self.encode(x))

    def _told(self, batch: Batch) -> Tensor | None:
        """What the discriminator is told beside the code."""
        return label_switch(batch.y, self.classes) if self.config.label_aware else None

    @property
    def _decoder(self) -> PixelCNN:
        if self.decoder is None:
            raise UnsupportedError("This PixelGAN was trained without reconstruction, so it makes no images.")
        return self.decoder

    def _code(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(dim=1) if self.categorical else outputs

"""The adversarial autoencoder with a category beside the style (Makhzani et al., 2015).

Supervised (section 3.2 of the first version of the paper), semi-supervised, clustering, and dimensionality reduction
(the same authors' later version).
"""

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from aegean.adversary import Adversary
from aegean.config import Config
from aegean.data.stream import Batch
from aegean.errors import ConfigError
from aegean.likelihoods import GaussianLikelihood, LikelihoodConfig
from aegean.models.autoencoder import Autoencoder
from aegean.models.base import Group, Moment, Phase, Shape
from aegean.models.code import check_r1, confusion_loss, discriminator_loss, has_batch_norm, label_switch
from aegean.models.consistency import Consistency, changed, merging, with_agreement, with_finer
from aegean.nn import DecoderConfig, EncoderConfig, MLPConfig
from aegean.nn.noise import Dropout, GaussianNoise
from aegean.priors import Categorical, Gaussian, Product

Codes = tuple[Tensor, Tensor]


class CategoricalAAEConfig(Config):
    """Parts of an adversarial autoencoder with a category y and a style z.

    Attributes:
        content: where y is from: `"given"`, it is the label, for decoder and training alone; `"classified"`, the
            encoder infers it and labelled images teach it (semi-supervised); `"clustered"`, nothing teaches it.
        category: p(y); a class of the data each, except for clusters.
        style: p(z).
        encoder: one network of q(y|x), through a softmax, and of z.
        decoder: network from y and z side by side to the likelihood's parameters.
        discriminator: network on codes; there is one for y and one for z.
        likelihood: p(x | y, z); a Gaussian of standard deviation 1 is half the squared error.
        adversary: losses of the game on y.
        style_adversary: losses of the game on z.
        independent: tell the discriminator of styles the category, too, inferred or given (not in the paper): styles
            then have the distribution p(z) within each category, and so cannot tell the category.
        input_noise: standard deviation of noise added to the encoder's input in training.
        input_dropout: share of the encoder's inputs set to 0 in training.
        heads: if given, y and z become one code, head(y) + z, whose dimension is that of z (dimensionality
            reduction); heads closer to each other than this are pushed apart.
        consistency: if given, a further phase (not in the paper): q(y|x) shall not change with small changes of the
            image, and labelled images are changed so, too.
    """

    kind: Literal["aae-categorical"] = "aae-categorical"
    content: Literal["given", "classified", "clustered"] = "classified"
    category: Categorical = Categorical(categories=10)
    style: Gaussian = Gaussian(dim=10)
    encoder: EncoderConfig = MLPConfig(widths=(1000, 1000))
    decoder: DecoderConfig = MLPConfig(widths=(1000, 1000))
    discriminator: MLPConfig = MLPConfig(widths=(1000, 1000))
    likelihood: LikelihoodConfig = GaussianLikelihood()
    adversary: Adversary = Adversary()
    style_adversary: Adversary = Adversary()
    independent: bool = False
    input_noise: float = Field(default=0.0, ge=0)
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    heads: float | None = Field(default=None, ge=0)
    consistency: Consistency | None = None

    @model_validator(mode="after")
    def _consistency_is_of_an_inferred_category(self) -> "CategoricalAAEConfig":
        if self.content == "given" and self.consistency is not None:
            raise ValueError("consistency is about inferred categories; with content 'given' there are none.")
        return self


class CategoricalAAE(Autoencoder):
    """An autoencoder with two codes, a category y and a style z, each matched to its prior by its own adversary.

    ::

    Reconstruction phase:    max over encoder, decoder   E log p(x | y, z),  y = q(y|x), z = f(x)
    Regularization phase:    each discriminator          max E_p log D + E_q log (1 - D),  of y and of z
                             max over encoder            E log D_y(q(y|x)) + E log D_z(z)
    Semi-supervised phase:   max over encoder            E log q(y|x) on labelled images

    With `content="given"` y is the label, and neither inferred nor regularised. With `heads` the decoder sees
    W y + z, and `separate` pushes the heads (columns of W) apart.
    """

    kind = "aae-categorical"
    config_class = CategoricalAAEConfig
    config: CategoricalAAEConfig

    def __init__(self, config: CategoricalAAEConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__(config, shape, classes)
        channels, height, width = shape
        self.categories, self.style = config.category.dim, config.style.dim
        if self.supervised and self.categories != classes:
            raise ConfigError(
                f"model.category has {self.categories} categories, the data has {classes} classes; with content "
                f"{config.content!r} set model.category.categories={classes}."
            )
        self.prior = Product(parts=(config.category, config.style))
        self.likelihood = config.likelihood
        self.corrupt = nn.Sequential(GaussianNoise(config.input_noise), Dropout(config.input_dropout))
        inferred = 0 if config.content == "given" else self.categories
        build = partial(config.encoder.build_encoder, shape)
        self.encoder = with_finer(
            config.consistency, build, inferred, inferred + self.style, supervised=self.supervised
        )
        merged = self.style if config.heads is not None else self.categories + self.style
        self.decoder = config.decoder.build_decoder(merged, (self.likelihood.outputs(channels), height, width))
        self.heads = nn.Linear(self.categories, self.style, bias=False) if config.heads is not None else None
        told = self.categories + (config.content == "given") if config.independent else 0
        self.style_discriminator = config.discriminator.build(self.style + told, 1)
        self.category_discriminator = config.discriminator.build(self.categories, 1) if inferred else None
        check_r1("style_adversary", config.style_adversary, self.style_discriminator)
        if self.category_discriminator is not None:
            check_r1("adversary", config.adversary, self.category_discriminator)

    # ---- training -------------------------------------------------------------------------------------------------

    def phases(self) -> tuple[Phase | Group, ...]:
        """Reconstruction and regularization phases, then the labelled images and what else is asked for."""
        given = self.config.content == "given"
        decoders = (self.decoder,) if self.heads is None else (self.decoder, self.heads)
        games = [Phase("discriminate-style", self.style_discriminator_loss, updates=(self.style_discriminator,))]
        if self.category_discriminator is not None:
            updates = (self.category_discriminator,)
            games.append(Phase("discriminate-category", self.category_discriminator_loss, updates=updates))
        phases: list[Phase | Group] = [
            Phase(
                "reconstruct",
                self.reconstruction_loss,
                updates=(self.encoder, *decoders),
                stream="labelled" if given else "images",
            ),
            Group(
                forward=lambda batch: self.draw_codes(batch.x),
                uses=(self.encoder,),
                phases=(*games, Phase("confuse", self.confusion_loss, updates=(self.encoder,))),
            ),
        ]
        if self.config.content == "classified":
            phases.append(Phase("classify", self.classification_loss, updates=(self.encoder,), stream="labelled"))
        phases = with_agreement(self.config.consistency, phases, self.encoder, self.consistency_loss)
        if self.heads is not None:
            phases.append(Phase("separate", self.separation_loss, updates=(self.heads,)))
        return tuple(phases)

    def draw_codes(self, x: Tensor) -> Codes:
        """Infer y = q(y|x), (n, k), and z, (n, d), of noisy images; y has no column where labels are given."""
        y, z = self._infer(self.corrupt(x))
        return y.softmax(dim=1), z

    def reconstruction_loss(self, batch: Batch) -> Tensor:
        """-log p(x | y, z), (n,) nats."""
        y, z = self.draw_codes(batch.x)
        if self.config.content == "given":
            y = self._one_hot(batch.y)
        return -self.conditional_log_prob(batch.x, self.join(y, z))

    def style_discriminator_loss(self, batch: Batch, codes: Codes) -> Tensor:
        """Tell draws of p(z) from the styles of images."""
        z = codes[1]
        real = self.config.style.sample(len(z), generator=self.rng, device=z.device)
        adversary, told = self.config.style_adversary, self._told(batch, codes)
        judge = self.style_discriminator
        return discriminator_loss(self, judge, adversary, real, z, batch.epoch, told, apart=has_batch_norm(judge))

    def category_discriminator_loss(self, batch: Batch, codes: Codes) -> Tensor:
        """Tell one-hot draws of p(y) from the inferred categories of images."""
        assert self.category_discriminator is not None  # noqa: S101 - else there is no such phase
        y, judge, adversary = codes[0], self.category_discriminator, self.config.adversary
        real = self.config.category.sample(len(y), generator=self.rng, device=y.device)
        self.observe(usage=y.mean(dim=0))
        return discriminator_loss(self, judge, adversary, real, y, batch.epoch, apart=has_batch_norm(judge))

    def confusion_loss(self, batch: Batch, codes: Codes) -> Tensor:
        """Move both codes to where their discriminators take them for draws of the prior."""
        y, z = codes
        adversary, told = self.config.style_adversary, self._told(batch, codes)
        loss = confusion_loss(self, self.style_discriminator, adversary, z, batch.epoch, told)
        self.observe(style=loss.mean())
        if self.category_discriminator is None:
            return loss
        category = confusion_loss(self, self.category_discriminator, self.config.adversary, y, batch.epoch)
        self.observe(category=category.mean())
        return loss + category

    def classification_loss(self, batch: Batch) -> Tensor:
        """-log q(y|x) of labelled images, (n,) nats."""
        x = changed(self.config.consistency, batch.x, self.rng)
        logits, _ = self._infer(self.corrupt(x))
        self.observe(accuracy=(logits.argmax(dim=1) == batch.y).float().mean())
        return F.cross_entropy(logits, batch.y, reduction="none")

    def moments(self) -> tuple[Moment, ...]:
        """The merging of finer categories, where the settings ask for such."""
        return merging(self.config.consistency, self.encoder, lambda x: self._infer(x)[0])

    def consistency_loss(self, batch: Batch) -> Tensor:
        """Keep q(y|x) under small changes of the image, see `Consistency`; (n,) nats. Not in the paper."""
        assert self.config.consistency is not None  # noqa: S101 - else there is no such phase
        return self.config.consistency.loss(batch, lambda x: self._infer(x)[0], self.corrupt, self.rng, self.encoder)

    def separation_loss(self, batch: Batch) -> Tensor:
        """By how much cluster heads are closer than `heads`, summed over all pairs; the same number (n,) times."""
        assert self.heads is not None and self.config.heads is not None  # noqa: S101, PT018 - else no such phase
        distances = F.pdist(self.heads.weight.t().float())
        return (self.config.heads - distances).clamp(min=0).sum().expand(len(batch.x))

    # ---- use ------------------------------------------------------------------------------------------------------

    def join(self, y: Tensor, z: Tensor) -> Tensor:
        """Put categories (n, k) and styles (n, d) side by side, the order of the prior and of `encode`."""
        return torch.cat((y, z), dim=1)

    def split(self, code: Tensor) -> Codes:
        """Undo `join`."""
        return code[:, : self.categories], code[:, self.categories :]

    def represent(self, code: Tensor) -> Tensor:
        """Return what the decoder sees of codes (n, k + d): W y + z, (n, d), with heads; the codes as they are without.

        The sum of cluster head and style is the reduced representation of an image.
        """
        if self.heads is None:
            return code
        y, z = self.split(code)
        reduced: Tensor = self.heads(y).float() + z
        return reduced

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes without noise, (n, k + d): q(y|x), or the likeliest label where it is given, and z."""
        scores, z = self._scores(x)
        y = self._one_hot(scores.argmax(dim=1)) if self.config.content == "given" else scores.softmax(dim=1)
        return self.join(y, z)

    def decode(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the means of p(x | y, z) of codes (n, k + d)."""
        return super().decode(self.represent(z), generator)

    def conditional_log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x | y, z) of images (n, c, h, w) and codes (n, k + d), (n,) nats."""
        return self.likelihood.log_prob(self.decoder(self.represent(z)), x)

    def predict(self, x: Tensor) -> Tensor:
        """Return the probability of each class or cluster, (n, k)."""
        return self._scores(x)[0].softmax(dim=1)

    def log_predict(self, x: Tensor) -> Tensor:
        """Return the logarithm of `predict`, in double precision: in float32 many confident images would be equal."""
        return self._scores(x)[0].double().log_softmax(dim=1)

    @property
    def supervised(self) -> bool:
        """Whether the categories are the classes of the labels."""
        return self.config.content != "clustered"

    def _scores(self, x: Tensor) -> Codes:
        """Logits of q(y|x), or log p(x|y, z) of each label where labels are given (their posterior), and z."""
        logits, z = self._infer(x)
        if self.config.content == "given":
            labels = torch.arange(self.categories, device=x.device)
            codes = (self.join(self._one_hot(label.expand(len(x))), z) for label in labels)
            logits = torch.stack([self.conditional_log_prob(x, code) for code in codes], dim=1)
        return logits, z

    def _infer(self, x: Tensor) -> Codes:
        """Logits of q(y|x), (n, k), or (n, 0) where labels are given; and z, (n, d)."""
        outputs = self.encoder(x).float()
        return outputs[:, : -self.style], outputs[:, -self.style :]

    def _told(self, batch: Batch, codes: Codes) -> Tensor | None:
        """What the discriminator of styles is told beside the style; unlabelled images have a class of their own."""
        if not self.config.independent:
            return None
        return label_switch(batch.y, self.categories) if self.config.content == "given" else codes[0].detach()

    def _one_hot(self, y: Tensor) -> Tensor:
        return F.one_hot(y, self.categories).float()

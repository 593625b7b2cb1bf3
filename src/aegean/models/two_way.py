"""What models with noise on both ways have in common: x = g(z, n) from codes to images, and z = f(x, e) back.

Implicit autoencoders, their flipped kind and ALI have the same two networks and differ in the games that train them.
"""

from collections.abc import Iterable
from functools import partial
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from aegean.config import Config
from aegean.data.stream import Batch
from aegean.errors import ConfigError, UnsupportedError
from aegean.models.base import Group, Model, Moment, Phase, Shape
from aegean.models.code import ready_prior
from aegean.models.consistency import Consistency, merging, with_agreement, with_finer
from aegean.nn import DecoderConfig, DiscriminatorConfig, EncoderConfig, MLPConfig, StridedDecoderConfig
from aegean.priors import Categorical, Gaussian, Prior, PriorConfig, parts_of

C = TypeVar("C", bound="TwoWayConfig")

#: Draws of the encoder's noise over which class probabilities are averaged.
POSTERIOR_DRAWS = 32


class TwoWayConfig(Config):
    """Parts that all such models have; the defaults are those of the implicit autoencoder on MNIST (appendix D.2).

    Attributes:
        prior: p(z). Where it is categorical, or has one categorical part, the encoder ends in a softmax there and its
            code is a class or cluster.
        likelihood: p(x|z): `"deterministic"` x = g(z); `"stochastic"` x = g(z, n), with `noise`.
        noise: dimension of the local noise n ~ N(0, I), for the stochastic likelihood alone.
        posterior: q(z|x): `"deterministic"` z = f(x); `"stochastic"` z = f(x, e), with `posterior_noise`.
        posterior_noise: dimension of e ~ N(0, I), for the stochastic posterior alone.
        encoder: network of q(z|x).
        decoder: network of p(x|z), from z and n side by side; its outputs pass through a sigmoid.
        steps: of each discriminator for one step of the networks that it judges, each on other images.
        code_scale: what a discriminator sees of a code is the code times this; 1 / std of a wide prior keeps it from
            being sure by the code's size alone.
        consistency: if given, a further phase (not in the paper): the category of an image of the data shall not change
            with small changes of it.
    """

    prior: PriorConfig = Gaussian(dim=10)
    likelihood: Literal["deterministic", "stochastic"] = "stochastic"
    noise: int = Field(default=100, ge=0)
    posterior: Literal["deterministic", "stochastic"] = "deterministic"
    posterior_noise: int = Field(default=0, ge=0)
    encoder: EncoderConfig = MLPConfig(widths=(2000, 2000), batch_norm="last")
    decoder: DecoderConfig = StridedDecoderConfig(widths=(128, 64), kernel=4, hidden=(1024,))
    steps: int = Field(default=1, ge=1)
    code_scale: float = Field(default=1.0, gt=0)
    consistency: Consistency | None = None

    @model_validator(mode="after")
    def _noise_belongs_to_stochastic(self: C) -> C:
        for name, kind, setting, dim in (
            ("likelihood", self.likelihood, "noise", self.noise),
            ("posterior", self.posterior, "posterior_noise", self.posterior_noise),
        ):
            if (kind == "stochastic") != (dim > 0):
                raise ValueError(
                    f"{name} {kind!r} with {setting} {dim}: a stochastic {name} needs {setting} of dimension 1 or "
                    "more, a deterministic one takes 0."
                )
        return self


class TwoWay(Model):
    """A prior p(z), and networks x = g(z, n) and z = f(x, e); subclasses add discriminators and phases.

    Attributes:
        prior: p(z).
        encoder: from images, and e, to the code before the softmax.
        decoder: from codes and n to images before the sigmoid.
        corrupt: what is done to the encoder's input in training; nothing, where a subclass does not say.
    """

    config: TwoWayConfig

    def __init__(self, config: TwoWayConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__(config, shape, classes)
        self.prior: Prior = ready_prior(config.prior)
        self.categories = categorical_part(self.prior)
        if config.consistency is not None and self.categories is None:
            raise ConfigError(
                "model.consistency is about categories, and model.prior has none; choose a categorical prior, or leave "
                "consistency out."
            )
        dim = self.prior.dim
        build = partial(config.encoder.build_encoder, shape, extra_inputs=config.posterior_noise)
        where = self.categories or slice(0, 0)
        self.encoder = with_finer(
            config.consistency, build, where.stop - where.start, dim, where.start, supervised=self.supervised
        )
        self.decoder = config.decoder.build_decoder(dim + config.noise, shape)
        self.corrupt: nn.Module = nn.Identity()

    def with_agreement(self, phases: Iterable[Phase | Group]) -> tuple[Phase | Group, ...]:
        """Return a model's phases, and the one of `consistency_loss` where the settings ask for it."""
        return tuple(with_agreement(self.config.consistency, phases, self.encoder, self.consistency_loss))

    def moments(self) -> tuple[Moment, ...]:
        """The merging of finer categories, where the settings ask for such."""
        return merging(self.config.consistency, self.encoder, self.draw_logits)

    def consistency_loss(self, batch: Batch) -> Tensor:
        """Keep q(y|x) under small changes of the image, see `Consistency`; (n,) nats. Not in the paper."""
        assert self.config.consistency is not None  # noqa: S101 - else there is no such phase
        return self.config.consistency.loss(batch, self.draw_logits, self.corrupt, self.rng, self.encoder)

    def draw_logits(self, x: Tensor) -> Tensor:
        """Logits of the categories with a draw of e, (n, c, h, w) to (n, k), or of finer ones to be merged."""
        assert self.categories is not None  # noqa: S101 - else nobody asks
        outputs = self._score(x, self._noise(len(x), self.config.posterior_noise, self.rng))
        after = self.prior.dim - self.categories.stop
        return outputs[:, self.categories.start : outputs.shape[1] - after]

    def draw_code(self, x: Tensor) -> Tensor:
        """Sample z = f(x, e), (n, c, h, w) to (n, d), differentiable in encoder and image."""
        return self._code(self._score(x, self._noise(len(x), self.config.posterior_noise, self.rng)))

    def harden(self, z: Tensor) -> Tensor:
        """Return codes (n, d) with the likeliest category one-hot, and the gradients of the codes as they were.

        Probabilities are told from the prior's one-hot draws by not being 0 or 1, whatever category they favour; these
        are not.
        """
        if self.categories is None:
            return z
        q = z[:, self.categories]
        hard = F.one_hot(q.argmax(dim=1), q.shape[1]) + (q - q.detach())  # exactly 0 and 1
        return torch.cat((z[:, : self.categories.start], hard, z[:, self.categories.stop :]), dim=1)

    def draw_image(self, z: Tensor) -> Tensor:
        """Sample x = g(z, n), (n, d) to (n, c, h, w), differentiable in decoder and code."""
        return self._image(z, self._noise(len(z), self.config.noise, self.rng))

    def draw_styled(self, z: Tensor, n: Tensor) -> Tensor:
        """Return x = g(z, n) of codes (n, d) and noise of one's own, (n, noise), to (n, c, h, w)."""
        return self._image(z, n)

    def draw_prior(self, n: int) -> Tensor:
        """Sample z from p(z), (n, d)."""
        return self.prior.sample(n, generator=self.rng, device=self.device)

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes with e = 0, (n, d)."""
        return self._code(self._score(x, torch.zeros(len(x), self.config.posterior_noise, device=x.device)))

    def decode(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw images from p(x|z), (n, d) to (n, c, h, w); a deterministic likelihood has but one of each code."""
        return self._image(z, self._noise(len(z), self.config.noise, generator))

    def sample(self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw z from the prior (of the classes or clusters `y`), then images from p(x|z)."""
        return self.decode(self.prior.sample(n, labels=y, generator=generator).to(self.device), generator)

    def predict(self, x: Tensor) -> Tensor:
        """Return q(z|x) of the categorical part, the probability of each class or cluster, (n, k).

        The noise of a stochastic posterior is averaged over, with the same draws at every call.
        """
        return self.log_predict(x).exp().float()

    def log_predict(self, x: Tensor) -> Tensor:
        """Return log q(z|x), (n, k), in double precision: in float32 many confident images would be equal."""
        if self.categories is None:
            return super().predict(x)
        generator = torch.Generator().manual_seed(0)
        draws = POSTERIOR_DRAWS if self.config.posterior_noise else 1
        noise = [self._noise(1, self.config.posterior_noise, generator).expand(len(x), -1) for _ in range(draws)]
        terms = [self._score(x, e)[:, self.categories].double().log_softmax(dim=1) for e in noise]
        return torch.stack(terms).logsumexp(dim=0) - torch.tensor(float(draws)).double().log()

    def can(self, task: str) -> bool:
        """A continuous code has no classes to predict."""
        return super().can(task) and (task != "predict" or self.categories is not None)

    def _score(self, x: Tensor, e: Tensor) -> Tensor:
        """Code before the softmax, (n, d)."""
        outputs: Tensor = self.encoder(x, e) if self.config.posterior_noise else self.encoder(x)
        return outputs.float()

    def _code(self, outputs: Tensor) -> Tensor:
        """Put the categorical part through a softmax."""
        if self.categories is None:
            return outputs
        before, after = outputs[:, : self.categories.start], outputs[:, self.categories.stop :]
        return torch.cat((before, outputs[:, self.categories].softmax(dim=1), after), dim=1)

    def _image(self, z: Tensor, n: Tensor) -> Tensor:
        images: Tensor = self.decoder(torch.cat((z, n), dim=1)).float().sigmoid()
        return images

    def _noise(self, n: int, dim: int, generator: torch.Generator | None) -> Tensor:
        """Standard normal draws, (n, dim), on the generator's device and then on the model's."""
        device = "cpu" if generator is None else generator.device
        return torch.randn(n, dim, generator=generator, device=device).to(self.device)


class PairDiscriminator(nn.Module):
    """A discriminator of pairs of an image and a code, as `pair` makes them.

    A pair is one tensor, so that instance noise and the R1 penalty are about its image and its code alike.

    Args:
        config: network of images, with the code as extra inputs.
        shape: of an image.
        code: dimension of a code.
        scale: what codes are multiplied by.
    """

    def __init__(self, config: DiscriminatorConfig, shape: Shape, code: int, scale: float = 1.0) -> None:
        super().__init__()
        self.network = config.build_discriminator(shape, extra_inputs=code)
        self.shape, self.code, self.scale = shape, code, scale

    def forward(self, pairs: Tensor) -> Tensor:
        """Map pairs (n, c h w + d) to logits (n,)."""
        images, codes = pairs[:, : -self.code].reshape(-1, *self.shape), pairs[:, -self.code :]
        logits: Tensor = self.network(images, self.scale * codes)[0]
        return logits


def pair(x: Tensor, z: Tensor) -> Tensor:
    """Put images (n, c, h, w) and codes (n, d) side by side, (n, c h w + d)."""
    return torch.cat((x.flatten(1), z), dim=1)


def categorical_part(prior: Prior) -> slice | None:
    """Return where a prior's categorical coordinates stand, None if it has none.

    Raises:
        ConfigError: it has several categorical parts, of which a code could be only one.
    """
    found = [where for part, where in parts_of(prior) if isinstance(part, Categorical)]
    if len(found) > 1:
        raise ConfigError(
            f"The prior has {len(found)} categorical parts; the encoder infers one, so leave the others out."
        )
    return found[0] if found else None


def require_classes(prior: Prior, classes: int) -> None:
    """Check that the categories of a supervised model are the classes of the data.

    Raises:
        ConfigError: they are not as many.
    """
    categories = categorical_part(prior)
    count = 0 if categories is None else categories.stop - categories.start
    if count != classes or not classes:
        raise ConfigError(
            f"model.prior has {count} categories, the data has {classes} classes; supervised=true needs a categorical "
            f"prior with a category for each class: set model.prior.categories={classes}, or supervised=false."
        )


def refuse_unused(config: Config, names: tuple[str, ...], why: str) -> None:
    """Refuse settings that were changed and have no effect.

    Args:
        config: the settings.
        names: those without effect.
        why: what makes them so, and the remedy.

    Raises:
        ValueError: one of them is not the default; a validator makes it a `ConfigError`.
    """
    for name in names:
        if getattr(config, name) != type(config).model_fields[name].default:
            raise ValueError(f"{name} has no effect {why}")


def no_prior(name: str) -> UnsupportedError:
    """Return the error of a model whose codes were not matched to any distribution that can be sampled."""
    return UnsupportedError(
        f"{name} was trained without regularisation: its codes follow no prior, so it cannot draw images; reconstruct "
        "some, or train with model.regularization above 0."
    )

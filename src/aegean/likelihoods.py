"""Likelihoods p(x|·): how a decoder's outputs are read as a distribution over images.

Images are in [0, 1]. A network's outputs are called `params`, of shape `(n, outputs(channels), h, w)`, for
any h and w: a single pixel (1x1) is as good as an image.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, FiniteFloat
from torch import Tensor
from torch.nn import functional as F

from aegean.config import Config
from aegean.errors import ConfigError, DataError


class Likelihood(Config):
    """Base of all likelihoods."""

    def outputs(self, channels: int) -> int:
        """Return how many numbers a network must give for each pixel of an image with `channels` channels."""
        return channels

    def channels(self, params: Tensor) -> int:
        """Return the channels of the images that `params` describe, the inverse of `outputs`."""
        return params.shape[1]

    @abstractmethod
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Return log p(x) in nats, summed over pixels and channels.

        Args:
            params: a network's outputs, float `(n, outputs(channels), h, w)`.
            x: images in [0, 1], float `(n, channels, h, w)`.

        Returns:
            float32 `(n,)`.

        Raises:
            ConfigError: the shapes do not fit together.
        """

    def pixel_log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Return log p of each pixel, all its channels together, in nats; their sum is `log_prob`.

        Args:
            params: as for `log_prob`.
            x: as for `log_prob`.

        Returns:
            float32 `(n, h, w)`.

        Raises:
            ConfigError: the shapes do not fit together.
        """
        _check_shapes(self, params, x)
        n, _, h, w = x.shape
        # A single pixel is as good an image as any.
        alone = (part.permute(0, 2, 3, 1).reshape(n * h * w, -1, 1, 1) for part in (params, x))
        return self.log_prob(*alone).view(n, h, w)

    @abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """Return the mean image, float32 `(n, channels, h, w)`."""

    def noise_shape(self, channels: int, h: int, w: int) -> tuple[int, int, int]:
        """Return the shape of the uniform noise that a sample of one image is made of."""
        return channels, h, w

    @abstractmethod
    def sample_from(self, params: Tensor, uniforms: Tensor) -> Tensor:
        """Turn noise into images; each pixel depends on its own params and noise alone.

        Args:
            params: a network's outputs, float `(n, outputs(channels), h, w)`.
            uniforms: numbers in the open interval (0, 1), `(n, *noise_shape(channels, h, w))`.

        Returns:
            x, float32 `(n, channels, h, w)` in [0, 1].
        """

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw images, float32 `(n, channels, h, w)` in [0, 1], with a generator on the params' device."""
        n, _, h, w = params.shape
        shape = (n, *self.noise_shape(self.channels(params), h, w))
        uniforms = torch.rand(shape, generator=generator, device=params.device)
        # torch.rand gives multiples of 2^-24, 0 among them, and never 1.
        return self.sample_from(params, uniforms.clamp(min=2.0**-25))

    def check(self, x: Tensor) -> None:
        """Look at images before training.

        Raises:
            DataError: they are not float, not of shape (n, c, h, w), or not all in [0, 1].
        """
        if x.ndim != 4 or not x.is_floating_point():
            raise DataError(f"Images must be floats of shape (n, c, h, w), not {x.dtype} of {tuple(x.shape)}.")
        if x.numel() and not (x.min() >= 0 and x.max() <= 1):  # written so that NaN fails too
            hint = "; divide by 255" if 1 < x.max() <= 255 and x.min() >= 0 else ""
            raise DataError(f"Images must be in [0, 1]; found {x.min():g} to {x.max():g}{hint}.")


class Bernoulli(Likelihood):
    """Binary pixels; params are logits.

    For pixels between 0 and 1 (not binarised images) `log_prob` is the negative cross-entropy, which is not
    a normalised density.
    """

    kind: Literal["bernoulli"] = "bernoulli"

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Return log p(x) in nats, `(n,)`; see `Likelihood.log_prob`."""
        _check_shapes(self, params, x)
        cross_entropy = F.binary_cross_entropy_with_logits(params.float(), x.float(), reduction="none")
        return -cross_entropy.flatten(1).sum(dim=1)

    def mean(self, params: Tensor) -> Tensor:
        """Return the probabilities that pixels are 1."""
        return params.float().sigmoid()

    def sample_from(self, params: Tensor, uniforms: Tensor) -> Tensor:
        """Turn noise into images of zeros and ones; see `Likelihood.sample_from`."""
        return (uniforms < params.float().sigmoid()).float()


class GaussianLikelihood(Likelihood):
    """Independent Gaussians N(mean, std²) with a fixed standard deviation.

    With std 1 the negative log-likelihood is half the squared error, summed over pixels, plus the constant
    log(2π)/2 a pixel and channel.

    Attributes:
        std: the standard deviation of each pixel.
        activation: the mean is the logistic sigmoid of the params, or the params themselves (`"linear"`).
    """

    kind: Literal["gaussian"] = "gaussian"
    std: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    activation: Literal["sigmoid", "linear"] = "sigmoid"

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Return log p(x) in nats, `(n,)`; see `Likelihood.log_prob`."""
        _check_shapes(self, params, x)
        standardised = (x.float() - self.mean(params)) / self.std
        log_density = -0.5 * standardised.square() - math.log(self.std) - 0.5 * math.log(2 * math.pi)
        return log_density.flatten(1).sum(dim=1)

    def mean(self, params: Tensor) -> Tensor:
        """Return the mean image; with `"linear"` it may leave [0, 1]."""
        return params.float().sigmoid() if self.activation == "sigmoid" else params.float()

    def sample_from(self, params: Tensor, uniforms: Tensor) -> Tensor:
        """Turn noise into images, clipped to [0, 1]; see `Likelihood.sample_from`."""
        normal: Tensor = torch.special.ndtri(uniforms.float())
        return (self.mean(params) + self.std * normal).clamp(0.0, 1.0)


class DiscretizedLogisticMixture(Likelihood):
    """Mixture of logistic distributions over discrete levels, for grey and for RGB images.

    "PixelCNN++" (Salimans et al., 2017), equations 1 to 3. Pixels are scaled to [-1, 1]; the probability of
    a level is the mass of the mixture within half a step of it, and the lowest and the highest level take the
    tails. The channels of an RGB pixel share their component; the mean of green depends linearly on the red
    value, the mean of blue on red and green. Values between two levels count as the nearest one.

    Params of a grey pixel, with K components: K logits, K means, K log-scales. Of an RGB pixel: K logits;
    K means of red, then of green, then of blue; their 3K log-scales likewise; K coefficients (before tanh)
    each of red to green, red to blue, green to blue.

    Attributes:
        components: the number of logistics K.
        levels: the number of values of a pixel, equally spaced from 0 to 1.
    """

    kind: Literal["discretized_logistic_mixture"] = "discretized_logistic_mixture"
    components: int = Field(default=10, ge=1)
    levels: int = Field(default=256, ge=2)

    def outputs(self, channels: int) -> int:
        """Return 3K for grey and 10K for RGB.

        Raises:
            ConfigError: images have neither one nor three channels.
        """
        if channels not in (1, 3):
            raise ConfigError(f"A logistic mixture needs images with 1 or 3 channels, not {channels}.")
        return (3 if channels == 1 else 10) * self.components

    def channels(self, params: Tensor) -> int:
        """Return 1 or 3.

        Raises:
            ConfigError: `params` have neither 3K nor 10K channels.
        """
        grey, rgb = self.outputs(1), self.outputs(3)
        if params.shape[1] not in (grey, rgb):
            raise ConfigError(
                f"A logistic mixture with {self.components} components needs {grey} outputs for grey or "
                f"{rgb} for RGB images, not {params.shape[1]}."
            )
        return 1 if params.shape[1] == grey else 3

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Return log p(x) in nats, `(n,)`; see `Likelihood.log_prob`."""
        _check_shapes(self, params, x)
        logits, means, log_scales, coefficients = self._split(params)
        level = (x.float() * (self.levels - 1)).round()[:, :, None]  # (n, c, 1, h, w)
        value = self._scaled(level)
        if means.shape[1] == 3:
            red, green = value[:, 0], value[:, 1]
            green_shift = coefficients[:, 0] * red
            blue_shift = coefficients[:, 1] * red + coefficients[:, 2] * green
            means = means + torch.stack([torch.zeros_like(green_shift), green_shift, blue_shift], dim=1)

        # The mass between two points of a logistic distribution, without cancellation or underflow:
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), and a - b is the same for all x.
        half_step = 1.0 / (self.levels - 1)
        inverse_scales = (-log_scales).exp()
        below = F.logsigmoid((value - means + half_step) * inverse_scales)
        above = F.logsigmoid((means - value + half_step) * inverse_scales)
        # log(1 - exp(-width)) = log(width) + log((1 - exp(-width)) / width); the last ratio is 1 at width 0.
        width = (2 * half_step * inverse_scales).clamp(min=1e-12)
        log_ratio = (-torch.expm1(-width) / width).log()
        middle = below + above + math.log(2 * half_step) - log_scales + log_ratio
        log_mass = torch.where(level == 0, below, torch.where(level == self.levels - 1, above, middle))

        log_joint = logits.log_softmax(dim=1) + log_mass.sum(dim=1)  # (n, K, h, w)
        return log_joint.logsumexp(dim=1).flatten(1).sum(dim=1)

    def mean(self, params: Tensor) -> Tensor:
        """Return the mixture of the components' means, each clipped to [0, 1].

        It is the mean before pixels are discretised; a green mean is the one at the mean red, and so on.
        """
        logits, means, _, coefficients = self._split(params)
        values = _dependent_values(means, coefficients, lambda value: value.clamp(-1.0, 1.0))
        mean = (values * logits.softmax(dim=1)[:, None]).sum(dim=2)
        return (mean + 1.0) / 2.0

    def noise_shape(self, channels: int, h: int, w: int) -> tuple[int, int, int]:
        """Return K numbers a pixel to choose the component, and one for each channel."""
        return self.components + channels, h, w

    def sample_from(self, params: Tensor, uniforms: Tensor) -> Tensor:
        """Turn noise into images of exact levels; see `Likelihood.sample_from`.

        Red is drawn first and rounded to its level before green depends on it, and so on, as in `log_prob`.
        """
        logits, means, log_scales, coefficients = self._split(params)
        uniforms = uniforms.float()
        gumbel = -(-uniforms[:, : self.components].log()).log()
        component = (logits + gumbel).argmax(dim=1)[:, None, None]  # (n, 1, 1, h, w)
        means, log_scales, coefficients = (
            part.gather(2, component.expand(-1, part.shape[1], -1, -1, -1))
            for part in (means, log_scales, coefficients)
        )
        logistic = uniforms[:, self.components :].logit()[:, :, None]
        scales = log_scales.clamp(max=50.0).exp()  # infinity times a logistic of 0 would be NaN
        values = _dependent_values(means + scales * logistic, coefficients, self._nearest_level)
        return ((values[:, :, 0] + 1.0) / 2.0 * (self.levels - 1)).round() / (self.levels - 1)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits (n, K, h, w) and means, log-scales, coefficients (n, c or 0, K, h, w)."""
        channels = self.channels(params)
        n, _, h, w = params.shape
        blocks = params.float().reshape(n, -1, self.components, h, w)
        means, log_scales = blocks[:, 1 : 1 + channels], blocks[:, 1 + channels : 1 + 2 * channels]
        return blocks[:, 0], means, log_scales.clamp(min=-7.0), blocks[:, 1 + 2 * channels :].tanh()

    def _scaled(self, level: Tensor) -> Tensor:
        return 2.0 * level / (self.levels - 1) - 1.0

    def _nearest_level(self, value: Tensor) -> Tensor:
        steps = self.levels - 1
        return self._scaled(((value + 1.0) / 2.0 * steps).round().clamp(0, steps))


#: A likelihood in a recipe or a file, told apart by `kind`.
LikelihoodConfig = Annotated[Bernoulli | GaussianLikelihood | DiscretizedLogisticMixture, Field(discriminator="kind")]


def _check_shapes(likelihood: Likelihood, params: Tensor, x: Tensor) -> None:
    """Refuse what broadcasting would let pass."""
    n, channels, h, w = x.shape
    wanted = (n, likelihood.outputs(channels), h, w)
    if params.shape != wanted:
        raise ConfigError(
            f"Images of shape {tuple(x.shape)} need network outputs of shape {wanted} for "
            f"{type(likelihood).__name__}, not {tuple(params.shape)}."
        )


def _dependent_values(values: Tensor, coefficients: Tensor, finish: Callable[[Tensor], Tensor]) -> Tensor:
    """Add to green its share of the finished red, and to blue those of red and green.

    Args:
        values: (n, c, ...).
        coefficients: (n, 3, ...), or empty for grey images.
        finish: clips or rounds a channel before the next one depends on it.
    """
    if values.shape[1] == 1:
        return finish(values)
    red = finish(values[:, 0])
    green = finish(values[:, 1] + coefficients[:, 0] * red)
    blue = finish(values[:, 2] + coefficients[:, 1] * red + coefficients[:, 2] * green)
    return torch.stack([red, green, blue], dim=1)

"""InfoGAN: interpretable representation learning by information maximizing GANs (Chen et al., 2016)."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aegean.data.stream import Batch
from aegean.errors import ConfigError
from aegean.models.base import Group, Phase, Shape
from aegean.models.code import check_r1, ready_prior
from aegean.models.gan import GANParts, Generator
from aegean.nn import MLPConfig
from aegean.priors import Categorical, Gaussian, Prior, PriorConfig, Product, Uniform

#: Continuous codes are told with a standard deviation of at least exp(-4): without a floor the information of a code
#: that is told exactly is infinite, and so is its gradient.
MIN_LOG_VARIANCE = -8.0


class InfoGANConfig(GANParts):
    """Parts of an InfoGAN; see `GANParts` for generator and discriminator. The defaults are those of MNIST (C.1).

    Attributes:
        prior: p(c) of the codes that images shall tell: categorical, uniform or Gaussian, or several side by side.
        noise: dimension of the incompressible noise n ~ N(0, I) beside them; 0 for none.
        recognition: network of Q(c|x) on the features that the discriminator shows.
        information: lambda, the weight of the mutual information.
        variance: of Q for continuous codes: `"learned"`, or `"fixed"` at 1, which makes their information a squared
            error that cannot outweigh a category's.
    """

    kind: Literal["infogan"] = "infogan"
    prior: PriorConfig = Product(parts=(Categorical(categories=10), Uniform(dim=2)))
    noise: int = Field(default=62, ge=0)
    recognition: MLPConfig = MLPConfig(widths=(128,))
    information: float = Field(default=1.0, gt=0)
    variance: Literal["learned", "fixed"] = "learned"


class InfoGAN(Generator):
    """A GAN whose images tell a part of what they are made of: the codes c, beside the noise n.

    With V the GAN's value and Q(c|x) a network that shares the discriminator's trunk (equation 6)::

        min over generator, Q   max over discriminator   V(D, G) - lambda L_I(G, Q)
        L_I = E_{p(c), x = G(n, c)} log Q(c|x) + H(c)  <=  I(c; G(n, c))                    (equation 5)

    Q is a softmax for categorical codes, and for continuous ones a Gaussian with a mean and a variance of its own for
    each coordinate.
    """

    kind = "infogan"
    config_class = InfoGANConfig
    config: InfoGANConfig

    def __init__(self, config: InfoGANConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__(config, shape, classes)
        self.prior = ready_prior(config.prior)
        self.parts = _parts(self.prior)
        self.generator = config.generator.build_decoder(self.prior.dim + config.noise, shape)
        self.discriminator = config.discriminator.build_discriminator(shape)
        check_r1("adversary", config.adversary, self.discriminator)
        outputs = sum(self._width(part) for part in self.parts)
        self.recognition = config.recognition.build(_features(self.discriminator, shape), outputs)

    def phases(self) -> tuple[Phase | Group, ...]:
        """The GAN's game, then the mutual information."""
        updates = (self.generator, self.discriminator, self.recognition)
        return (*self.game(), Phase("inform", self.information_loss, updates=updates))

    def information_loss(self, batch: Batch) -> Tensor:
        """-lambda (log Q(c|x) - log p(c)) of made images, (n,) nats; its mean is -lambda L_I."""
        c = self.draw_prior(len(batch.x))
        information = self.log_q(self.decode(c, self.rng), c) - self.prior.log_prob(c)
        self.observe(information=information.mean())
        return -self.config.information * information

    def log_q(self, x: Tensor, c: Tensor) -> Tensor:
        """Return log Q(c|x) of images (n, c, h, w) and codes (n, d), (n,) nats."""
        total = torch.zeros(len(x), device=x.device)
        for part, code, outputs in self._split(x, c):
            if isinstance(part, Categorical):
                total = total + (code * outputs.log_softmax(dim=1)).sum(dim=1)
            else:
                mean, log_variance = self._moments(outputs)
                distance = (code - mean).square() / log_variance.exp()
                total = total - 0.5 * (distance + log_variance + math.log(2 * math.pi)).sum(dim=1)
        return total

    def draw_code(self, x: Tensor) -> Tensor:
        """Draw c from Q(c|x), (n, c, h, w) to (n, d)."""
        drawn = []
        for part, _, outputs in self._split(x):
            if isinstance(part, Categorical):
                chosen = torch.multinomial(outputs.softmax(dim=1), 1, generator=self.rng).squeeze(1)
                drawn.append(torch.nn.functional.one_hot(chosen, part.dim).float())
            else:
                mean, log_variance = self._moments(outputs)
                noise = torch.randn(mean.shape, generator=self.rng, device=mean.device)
                drawn.append(mean + noise * (log_variance / 2).exp())
        return torch.cat(drawn, dim=1)

    def encode(self, x: Tensor) -> Tensor:
        """Return what Q tells of the codes, (n, d): probabilities of categories, means of continuous codes."""
        found = [
            outputs.softmax(dim=1) if isinstance(part, Categorical) else self._moments(outputs)[0]
            for part, _, outputs in self._split(x)
        ]
        return torch.cat(found, dim=1)

    def decode(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw the images of codes, with noise of their own, (n, d) to (n, c, h, w)."""
        device = "cpu" if generator is None else generator.device
        return self.draw_styled(z, torch.randn(len(z), self.config.noise, generator=generator, device=device))

    def draw_styled(self, z: Tensor, n: Tensor) -> Tensor:
        """Return the images of codes (n, d) and noise of one's own, (n, noise), as (n, c, h, w)."""
        images: Tensor = self.generator(torch.cat((z, n.to(z.device)), dim=1)).float().sigmoid()
        return images

    def predict(self, x: Tensor) -> Tensor:
        """Return Q(c|x) of the one categorical code, the probability of each cluster, (n, k)."""
        return self.log_predict(x).exp().float()

    def log_predict(self, x: Tensor) -> Tensor:
        """Return log Q(c|x), (n, k), in double precision: in float32 many confident images would be equal."""
        found = [outputs for part, _, outputs in self._split(x) if isinstance(part, Categorical)]
        return found[0].double().log_softmax(dim=1) if len(found) == 1 else super().predict(x)

    def can(self, task: str) -> bool:
        """Clusters are predicted where exactly one code is categorical."""
        return super().can(task) and (task != "predict" or self.prior.components is not None)

    def _split(self, x: Tensor, c: Tensor | None = None) -> Iterator[tuple[Prior, Tensor, Tensor]]:
        """Iterate over the codes: their prior, their coordinates of c (none where c is not given), Q's outputs."""
        outputs = self.recognition(self.discriminator(x)[1]).float()
        c = torch.zeros(len(x), 0, device=x.device) if c is None else c
        start = begin = 0
        for part in self.parts:
            width = self._width(part)
            yield part, c[:, start : start + part.dim], outputs[:, begin : begin + width]
            start, begin = start + part.dim, begin + width

    def _width(self, part: Prior) -> int:
        """How many outputs of Q tell of a code."""
        return part.dim if isinstance(part, Categorical) or self.config.variance == "fixed" else 2 * part.dim

    def _moments(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of a continuous code, (n, d) each."""
        if self.config.variance == "fixed":
            return outputs, torch.zeros_like(outputs)
        mean, log_variance = outputs.chunk(2, dim=1)
        return mean, log_variance.clamp(min=MIN_LOG_VARIANCE)


def _parts(prior: Prior) -> tuple[Prior, ...]:
    parts: tuple[Prior, ...] = prior.parts if isinstance(prior, Product) else (prior,)
    for part in parts:
        if not isinstance(part, Categorical | Uniform | Gaussian):
            raise ConfigError(
                f"model.prior has a part {type(part).__name__}; codes that an InfoGAN can tell are categorical, "
                "uniform or gaussian."
            )
    return parts


@torch.no_grad()
def _features(discriminator: nn.Module, shape: Shape) -> int:
    """How many features a discriminator shows of an image; it is left as it was."""
    training = discriminator.training
    features: Tensor = discriminator.eval()(torch.zeros(1, *shape))[1]
    discriminator.train(training)
    return features.numel()

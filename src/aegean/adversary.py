"""Losses of a discriminator and of the network that it judges.

A discriminator's output is a logit, never a probability: every logarithm of a probability is a softplus,
which neither overflows nor loses its gradient.
"""

import math
from collections.abc import Callable
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import softplus

from aegean.config import Config
from aegean.errors import ConfigError
from aegean.processes import all_rows, batch_mean
from aegean.schedules import Scheduled, is_never_negative, value_at


class Adversary(Config):
    """An adversarial game, and what keeps it stable.

    With D = sigmoid(logit), the discriminator and the generator (an encoder, for codes) minimise:

    - `"non-saturating"` (Goodfellow et al., 2014): -log D(real) - log(1 - D(fake)), and -log D(fake);
    - `"minimax"` (the same paper, equation 1): the same, and log(1 - D(fake)), whose gradient vanishes where
      the discriminator is sure;
    - `"least-squares"` (Mao et al., 2017, with a = 0, b = c = 1), on the bare output:
      ((real - 1)² + fake²) / 2, and (fake - 1)² / 2;
    - `"wasserstein"` (Arjovsky et al., 2017): fake - real, and -fake. The critic must be kept Lipschitz, by
      `r1` for example.

    Three more are the dual forms of a divergence (f-GAN; Nowozin et al., 2016, equation 4): the discriminator
    minimises -T(real) + f*(T(fake)), which is then at best minus the divergence, and the generator -f*(T(fake)).
    T = f'(exp(logit)), so that the best logit is log(real / fake), the logarithm of the ratio of densities:

    - `"jensen-shannon"`: twice the Jensen-Shannon divergence; `"minimax"` less the constant 2 log 2;
    - `"kl"`, KL(real || fake): exp(fake) - 1 - real, and -exp(fake);
    - `"reverse-kl"`, KL(fake || real): exp(-real) - 1 + fake, and 1 - fake.

    Above exp(10) these exponentials go on as straight lines, so that no sample can make a gradient infinite.

    Attributes:
        loss: which of these.
        ratio: how the discriminator of `"kl"` and `"reverse-kl"` learns the log-ratio: by the `"dual"` form above, or
            by the `"logistic"` loss of `"non-saturating"`, which has the same best logit (Poole et al., 2016) and no
            exponential that a few samples rule. The generator's loss is that above.
        logarithmic: the generator of `"minimax"`, `"jensen-shannon"` or `"kl"` minimises -log(mean of softplus(fake) /
            log 2) or -log(mean of exp(fake)), over the mini-batch, in place of minus these means: the minimum is the
            same, and the gradient, divided by the mean, does not vanish where all fakes are surely such. That of `"kl"`
            is Donsker and Varadhan's form of the divergence.
        warm_up: epochs at first in which the generator has the loss of `"non-saturating"`: `"minimax"`,
            `"jensen-shannon"` and `"kl"` give fakes that are surely such hardly a gradient, and at first all are. For
            games whose best logit is the log-ratio.
        r1: γ of the penalty γ/2 |∇D(real)|² on the discriminator (R1 of Mescheder et al., 2018); may be
            annealed.
        instance_noise: standard deviation of Gaussian noise added to all inputs of the discriminator, real
            and fake, in the generator's phase too (Sønderby et al., 2017); may be annealed.
    """

    loss: Literal["non-saturating", "minimax", "least-squares", "wasserstein", "jensen-shannon", "kl", "reverse-kl"] = (
        "non-saturating"
    )
    ratio: Literal["dual", "logistic"] = "dual"
    logarithmic: bool = False
    warm_up: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    r1: Scheduled = 0.0
    instance_noise: Scheduled = 0.0

    @model_validator(mode="after")
    def _has_another_way_to_the_ratio(self) -> Self:
        if self.ratio == "logistic" and self.loss not in ("kl", "reverse-kl"):
            raise ValueError(
                f"ratio 'logistic' is for the losses 'kl' and 'reverse-kl'; leave it out for {self.loss!r}, whose "
                f"discriminator {'learns so anyway' if self.estimates_density_ratio else 'learns no ratio'}."
            )
        return self

    @model_validator(mode="after")
    def _saturates(self) -> Self:
        if self.logarithmic and self.loss not in ("minimax", "jensen-shannon", "kl"):
            raise ValueError(
                "logarithmic is for 'minimax', 'jensen-shannon' and 'kl', whose generators' gradients vanish; leave it "
                f"out for {self.loss!r}."
            )
        return self

    @model_validator(mode="after")
    def _warms_up_with_the_same_logits(self) -> Self:
        if self.warm_up and (self.loss == "non-saturating" or not self.estimates_density_ratio):
            raise ValueError(
                "warm_up is for 'minimax', 'jensen-shannon', 'kl' and 'reverse-kl', which begin with the "
                f"generator's loss of 'non-saturating'; leave it out for {self.loss!r}."
            )
        return self

    @model_validator(mode="after")
    def _is_never_negative(self) -> Self:
        for name, setting in (("r1", self.r1), ("instance_noise", self.instance_noise)):
            if not is_never_negative(setting):
                raise ValueError(f"{name} is {setting}; it must be 0 or more throughout.")
        return self

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return the sum of the losses on a real and on a fake sample.

        Args:
            real_logits: outputs for samples of the prior or the data, `(n,)` or `(n, 1)`.
            fake_logits: outputs for as many codes or generated images.

        Returns:
            float32 `(n,)`, in nats but for least squares and Wasserstein.

        Raises:
            ConfigError: the shapes are others.
        """
        real, fake = _flat(real_logits), _flat(fake_logits)
        if real.shape != fake.shape:
            raise ConfigError(f"Real and fake logits must be as many; found {len(real)} and {len(fake)}.")
        match "non-saturating" if self.ratio == "logistic" else self.loss:
            case "non-saturating" | "minimax":
                return softplus(-real) + softplus(fake)
            case "least-squares":
                return ((real - 1.0).square() + fake.square()) / 2.0
            case "wasserstein":
                return fake - real
            case "jensen-shannon":
                return softplus(-real) + softplus(fake) - 2.0 * math.log(2.0)
            case "kl":
                return _exp(fake) - 1.0 - real
            case "reverse-kl":
                return _exp(-real) - 1.0 + fake

    def generator_loss(self, fake_logits: Tensor, epoch: float = math.inf) -> Tensor:
        """Return the loss of the network that made the fake samples.

        Args:
            fake_logits: the discriminator's outputs for them, `(n,)` or `(n, 1)`.
            epoch: the epoch, whole or fractional; by default one after the warm-up.

        Returns:
            float32 `(n,)`, in nats but for least squares and Wasserstein.

        Raises:
            ConfigError: the shape is another.
        """
        fake = _flat(fake_logits)
        match self._loss_at(epoch):
            case "non-saturating":
                loss = softplus(-fake)
            case "kl" if self.logarithmic:
                loss = -_log_mean_exp(fake)
            case "minimax" | "jensen-shannon" if self.logarithmic:
                loss = math.log(math.log(2.0)) - _log_mean_exp(_log_softplus(fake))
            case "minimax":
                loss = -softplus(fake)
            case "least-squares":
                loss = (fake - 1.0).square() / 2.0
            case "wasserstein":
                loss = -fake
            case "jensen-shannon":
                loss = math.log(2.0) - softplus(fake)
            case "kl":
                loss = -_exp(fake)
            case "reverse-kl":
                loss = 1.0 - fake
        return loss

    def generator_loss_of_real(self, real_logits: Tensor, epoch: float = math.inf) -> Tensor:
        """Return the loss of a network that had a part in the real samples and wants them taken for fake ones.

        That is the encoder's side where discriminators judge pairs of an image and its code (ALI; Dumoulin et al.,
        2017), and the positive example of the implicit autoencoder's footnote 1.

        Args:
            real_logits: the discriminator's outputs for them, `(n,)` or `(n, 1)`.
            epoch: the epoch, whole or fractional; by default one after the warm-up.

        Returns:
            float32 `(n,)`: the discriminator's own term with the sign turned, and -log(1 - D(real)) for
            `"non-saturating"`, real²/2 for `"least-squares"`.

        Raises:
            ConfigError: the shape is another.
        """
        real = _flat(real_logits)
        match self._loss_at(epoch):
            case "non-saturating":
                loss = softplus(real)
            case "minimax":
                loss = -softplus(-real)
            case "least-squares":
                loss = real.square() / 2.0
            case "wasserstein":
                loss = real
            case "jensen-shannon":
                loss = math.log(2.0) - softplus(-real)
            case "kl":
                loss = 1.0 + real
            case "reverse-kl":
                loss = -_exp(-real)
        return loss

    def r1_penalty(self, discriminator: Callable[[Tensor], Tensor], real: Tensor, epoch: float) -> Tensor:
        """Return the penalty on the discriminator's slope at real samples, to be added to its loss.

        Where γ is 0 at this epoch the discriminator is not called.

        Args:
            discriminator: takes `real`, returns logits `(n,)` or `(n, 1)`; each logit must depend on its own
                sample alone, so no batch statistics.
            real: samples of the prior or the data, float `(n, ...)`.
            epoch: the epoch, whole or fractional.

        Returns:
            γ/2 |∇D(real)|², float32 `(n,)`, differentiable with respect to the discriminator's weights.
        """
        gamma = value_at(self.r1, epoch)
        if gamma == 0.0:
            return torch.zeros(len(real), device=real.device)
        real = real.detach().requires_grad_()
        (slope,) = torch.autograd.grad(_flat(discriminator(real)).sum(), real, create_graph=True)
        return gamma / 2.0 * slope.float().flatten(1).square().sum(dim=1)

    def add_noise(self, inputs: Tensor, epoch: float, generator: torch.Generator | None = None) -> Tensor:
        """Return inputs of the discriminator, of any shape, with instance noise.

        Where the noise is 0 at this epoch nothing is drawn and `inputs` itself is returned.

        Args:
            inputs: real or fake samples, float `(n, ...)`.
            epoch: the epoch, whole or fractional.
            generator: what to draw from, on the device of `inputs`.
        """
        std = value_at(self.instance_noise, epoch)
        if std == 0.0:
            return inputs
        noise = torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype, device=inputs.device)
        return inputs + std * noise

    def _loss_at(self, epoch: float) -> str:
        return "non-saturating" if epoch < self.warm_up else self.loss

    @property
    def boundary(self) -> float:
        """The discriminator's output above which a sample is taken for a real one."""
        return 0.5 if self.loss == "least-squares" else 0.0

    @property
    def chance_level(self) -> tuple[float, float]:
        """The two losses where the discriminator cannot tell real from fake, as (discriminator, generator).

        Its output is then the same for all samples: logit 0, or 1/2 for least squares. A critic's constant
        may be any; it is taken as 0.
        """
        discriminator, generator = {
            "non-saturating": (2.0 * math.log(2.0), math.log(2.0)),
            "minimax": (2.0 * math.log(2.0), -math.log(2.0)),
            "least-squares": (0.25, 0.125),
            "wasserstein": (0.0, 0.0),
            "jensen-shannon": (0.0, 0.0),
            "kl": (0.0, -1.0),
            "reverse-kl": (0.0, 1.0),
        }[self.loss]
        if self.ratio == "logistic":
            discriminator = 2.0 * math.log(2.0)
        return discriminator, 0.0 if self.logarithmic else generator

    @property
    def estimates_density_ratio(self) -> bool:
        """Whether the best discriminator's output is the logarithm of the ratio of densities, real to fake."""
        return self.loss not in ("least-squares", "wasserstein")


def _exp(x: Tensor) -> Tensor:
    """Return exp(x) up to x = 10, and the tangent of that point beyond."""
    below = x.clamp(max=10.0)
    return below.exp() * (1.0 + x - below)


def _log_mean_exp(x: Tensor) -> Tensor:
    """Return the logarithm of the mean of exp(x) over the mini-batch, n times."""
    highest = all_rows(x.detach()).amax()
    return (batch_mean((x - highest).exp().mean()).log() + highest).expand(len(x))


def _log_softplus(x: Tensor) -> Tensor:
    """Return log(softplus(x)), which is x to float32's precision below -15."""
    return torch.where(x < -15.0, x, softplus(x.clamp(min=-15.0)).log())


def _flat(logits: Tensor) -> Tensor:
    """Return float32 logits (n,) from (n,) or (n, 1); anything else would broadcast to a wrong loss."""
    if logits.ndim != 1 and not (logits.ndim == 2 and logits.shape[1] == 1):
        raise ConfigError(f"A discriminator must give one logit a sample, (n,) or (n, 1), not {tuple(logits.shape)}.")
    return logits.float().reshape(-1)

"""The adversarial game on codes, as AAE and PixelGAN play it: real are draws of the prior, fake are codes of images."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aegean.adversary import Adversary
from aegean.errors import ConfigError
from aegean.priors import Prior, check_prior


class CodeGame(Protocol):
    """What a model needs to play: a discriminator of codes, losses, and its own noise."""

    discriminator: nn.Module
    adversary: Adversary
    rng: torch.Generator

    def observe(self, **metrics: Tensor) -> None:
        """Hand metrics to the log."""


def discriminator_loss(model: CodeGame, real: Tensor, fake: Tensor, epoch: float) -> Tensor:
    """Loss of the discriminator on real and fake codes, each (n, d); returns (n,).

    Both go through the network in one pass. With `adversary.r1`, half its value times the squared gradient at the
    real codes (as they are, without noise) is added; with `adversary.instance_noise`, both kinds are blurred.
    """
    adversary = model.adversary
    noisy = adversary.add_noise(torch.cat((real, fake)), epoch, model.rng)  # (2n, d)
    real_logits, fake_logits = model.discriminator(noisy).float().chunk(2)
    loss = adversary.discriminator_loss(real_logits, fake_logits)
    chance = adversary.chance_level[0]
    model.observe(
        real_accuracy=(real_logits > adversary.boundary).float().mean(),
        fake_accuracy=(fake_logits < adversary.boundary).float().mean(),
        chance=loss.new_full((), chance),
    )
    return loss + adversary.r1_penalty(model.discriminator, real, epoch)


def confusion_loss(model: CodeGame, fake: Tensor, epoch: float) -> Tensor:
    """Loss of the encoder as the generator of codes (n, d); returns (n,)."""
    noisy = model.adversary.add_noise(fake, epoch, model.rng)
    return model.adversary.generator_loss(model.discriminator(noisy).float())


def ready_prior(prior: Any) -> Prior:
    """Check a prior before training; one of a user's own needs only `sample(n)`, its dimension is read off a sample.

    Raises:
        ConfigError: it cannot be sampled, or its samples are not codes.
    """
    dim = getattr(prior, "dim", None)
    if dim is None and callable(getattr(prior, "sample", None)):
        draw = prior.sample(2)
        if not isinstance(draw, Tensor) or draw.dim() != 2:
            raise ConfigError(f"sample(2) of the prior {type(prior).__name__} must return a tensor of shape (2, dim).")
        dim = draw.shape[1]
    return check_prior(prior, dim or 0)

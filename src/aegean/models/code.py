"""The adversarial game: on codes, and on images or pairs of an image and a code.

AAE and PixelGAN play it on codes: real are draws of the prior, fake are codes of images.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from aegean.adversary import Adversary
from aegean.data.stream import Batch
from aegean.errors import ConfigError
from aegean.models.base import Group, Phase
from aegean.priors import Prior, check_prior

#: A discriminator: from samples (n, ...) to logits (n,) or (n, 1).
Judge = Callable[[Tensor], Tensor]


class Player(Protocol):
    """What a model needs to play: a log for metrics, and noise of its own."""

    rng: torch.Generator

    def observe(self, **metrics: Tensor) -> None:
        """Hand metrics to the log."""


def game(
    forward: Callable[[Batch], Any],
    uses: tuple[nn.Module, ...],
    discriminators: tuple[Phase, ...],
    confuse: Phase,
    steps: int = 1,
) -> tuple[Group, ...]:
    """Return the phases of one or several games over the same pass: discriminators, then whom they judge.

    Args:
        forward: makes what is judged.
        uses: the networks that it runs.
        discriminators: their phases.
        confuse: the phase of the networks that are judged.
        steps: of the discriminators for each step of the others. One shares its pass with `confuse`. Several have
            passes of their own, each on other images and without gradients.
    """
    if steps == 1:
        return (Group(forward=forward, uses=uses, phases=(*discriminators, confuse)),)
    repeated = tuple(replace(phase, repeat=steps) for phase in discriminators)
    return (
        Group(forward=torch.no_grad()(forward), uses=uses, phases=repeated),
        Group(forward=forward, uses=uses, phases=(confuse,)),
    )


def code_game(model: Any, stream: str = "images", ending: str = "") -> Group:
    """Return the game on codes of a stream's images; the discriminator and its confusion see the same codes.

    Args:
        model: with `draw_code`, `encoder`, `discriminator`, and the losses of both sides.
        stream: whose images are coded.
        ending: of the two phases' names, `discriminate` and `confuse`.
    """
    discriminate = Phase(
        f"discriminate{ending}", model.discriminator_loss, updates=(model.discriminator,), stream=stream
    )
    confuse = Phase(f"confuse{ending}", model.confusion_loss, updates=(model.encoder,), stream=stream)
    (group,) = game(lambda batch: model.draw_code(batch.x), (model.encoder,), (discriminate,), confuse)
    return group


def discriminator_loss(
    model: Player,
    discriminator: Judge,
    adversary: Adversary,
    real: Tensor,
    fake: Tensor,
    epoch: float,
    condition: Tensor | None = None,
    *,
    apart: bool = False,
) -> Tensor:
    """Loss of a discriminator on real and fake codes (or images, or pairs of both).

    Both kinds go through the network in one pass, unless `apart`. With `adversary.r1`, half its value times the squared
    gradient at the real codes (as they are, without noise) is added; with `adversary.instance_noise`, both kinds are
    blurred.

    Args:
        model: whose log and noise are used.
        discriminator: from codes, with the condition beside them, to logits.
        adversary: the losses.
        real: draws of the prior, (n, d).
        fake: codes of images, (n, d); no gradient flows into them.
        epoch: fractional.
        condition: what the discriminator is told of the i-th real and of the i-th fake code, (n, c).
        apart: judge real and fake samples in two passes, as batch normalisation needs it: in the other phase, too, the
            network sees fake samples alone.

    Returns:
        (n,).
    """

    def judge(z: Tensor) -> Tensor:
        return discriminator(beside(z, condition)).float()

    noisy = adversary.add_noise(torch.cat((real, fake.detach())), epoch, model.rng)  # (2n, d)
    real_logits, fake_logits = (judge(part) for part in noisy.chunk(2)) if apart else judge(noisy).chunk(2)
    loss = adversary.discriminator_loss(real_logits, fake_logits)
    model.observe(
        real_accuracy=(real_logits > adversary.boundary).float().mean(),
        fake_accuracy=(fake_logits < adversary.boundary).float().mean(),
        chance=loss.new_full((), adversary.chance_level[0]),
    )
    return loss + adversary.r1_penalty(judge, real, epoch)


def confusion_loss(
    model: Player,
    discriminator: Judge,
    adversary: Adversary,
    fake: Tensor,
    epoch: float,
    condition: Tensor | None = None,
) -> Tensor:
    """Loss of the encoder as the generator of codes (n, d); returns (n,). Arguments as in `discriminator_loss`."""
    noisy = adversary.add_noise(fake, epoch, model.rng)
    return adversary.generator_loss(discriminator(beside(noisy, condition)).float(), epoch)


def concession_loss(model: Player, discriminator: Judge, adversary: Adversary, real: Tensor, epoch: float) -> Tensor:
    """Loss of the encoder as a maker of real pairs, see `Adversary.generator_loss_of_real`; returns (n,)."""
    return adversary.generator_loss_of_real(discriminator(adversary.add_noise(real, epoch, model.rng)).float(), epoch)


def check_r1(name: str, adversary: Adversary, discriminator: nn.Module) -> None:
    """Refuse R1 for a discriminator with batch normalisation, where one sample's logit depends on the others.

    Args:
        name: of the adversary's setting, for the message.
        adversary: the losses.
        discriminator: the network.

    Raises:
        ConfigError: it has batch normalisation, and `adversary.r1` is not 0.
    """
    if adversary.r1 != 0 and has_batch_norm(discriminator):
        raise ConfigError(
            f"{name}.r1 needs a discriminator without batch normalisation; set batch_norm: none in its settings, or "
            f"{name}.r1=0."
        )


def has_batch_norm(network: nn.Module) -> bool:
    """Whether what a network makes of a sample depends on the samples beside it."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules())


def check_paired(config: Any) -> None:
    """Refuse a game on labelled images whose discriminator is not told their labels; a validator's ValueError."""
    if config.paired and not config.label_aware:
        raise ValueError("paired: the discriminator has to know the labels; set label_aware=true, too.")


def beside(z: Tensor, condition: Tensor | None) -> Tensor:
    """Put a condition (n, c) beside codes (n, d), or beside several such batches one after the other (m n, d)."""
    if condition is None:
        return z
    return torch.cat((z, condition.repeat(len(z) // len(condition), 1)), dim=1)


def label_switch(y: Tensor, classes: int) -> Tensor:
    """One-hot labels with one class more for unlabelled images, (n,) to (n, classes + 1); AAE, section 3.1."""
    return nn.functional.one_hot(torch.where(y < 0, classes, y), classes + 1).float()


def ready_prior(prior: Any, classes: int | None = None) -> Prior:
    """Check a prior before training; one of a user's own needs only `sample(n)`, its dimension is read off a sample.

    Args:
        prior: one of `aegean.priors`, or an object with `sample`.
        classes: how many classes labels will choose its components from; None if labels are not used.

    Raises:
        ConfigError: it cannot be sampled, its samples are not codes, or it has another number of components.
    """
    dim = getattr(prior, "dim", None)
    if dim is None and callable(getattr(prior, "sample", None)):
        draw = prior.sample(2)
        if not isinstance(draw, Tensor) or draw.dim() != 2:
            raise ConfigError(f"sample(2) of the prior {type(prior).__name__} must return a tensor of shape (2, dim).")
        dim = draw.shape[1]
    ready = check_prior(prior, dim or 0, classes)
    if classes is not None and ready.components != classes:
        raise ConfigError(
            f"The data has {classes} classes, the prior {type(prior).__name__} {ready.components} components; labels "
            f"need one component a class: set model.prior.components={classes}, or keep as many classes."
        )
    return ready


def check_network(name: str, network: nn.Module, outputs: tuple[int, ...], *inputs: Tensor, flat: bool = False) -> None:
    """Try a network of a user's own on two made samples before training.

    Args:
        name: of the network, for the message.
        network: left as it was.
        outputs: shape that it must give for one sample.
        inputs: two samples each.
        flat: one number for each sample will do, too, in a tensor of one dimension; an `Adversary` takes such logits.

    Raises:
        ConfigError: it fails on such inputs, or its outputs have another shape.
    """
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            found = tuple(network(*inputs).shape)
    except (RuntimeError, TypeError, ValueError) as error:
        given = " and ".join(str(tuple(value.shape)) for value in inputs)
        raise ConfigError(f"Your {name} cannot take inputs of shape {given}: {error}") from None
    finally:
        network.train(training)
    if found != (2, *outputs) and not (flat and found == (2,)):
        raise ConfigError(
            f"Your {name} returns {found} for two samples; prior, likelihood and images need {(2, *outputs)}."
        )

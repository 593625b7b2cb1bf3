"""Optimisers as configurations; each phase owns one, with its own state (they differ by phase and by experiment)."""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field, FiniteFloat, field_validator
from torch import Tensor, nn

from aegean.config import Config
from aegean.schedules import Scheduled, is_never_negative, value_at

#: A share of a running mean that is kept a step.
Beta = Annotated[float, Field(ge=0, lt=1)]


class _Optimizer(Config):
    rate: Scheduled
    #: Pairs (epoch, factor): from that epoch on the rate is multiplied by the factor.
    drops: tuple[tuple[FiniteFloat, Annotated[FiniteFloat, Field(ge=0)]], ...] = ()
    weight_decay: FiniteFloat = Field(default=0.0, ge=0)
    #: Largest norm of the phase's whole gradient; None leaves it as it is.
    clip_norm: FiniteFloat | None = Field(default=None, gt=0)

    @field_validator("rate")
    @classmethod
    def _is_never_negative(cls, rate: Scheduled) -> Scheduled:
        if not is_never_negative(rate):
            raise ValueError(f"{rate} is negative at some time; a rate must be 0 or more throughout.")
        return rate

    def rate_at(self, epoch: float) -> float:
        """Learning rate at a (fractional) epoch."""
        rate = value_at(self.rate, epoch)
        for start, factor in self.drops:
            if epoch >= start:
                rate *= factor
        return rate


class SGD(_Optimizer):
    """Gradient descent with momentum (the papers' "gradient descent with momentum algorithm")."""

    kind: Literal["sgd"] = "sgd"
    rate: Scheduled = 0.1
    momentum: float = Field(default=0.0, ge=0, lt=1)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the torch optimiser; the loop sets its rate at every step."""
        return torch.optim.SGD(
            parameters, lr=self.rate_at(0), momentum=self.momentum, weight_decay=self.weight_decay, fused=True
        )


class Adam(_Optimizer):
    """Adam (Kingma and Ba, 2015)."""

    kind: Literal["adam"] = "adam"
    rate: Scheduled = 1e-3
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: FiniteFloat = Field(default=1e-8, gt=0)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the torch optimiser; the loop sets its rate at every step."""
        return torch.optim.Adam(
            parameters, lr=self.rate_at(0), betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=True
        )


def laid_out_like(tensor: Tensor, weight: Tensor) -> Tensor:
    """Return a tensor in the memory layout of a weight of the same shape.

    Fused optimisers step through memory without a look at strides: a gradient in another layout than its weight's
    (contiguous against channels-last) would silently be added to the wrong elements.
    """
    if tensor.stride() == weight.stride():
        return tensor
    return torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor)


OptimizerConfig = Annotated[SGD | Adam, Field(discriminator="kind")]

"""A box."""

import math
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, FiniteFloat, model_validator
from torch import Generator, Tensor

from aegean.config import Config
from aegean.priors.base import Device, Prior, refuse_labels


class Uniform(Prior, Config):
    """Independent coordinates, uniform between `low` and `high`."""

    components: ClassVar[None] = None

    kind: Literal["uniform"] = "uniform"
    dim: int = Field(ge=1)
    low: FiniteFloat = -1.0
    high: FiniteFloat = 1.0

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be less than high ({self.high:g}).")
        return self

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`."""
        refuse_labels(self, labels)
        return self.low + (self.high - self.low) * torch.rand(n, self.dim, generator=generator, device=device)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, `(n,)`; minus infinity outside."""
        inside = ((z >= self.low) & (z <= self.high)).all(dim=1)
        density = torch.full(inside.shape, -self.dim * math.log(self.high - self.low), device=z.device)
        return density.where(inside, -torch.inf)

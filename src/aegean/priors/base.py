"""What every prior is, and what several of them need."""

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field, FiniteFloat
from torch import Generator, Tensor

from aegean.errors import ConfigError, UnsupportedError

Device = torch.device | str
Positive = Annotated[FiniteFloat, Field(gt=0)]


class Prior(ABC):
    """Base of all priors; one of your own needs only `sample`.

    Attributes:
        dim: the number of coordinates of a code.
        components: how many classes a sample can be conditioned on, or None.
    """

    if TYPE_CHECKING:  # each prior has these as a field, a constant or a property

        @property
        def dim(self) -> int: ...  # noqa: D102

        @property
        def components(self) -> int | None: ...  # noqa: D102

    @abstractmethod
    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes.

        Args:
            n: how many.
            labels: the component to draw each code from, int64 `(n,)`; -1 draws from the whole prior.
            generator: what to draw from, on `device`; the same state gives the same codes.
            device: where the codes are made.

        Returns:
            z, float32 `(n, dim)`.

        Raises:
            UnsupportedError: labels were given and the prior has no components.
            ConfigError: the labels have the wrong shape or are out of range.
        """

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, float32 `(n,)`, for codes `(n, dim)`.

        Raises:
            UnsupportedError: the density is not known in closed form.
        """
        raise UnsupportedError(f"{type(self).__name__} has samples but no density in closed form.")


def refuse_labels(prior: object, labels: Tensor | None) -> None:
    """Raise an UnsupportedError if there are labels."""
    if labels is not None:
        raise UnsupportedError(f"The prior {type(prior).__name__} has no components that labels could choose.")


def checked_labels(labels: Tensor | None, n: int, components: int, device: Device) -> Tensor:
    """Return labels on the device, -1 everywhere if there are none."""
    if labels is None:
        return torch.full((n,), -1, device=device)
    if labels.shape != (n,) or labels.dtype != torch.int64:
        raise ConfigError(
            f"{n} codes need int64 labels of shape ({n},), not {labels.dtype} of shape {tuple(labels.shape)}."
        )
    # Only on the CPU: elsewhere a look at the values would stall the device at every step.
    if labels.device.type == "cpu" and n and not -1 <= labels.min() <= labels.max() < components:
        raise ConfigError(
            f"Labels must lie between 0 and {components - 1}, or be -1; "
            f"found {int(labels.min())} to {int(labels.max())}."
        )
    return labels.to(device)


def drawn_components(
    components: int,
    n: int,
    labels: Tensor | None,
    generator: Generator | None,
    device: Device,
) -> Tensor:
    """Return a component a row: its label, or a uniform draw where that is -1."""
    labels = checked_labels(labels, n, components, device)
    drawn = torch.randint(components, (n,), generator=generator, device=device)
    return torch.where(labels < 0, drawn, labels)


def log_standard_normal(z: Tensor) -> Tensor:
    """Return the log-density of the standard normal distribution over the last dimension."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=-1)


def standard_percentiles(prior: Prior, n: int) -> Tensor:
    """Return the grid of percentiles of N(0, I) in the plane, (n * n, 2), row by row from the top."""
    if prior.dim != 2:
        raise UnsupportedError(f"Percentiles are drawn in the plane; this prior has {prior.dim} coordinates.")
    values = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()
    second, first = torch.meshgrid(values.flip(0), values, indexing="ij")
    return torch.stack([first, second], dim=2).flatten(0, 1)


def rotate(z: Tensor, angle: Tensor) -> Tensor:
    """Rotate the first two coordinates of z (..., dim) by angles, (...) or one for all, in radians."""
    x, y, rest = z[..., 0], z[..., 1], z[..., 2:]
    rotated = torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], dim=-1)
    return torch.cat([rotated, rest.expand(*rotated.shape[:-1], -1)], dim=-1)

"""One-hot vectors."""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from aegean.config import Config
from aegean.priors.base import Device, Positive, Prior, checked_labels
from aegean.processes import all_rows, own_rows


class Categorical(Prior, Config):
    """One-hot vectors.

    Attributes:
        categories: the number of classes, and of coordinates.
        probabilities: how likely each class is; uniform where not given.
        stratified: let the class counts of a batch be what is expected, to less than one (with uniform
            probabilities, no two counts then differ by more than one), in random order. The discriminator
            then never sees a batch that lacks a class by chance.
    """

    kind: Literal["categorical"] = "categorical"
    categories: int = Field(ge=1)
    probabilities: tuple[Positive, ...] | None = None
    stratified: bool = False

    @model_validator(mode="after")
    def _probabilities_fit(self) -> Self:
        if self.probabilities is not None:
            if len(self.probabilities) != self.categories:
                raise ValueError(
                    f"{self.categories} categories need as many probabilities, not {len(self.probabilities)}."
                )
            if abs(sum(self.probabilities) - 1.0) > 1e-6:
                raise ValueError(f"the probabilities add up to {sum(self.probabilities):g}; they must add up to 1.")
        return self

    @property
    def dim(self) -> int:
        """The number of coordinates, which is the number of categories."""
        return self.categories

    @property
    def components(self) -> int:
        """The number of classes that labels can choose."""
        return self.categories

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`. Stratification is over the codes that have no label."""
        labels = checked_labels(labels, n, self.categories, device)
        free = labels < 0
        points = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
        if self.stratified:
            # Systematic sampling: the free rows, in random order, get equally spaced points with one common
            # shift. Rows that have a label are ranked last and so take no point away.
            rank = own_rows(all_rows(points + ~free).argsort().argsort())
            shift = torch.rand((), generator=generator, device=device, dtype=torch.float64)
            points = (rank.double() + shift) / all_rows(free.long()).sum()
        cumulative = self._probabilities(device).cumsum(dim=0)
        drawn = torch.searchsorted(cumulative, points).clamp(max=self.categories - 1)
        return one_hot(torch.where(free, drawn, labels), self.categories).float()

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, `(n,)`; minus infinity for what is not a one-hot vector."""
        category = z.argmax(dim=1)
        log_probability = self._probabilities(z.device).log().float()[category]
        is_one_hot = (z == one_hot(category, self.categories)).all(dim=1)
        return log_probability.where(is_one_hot, -torch.inf)

    def _probabilities(self, device: Device) -> Tensor:
        given = self.probabilities or (1.0 / self.categories,) * self.categories
        return torch.tensor(given, dtype=torch.float64, device=device)

"""Several priors side by side."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from aegean.config import Config
from aegean.priors.base import Device, Prior, refuse_labels
from aegean.priors.categorical import Categorical
from aegean.priors.gaussian import Gaussian, GaussianMixture
from aegean.priors.swiss_roll import SwissRoll
from aegean.priors.uniform import Uniform

_Part = Annotated[
    Gaussian | GaussianMixture | SwissRoll | Categorical | Uniform,
    Field(discriminator="kind"),
]


class Product(Prior, Config):
    """Independent parts side by side, in order: a category and a style, say.

    Labels choose the component of the one part that has components. Of several such parts (two categories,
    say) none can be chosen: they are independent, and a label cannot say which of them it means.
    """

    kind: Literal["product"] = "product"
    parts: tuple[_Part, ...] = Field(min_length=1)

    @property
    def dim(self) -> int:
        """The number of coordinates of all parts together."""
        return sum(part.dim for part in self.parts)

    @property
    def components(self) -> int | None:
        """The number of classes that labels can choose; None unless exactly one part has any."""
        counts = [part.components for part in self.parts if part.components is not None]
        return counts[0] if len(counts) == 1 else None

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`."""
        if self.components is None:
            refuse_labels(self, labels)
        draws = [part.sample(n, None if part.components is None else labels, generator, device) for part in self.parts]
        return torch.cat(draws, dim=1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, `(n,)`.

        Raises:
            UnsupportedError: the density of a part is not known.
        """
        codes = torch.split(z, [part.dim for part in self.parts], dim=1)
        log_probs = [part.log_prob(code) for part, code in zip(self.parts, codes, strict=True)]
        return torch.stack(log_probs).sum(dim=0)


def parts_of(prior: Prior) -> tuple[tuple[Prior, slice], ...]:
    """Return the parts of a prior, each with its coordinates; a prior that is not a product is its only part."""
    parts: tuple[Prior, ...] = prior.parts if isinstance(prior, Product) else (prior,)
    found, start = [], 0
    for part in parts:
        found.append((part, slice(start, start + part.dim)))
        start += part.dim
    return tuple(found)

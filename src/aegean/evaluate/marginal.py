"""The marginal log-likelihood log p(x) of a model with a code, exact or by importance weighting."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from aegean.errors import DataError
from aegean.priors import Prior

#: log p(x|z) of images (n, c, h, w) and codes (n, d), (n,) nats.
Conditional = Callable[[Tensor, Tensor], Tensor]


def exact_log_marginal(conditional: Conditional, x: Tensor, log_prior: Tensor) -> Tensor:
    """Return log p(x) = log sum_k p(k) p(x | one-hot k), (n,) nats, for a categorical prior.

    Args:
        conditional: the decoder's log-likelihood.
        x: images, (n, c, h, w).
        log_prior: log p(k), (k,).
    """
    codes = torch.eye(len(log_prior), device=x.device)
    terms = [conditional(x, code.expand(len(x), -1)) + log_p for code, log_p in zip(codes, log_prior, strict=True)]
    return torch.stack(terms).logsumexp(dim=0)


def importance_weighted_log_marginal(
    conditional: Conditional,
    x: Tensor,
    centre: Tensor,
    std: float,
    prior: Prior,
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return log of the mean of p(x|z) p(z) / r(z) over draws z of a proposal r = N(centre, std²), (n,) nats.

    Its expectation is a lower bound on log p(x) that rises to it with the number of samples (Burda et al., 2016). A
    proposal too narrow misses codes that explain the image, one too wide wastes samples: choose `std` on other images.

    Args:
        conditional: the decoder's log-likelihood.
        x: images, (n, c, h, w).
        centre: of the proposal, (n, d): the codes of the images.
        std: of the proposal.
        prior: with a density.
        samples: draws an image.
        generator: of the draws.

    Raises:
        DataError: fewer than one sample, or a standard deviation that is not positive.
        UnsupportedError: the prior has no density.
    """
    if samples < 1 or not std > 0:
        raise DataError(f"expected 1 sample or more and a positive standard deviation, found {samples} and {std:g}.")
    total = torch.full((len(x),), -math.inf, device=x.device)
    for _ in range(samples):
        noise = torch.randn(centre.shape, generator=generator, device=centre.device)
        z = centre + std * noise
        log_proposal = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(dim=1) - centre.shape[1] * math.log(std)
        total = torch.logaddexp(total, conditional(x, z) + prior.log_prob(z) - log_proposal)
    return total - math.log(samples)

"""Marginal likelihoods against models in which they are known."""

import math

import pytest
import torch
from torch import Tensor

from aegean.errors import DataError, UnsupportedError
from aegean.evaluate.marginal import exact_log_marginal, importance_weighted_log_marginal
from aegean.models import create
from aegean.priors import Gaussian, SwissRoll
from conftest import SMALL_MODELS

W = torch.tensor([[1.0, 0.5], [0.0, 2.0], [1.0, 1.0]])


def linear(x: Tensor, z: Tensor) -> Tensor:
    """log N(x; W z, I) of x (n, 3, 1, 1)."""
    residual = x.flatten(1) - z @ W.T
    return -0.5 * (residual.square() + math.log(2 * math.pi)).sum(dim=1)


def exact(x: Tensor) -> Tensor:
    return torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3) + 4 * W @ W.T).log_prob(x.flatten(1))


def images(n: int = 200) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(n, 2, generator=generator)
    return (z @ W.T + torch.randn(n, 3, generator=generator)).view(n, 3, 1, 1)


def posterior_mean(x: Tensor) -> Tensor:
    return x.flatten(1) @ W @ torch.linalg.inv(W.T @ W + torch.eye(2) / 4)


def test_many_samples_give_the_marginal_and_few_a_lower_bound() -> None:
    x, prior = images(), Gaussian(dim=2, std=2.0)
    means = [
        importance_weighted_log_marginal(
            linear, x, posterior_mean(x), 1.0, prior, samples, torch.Generator().manual_seed(1)
        ).mean()
        for samples in (1, 10, 2000)
    ]
    truth = exact(x).mean()
    assert means[0] < means[1] < truth
    assert means[2] == pytest.approx(truth.item(), abs=0.01)


def test_a_categorical_marginal_is_the_sum_over_categories() -> None:
    model = create(SMALL_MODELS["pixelgan-supervised"], (1, 8, 8), 3, seed=0).eval()
    x = (torch.rand(4, 1, 8, 8) > 0.5).float()

    def conditional(images: Tensor, z: Tensor) -> Tensor:
        return model.likelihood.log_prob(model.decoder(images, z), images)

    with torch.no_grad():
        found = exact_log_marginal(conditional, x, torch.tensor([0.5, 0.3, 0.2]).log())
        parts = [conditional(x, torch.eye(3)[k].expand(4, 3)).double() for k in range(3)]
    expected = sum(weight * part.exp() for weight, part in zip((0.5, 0.3, 0.2), parts, strict=True)).log()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_what_cannot_be_estimated_is_refused() -> None:
    x = images(5)
    for std, samples in ((0.0, 5), (1.0, 0), (math.nan, 5)):
        with pytest.raises(DataError):
            importance_weighted_log_marginal(linear, x, posterior_mean(x), std, Gaussian(dim=2), samples)
    with pytest.raises(UnsupportedError, match="density"):
        importance_weighted_log_marginal(linear, x, posterior_mean(x), 1.0, SwissRoll(), 2)

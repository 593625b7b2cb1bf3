"""Distances between codes and prior."""

import math

import pytest
import torch

from aegean.errors import DataError
from aegean.evaluate.code_match import classifier_two_sample_test, match_codes, sliced_wasserstein


def normal(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_a_shift_of_all_points_has_the_distance_of_its_projections() -> None:
    """Shifting by v moves every projection on u by u·v, whose mean square over directions is |v|²/d."""
    a = normal(500, 3, 0)
    shift = torch.tensor([3.0, 0.0, 4.0])
    assert sliced_wasserstein(a, a + shift, directions=20_000) == pytest.approx(5 / math.sqrt(3), rel=0.02)
    assert sliced_wasserstein(a, a[torch.randperm(500)]) == 0
    assert sliced_wasserstein(a, 2 * a) == pytest.approx(1.0, rel=0.1)


def test_in_one_dimension_it_is_the_exact_wasserstein_distance() -> None:
    a, b = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[2.0], [6.0], [1.0]])
    assert sliced_wasserstein(a, b) == pytest.approx(1.0)


def test_equal_distributions_cannot_be_told_apart() -> None:
    accuracy, p_value = classifier_two_sample_test(normal(2000, 2, 0), normal(2000, 2, 1))
    assert abs(accuracy - 0.5) < 0.05
    assert p_value > 0.001


def test_a_ring_and_a_disc_of_equal_moments_can_be_told_apart() -> None:
    """No linear classifier could: the difference lies in the hole."""
    points = normal(2000, 2, 0)
    ring = points / points.norm(dim=1, keepdim=True) * math.sqrt(2)
    accuracy, p_value = classifier_two_sample_test(ring, normal(2000, 2, 1))
    assert accuracy > 0.8
    assert p_value < 1e-6


def test_the_match_has_a_floor_that_the_prior_itself_reaches() -> None:
    same = match_codes(normal(1000, 2, 0), normal(1000, 2, 1), normal(1000, 2, 2))
    assert same.sliced_wasserstein == pytest.approx(same.floor, abs=0.05)
    other = match_codes(1.5 * normal(1000, 2, 0), normal(1000, 2, 1), normal(1000, 2, 2))
    assert other.sliced_wasserstein > 5 * other.floor
    assert other.accuracy > same.accuracy
    assert match_codes(normal(1000, 2, 0), normal(1000, 2, 1), normal(1000, 2, 2)) == same


@pytest.mark.parametrize(
    ("codes", "prior"),
    [
        (torch.zeros(30, 2), torch.zeros(30, 3)),
        (torch.zeros(10, 2), torch.zeros(10, 2)),
        (torch.full((30, 2), torch.nan), torch.zeros(30, 2)),
    ],
)
def test_what_cannot_be_compared_is_refused(codes: torch.Tensor, prior: torch.Tensor) -> None:
    with pytest.raises(DataError):
        match_codes(codes, prior, prior)

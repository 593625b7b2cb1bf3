"""Ways between codes."""

import math

import pytest
import torch

from aegean.models.two_way import categorical_part
from aegean.priors import Categorical, Gaussian, Product, Uniform, parts_of, path


def codes(d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    start, end = torch.randn(2, d, generator=torch.Generator().manual_seed(seed))
    return start, end


@pytest.mark.parametrize("prior", [None, Gaussian(dim=2), Gaussian(dim=7), Uniform(dim=3), Categorical(categories=4)])
def test_a_way_leads_from_one_code_to_the_other(prior) -> None:
    start, end = codes(7 if prior is None else prior.dim)
    way = path(prior, start, end, 5)
    assert way.shape == (5, len(start))
    torch.testing.assert_close(way[0], start)
    torch.testing.assert_close(way[-1], end)
    torch.testing.assert_close(path(prior, end, start, 5), way.flip(0))


def test_in_many_gaussian_dimensions_the_way_stays_on_the_shell_and_turns_evenly() -> None:
    start, end = codes(100)
    way = path(Gaussian(dim=100), start, 2 * end, 9)
    lengths = way.norm(dim=1)
    torch.testing.assert_close(lengths, torch.linspace(start.norm(), 2 * end.norm(), 9))
    steps = torch.cosine_similarity(way[1:], way[:-1]).acos()
    torch.testing.assert_close(steps, steps[:1].expand(8), rtol=1e-3, atol=0)
    assert torch.lerp(start, 2 * end, 0.5).norm() < 0.8 * lengths[4]  # the straight way does leave it


@pytest.mark.parametrize("prior", [None, Gaussian(dim=2), Uniform(dim=2), Categorical(categories=2)])
def test_elsewhere_the_way_is_straight(prior) -> None:
    start, end = codes(2)
    torch.testing.assert_close(path(prior, start, end, 3)[1], (start + end) / 2)


def test_each_part_of_a_product_goes_its_own_way() -> None:
    prior = Product(parts=(Categorical(categories=3), Gaussian(dim=10), Uniform(dim=2)))
    start, end = codes(15)
    way = path(prior, start, end, 5)
    straight = path(None, start, end, 5)
    torch.testing.assert_close(way[:, :3], straight[:, :3])
    torch.testing.assert_close(way[:, 13:], straight[:, 13:])
    torch.testing.assert_close(way[:, 3:13], path(Gaussian(dim=10), start[3:13], end[3:13], 5))
    assert (way[2, 3:13] - straight[2, 3:13]).norm() > 0.1


@pytest.mark.parametrize("end", [torch.zeros(4), 3 * torch.ones(4), -torch.ones(4)])
def test_codes_without_a_direction_between_them_are_joined_by_a_straight_way(end: torch.Tensor) -> None:
    way = path(Gaussian(dim=4), torch.ones(4), end, 5)
    torch.testing.assert_close(way, path(None, torch.ones(4), end, 5))


def test_one_code_is_the_start() -> None:
    start, end = codes(5)
    torch.testing.assert_close(path(Gaussian(dim=5), start, end, 1), start[None])


def test_parts_stand_where_samples_have_them() -> None:
    parts = (Categorical(categories=3), Gaussian(dim=2), Uniform(dim=1, low=5, high=6))
    prior = Product(parts=parts)
    assert [where for _, where in parts_of(prior)] == [slice(0, 3), slice(3, 5), slice(5, 6)]
    z = prior.sample(50, generator=torch.Generator().manual_seed(0))
    assert (z[:, :3].sum(dim=1) == 1).all()
    assert (z[:, 5:] >= 5).all()
    assert parts_of(Gaussian(dim=4)) == ((Gaussian(dim=4), slice(0, 4)),)
    assert categorical_part(Product(parts=parts[::-1])) == slice(3, 6)
    assert math.isclose(float(z[:, 3:5].mean()), 0, abs_tol=0.5)

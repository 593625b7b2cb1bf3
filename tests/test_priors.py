import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.distributions import MultivariateNormal

from aegean.config import Config
from aegean.errors import ConfigError, UnsupportedError
from aegean.priors import (
    Categorical,
    Gaussian,
    GaussianMixture,
    Prior,
    PriorConfig,
    Product,
    SwissRoll,
    Uniform,
    check_prior,
)

PRIORS = [
    Gaussian(dim=3, std=5.0),
    GaussianMixture(components=7),
    GaussianMixture(dim=4),
    SwissRoll(),
    Categorical(categories=5),
    Categorical(categories=5, stratified=True),
    Uniform(dim=3, low=-2.0, high=1.0),
    Product(parts=(Gaussian(dim=1), Categorical(categories=10), Uniform(dim=2))),
]
CONDITIONAL = [prior for prior in PRIORS if prior.components is not None]


class Holder(Config):
    prior: PriorConfig


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("prior", PRIORS, ids=repr)
def test_samples_have_their_shape_and_repeat_with_the_generator(prior):
    before = torch.random.get_rng_state()
    first, second = prior.sample(50, generator=rng(1)), prior.sample(50, generator=rng(1))
    assert first.shape == (50, prior.dim)
    assert first.dtype == torch.float32
    assert torch.equal(first, second)
    generator = rng(1)
    assert not torch.equal(prior.sample(50, generator=generator), prior.sample(50, generator=generator))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert prior.sample(0).shape == (0, prior.dim)
    assert check_prior(prior, prior.dim, prior.components) is prior


@pytest.mark.parametrize("prior", PRIORS, ids=repr)
def test_priors_survive_a_file(prior):
    assert Holder.from_dict({"prior": prior.to_dict()}).prior == prior
    assert TypeAdapter(PriorConfig).validate_python(prior) is prior


@pytest.mark.parametrize("prior", CONDITIONAL, ids=repr)
def test_the_mixture_over_labels_is_the_prior(prior):
    labels = torch.arange(20_000) % prior.components
    given, free = prior.sample(20_000, labels, rng(1)), prior.sample(20_000, generator=rng(2))
    unlabelled = prior.sample(20_000, torch.full((20_000,), -1), rng(3))
    for other in (free, unlabelled):
        torch.testing.assert_close(given.mean(0), other.mean(0), atol=0.06, rtol=0)
        torch.testing.assert_close(given.T.cov(), other.T.cov(), atol=0.12, rtol=0)


@pytest.mark.parametrize("prior", CONDITIONAL, ids=repr)
@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0, 1, 2]),
        torch.tensor([0, 1, 2, -2]),
        torch.tensor([0, 1, 2, 10]),
        torch.tensor([0.0, 1.0, 2.0, 3.0]),
        torch.tensor([[0], [1], [2], [3]]),
    ],
    ids=["too few", "below -1", "above", "float", "two dimensions"],
)
def test_labels_that_do_not_fit_are_refused(prior, labels):
    with pytest.raises(ConfigError):
        prior.sample(4, labels)


@pytest.mark.parametrize("prior", [Gaussian(dim=2), Uniform(dim=2), Product(parts=(Gaussian(dim=2),))])
def test_labels_are_refused_where_there_are_no_components(prior):
    assert prior.components is None
    with pytest.raises(UnsupportedError, match="no components"):
        prior.sample(2, torch.tensor([0, 1]))


# Densities


@pytest.mark.parametrize(
    "prior",
    [Gaussian(dim=2, std=0.7), GaussianMixture(components=5), Uniform(dim=2, low=-2.0, high=0.5)],
    ids=repr,
)
def test_the_density_integrates_to_one_and_to_the_second_moment_of_the_samples(prior):
    axis = torch.linspace(-5, 5, 1001)
    grid = torch.cartesian_prod(axis, axis)
    mass = prior.log_prob(grid).double().exp() * (axis[1] - axis[0]) ** 2
    assert mass.sum() == pytest.approx(1.0, abs=5e-3)
    second_moment = (grid.double().T * mass) @ grid.double()
    z = prior.sample(50_000, generator=rng())
    torch.testing.assert_close(second_moment.float(), z.T @ z / len(z), atol=0.03, rtol=0.03)


def test_gaussian_log_prob_against_torch():
    prior, z = Gaussian(dim=3, std=5.0), torch.randn(10, 3, generator=rng())
    expected = MultivariateNormal(torch.zeros(3), 25.0 * torch.eye(3)).log_prob(z)
    torch.testing.assert_close(prior.log_prob(z), expected)


@pytest.mark.parametrize("dim", [2, 4])
def test_mixture_log_prob_against_full_covariance_matrices(dim):
    prior = GaussianMixture(components=6, dim=dim, radius=2.0, radial_std=0.5, tangential_std=0.2)
    z = prior.sample(20, generator=rng()).double() * 1.2
    components = []
    for k in range(6):
        along = torch.zeros(dim, dtype=torch.float64)
        along[0], along[1] = math.cos(math.pi * k / 3), math.sin(math.pi * k / 3)
        covariance = 0.04 * torch.eye(dim, dtype=torch.float64) + (0.25 - 0.04) * along.outer(along)
        components.append(MultivariateNormal(2.0 * along, covariance).log_prob(z))
    expected = torch.stack(components).logsumexp(0) - math.log(6)
    torch.testing.assert_close(prior.log_prob(z), expected.float(), atol=1e-4, rtol=1e-5)


def test_densities_of_bounded_priors():
    uniform = Uniform(dim=2, low=0.0, high=4.0)
    assert uniform.log_prob(torch.tensor([[1.0, 3.0], [1.0, 4.5]])).tolist() == pytest.approx(
        [-2 * math.log(4.0), -math.inf]
    )
    categorical = Categorical(categories=3, probabilities=(0.5, 0.2, 0.3))
    z = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0.5, 0.5, 0], [0, 0, 0]])
    expected = [math.log(0.5), math.log(0.3), -math.inf, -math.inf]
    assert categorical.log_prob(z).tolist() == pytest.approx(expected)


def test_product_adds_log_probs_and_keeps_the_order_of_its_parts():
    parts = (Categorical(categories=3), Gaussian(dim=2, std=3.0))
    product = Product(parts=parts)
    z = product.sample(10, generator=rng())
    assert torch.equal(z[:, :3].sum(1), torch.ones(10))
    torch.testing.assert_close(product.log_prob(z), parts[0].log_prob(z[:, :3]) + parts[1].log_prob(z[:, 3:]))


def test_swiss_roll_has_no_density():
    with pytest.raises(UnsupportedError, match="no density"):
        SwissRoll().log_prob(torch.zeros(1, 2))
    with pytest.raises(UnsupportedError, match="no density"):
        Product(parts=(SwissRoll(), Gaussian(dim=1))).log_prob(torch.zeros(1, 3))


# Shapes of the distributions


def test_mixture_components_lie_along_the_radius_at_the_angle_of_their_label():
    prior = GaussianMixture(components=8, dim=3, radius=2.0, radial_std=0.5, tangential_std=0.1)
    for k in range(8):
        z = prior.sample(5000, torch.full((5000,), k), rng(k))
        along = torch.tensor([math.cos(math.pi * k / 4), math.sin(math.pi * k / 4), 0.0])
        across = torch.tensor([-along[1], along[0], 0.0])
        torch.testing.assert_close(z.mean(0), 2.0 * along, atol=0.03, rtol=0)
        assert (z @ along).std() == pytest.approx(0.5, rel=0.05)
        assert (z @ across).std() == pytest.approx(0.1, rel=0.05)
        assert z[:, 2].std() == pytest.approx(0.1, rel=0.05)


def test_swiss_roll_is_uniform_along_its_length():
    prior = SwissRoll(components=1, turns=2.0, radius=3.0, std=1e-4)
    z = prior.sample(20_000, generator=rng()).double().numpy()
    angle = np.linspace(0, 4 * math.pi, 200_001)
    curve = 3.0 * angle / angle[-1]
    length = np.concatenate([[0], np.hypot(np.diff(curve * np.cos(angle)), np.diff(curve * np.sin(angle))).cumsum()])
    share = np.interp(np.hypot(*z.T), curve, length / length[-1])
    away = np.hypot(*z.T) > 0.1  # nearer to the origin, the noise hides the direction
    on_the_curve = (np.hypot(*z.T) / 3.0 * angle[-1])[away]
    direction = np.arctan2(*z[away].T[::-1])
    assert np.abs(np.exp(1j * on_the_curve) - np.exp(1j * direction)).max() < 0.02
    deviation = np.abs(np.sort(share) - np.arange(20_000) / 20_000).max()
    assert deviation < 1.95 / math.sqrt(20_000)  # Kolmogorov-Smirnov, p = 0.001


def test_swiss_roll_labels_follow_each_other_from_the_centre():
    prior = SwissRoll(components=10, std=1e-4)
    radii = [prior.sample(2000, torch.full((2000,), k), rng(k)).norm(dim=1) for k in range(10)]
    assert radii[0].min() < 0.2
    assert radii[-1].max() == pytest.approx(3.0, abs=0.01)
    for inner, outer in pairwise(radii):
        assert abs(inner.max() - outer.min()) < 0.02


def test_swiss_roll_has_its_thickness():
    thin, thick = SwissRoll(std=1e-6), SwissRoll(std=0.3)
    difference = thick.sample(20_000, generator=rng()) - thin.sample(20_000, generator=rng())
    assert difference.std() == pytest.approx(0.3, rel=0.02)


# Places to draw


def test_percentiles_are_those_of_samples_and_laid_out_as_on_paper():
    prior = Gaussian(dim=2, std=5.0)
    grid = prior.percentiles(8).reshape(8, 8, 2)  # row, column, coordinate
    z = prior.sample(40_000, generator=rng())
    empirical = torch.quantile(z, (torch.arange(8) + 0.5) / 8, dim=0)
    for row in range(8):
        torch.testing.assert_close(grid[row, :, 0], empirical[:, 0], atol=0.12, rtol=0)
        torch.testing.assert_close(grid[:, row, 1], empirical[:, 1].flip(0), atol=0.12, rtol=0)
    assert (grid[0] == grid[0, 0])[:, 1].all()
    assert prior.percentiles(1).tolist() == [[0.0, 0.0]]
    assert prior.percentiles(20).dtype == torch.float32


@pytest.mark.parametrize("component", [0, 2, 5])
def test_percentiles_of_a_mixture_lie_along_the_axes_of_their_component(component):
    prior = GaussianMixture(components=8, radius=2.0, radial_std=0.5, tangential_std=0.1)
    angle = math.pi * component / 4
    axes = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])  # radial, tangential
    z = prior.sample(40_000, torch.full((40_000,), component), rng()) @ axes.T
    empirical = torch.quantile(z, (torch.arange(6) + 0.5) / 6, dim=0)
    grid = (prior.percentiles(6, component) @ axes.T).reshape(6, 6, 2)
    for row in range(6):
        torch.testing.assert_close(grid[row, :, 0], empirical[:, 0], atol=0.02, rtol=0)
        torch.testing.assert_close(grid[:, row, 1], empirical[:, 1].flip(0), atol=0.005, rtol=0)


def test_percentiles_are_refused_outside_the_plane_and_of_components_that_are_not_there():
    for draw in (lambda: Gaussian(dim=3).percentiles(2), lambda: GaussianMixture(dim=3).percentiles(2, 0)):
        with pytest.raises(UnsupportedError, match="3 coordinates"):
            draw()
    for component in (-1, 10):
        with pytest.raises(ConfigError, match="components 0 to 9"):
            GaussianMixture().percentiles(2, component)


def test_a_walk_keeps_to_the_spiral_in_equal_steps():
    prior = SwissRoll(turns=2.0, radius=3.0, std=0.3)
    z = prior.walk(2000).double()
    angle = z.norm(dim=1) / 3.0 * 4 * math.pi
    expected = torch.stack([angle.cos(), angle.sin()], dim=1) * z.norm(dim=1, keepdim=True)
    torch.testing.assert_close(z, expected, atol=1e-4, rtol=0)
    assert (angle.diff() > 0).all()  # outwards
    steps = z.diff(dim=0).norm(dim=1)
    torch.testing.assert_close(steps[20:], steps[20:].mean().expand(1979), rtol=2e-3, atol=0)
    # Half a step to either end.
    assert z[0].norm() == pytest.approx(float(steps[-1]) / 2, rel=0.05)
    assert (z[-1] - torch.tensor([3.0, 0.0])).norm() == pytest.approx(float(steps[-1]) / 2, rel=0.05)


def test_a_walk_meets_each_label_in_turn():
    prior = SwissRoll(components=5, std=1e-6)
    walk = prior.walk(50)
    for k in range(5):
        z = prior.sample(3000, torch.full((3000,), k), rng(k))
        radius = z.norm(dim=1)
        steps = walk[10 * k : 10 * k + 10].norm(dim=1)
        assert radius.min() < steps.min() < steps.max() < radius.max()


def test_categorical_frequencies_and_labels():
    prior = Categorical(categories=3, probabilities=(0.5, 0.2, 0.3))
    z = prior.sample(50_000, generator=rng())
    assert torch.equal(z, torch.nn.functional.one_hot(z.argmax(1), 3).float())
    torch.testing.assert_close(z.mean(0), torch.tensor([0.5, 0.2, 0.3]), atol=0.01, rtol=0)
    labels = torch.tensor([2, -1, 0] * 1000)
    z = prior.sample(3000, labels, rng())
    assert torch.equal(z.argmax(1)[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(z[labels < 0].mean(0), torch.tensor([0.5, 0.2, 0.3]), atol=0.05, rtol=0)


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 200),
    weights=st.lists(st.integers(1, 20), min_size=1, max_size=12),
    labelled=st.integers(0, 50),
    seed=st.integers(0, 1000),
)
def test_stratified_counts_are_what_is_expected_to_less_than_one(n, weights, labelled, seed):
    probabilities = [weight / sum(weights) for weight in weights]
    prior = Categorical(categories=len(weights), probabilities=tuple(probabilities), stratified=True)
    labels = torch.full((n,), -1)
    labels[torch.randperm(n, generator=rng(seed))[:labelled]] = 0
    free = labels < 0
    counts = prior.sample(n, labels, rng(seed))[free].sum(0)
    expected = torch.tensor(probabilities) * free.sum()
    assert ((counts - expected).abs() < 1 + 1e-4).all()


def test_stratified_uniform_counts_differ_by_at_most_one_and_every_class_gets_its_turn():
    prior, generator = Categorical(categories=10, stratified=True), rng()
    assert torch.equal(prior.sample(100, generator=generator).sum(0), torch.full((10,), 10.0))
    draws = [prior.sample(25, generator=generator) for _ in range(400)]
    assert all(draw.sum(0).max() - draw.sum(0).min() <= 1 for draw in draws)
    # Exchangeable: no class is more frequent over all, and none at any one place.
    torch.testing.assert_close(torch.cat(draws).mean(0), torch.full((10,), 0.1), atol=0.01, rtol=0)
    torch.testing.assert_close(torch.stack(draws).mean(0), torch.full((25, 10), 0.1), atol=0.07, rtol=0)


def test_labels_choose_the_one_part_that_has_components():
    product = Product(parts=(Gaussian(dim=1), GaussianMixture(components=4, radius=4.0), Uniform(dim=3)))
    assert product.components == 4
    labels = torch.tensor([3, 1, 0, 2] * 10)
    x, y = product.sample(40, labels, rng())[:, 1:3].T
    nearest = (torch.atan2(y, x) / (math.pi / 2)).round().long() % 4
    assert torch.equal(nearest, labels)


def test_two_parts_with_components_cannot_be_told_apart_by_labels():
    product = Product(parts=(Categorical(categories=10), Categorical(categories=10)))
    assert product.components is None
    assert product.sample(4).shape == (4, 20)
    with pytest.raises(UnsupportedError):
        product.sample(2, torch.tensor([0, 1]))


# Bad settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(dim=0), "dim"),
        (lambda: Gaussian(dim=2, std=0.0), "std"),
        (lambda: Gaussian(dim=2, std=math.nan), "std"),
        (lambda: GaussianMixture(dim=1), "dim"),
        (lambda: Uniform(dim=1, low=1.0, high=1.0), "less than"),
        (lambda: Categorical(categories=3, probabilities=(0.5, 0.5)), "as many"),
        (lambda: Categorical(categories=2, probabilities=(0.5, 0.6)), "add up"),
        (lambda: Categorical(categories=2, probabilities=(1.0, 0.0)), "probabilities"),
        (lambda: Product(parts=()), "parts"),
        (lambda: Holder.from_dict({"prior": {"kind": "swissroll"}}), "prior"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


# A user's own prior


class Ring:
    """The least that a prior needs."""

    def sample(self, n):
        angle = 2 * math.pi * torch.rand(n)
        return torch.stack([angle.cos(), angle.sin()], dim=1)


class TwoRings(Ring):
    components = 2

    def sample(self, n, labels, **options):
        assert set(options) == {"generator", "device"}
        labels = torch.zeros(n) if labels is None else labels
        return super().sample(n) * (1 + labels[:, None])

    def log_prob(self, z):
        return torch.zeros(len(z))


def test_a_prior_with_nothing_but_sample_works_and_repeats():
    prior = check_prior(Ring(), dim=2)
    before = torch.random.get_rng_state()
    z = prior.sample(5, generator=rng(1))
    assert torch.equal(z, prior.sample(5, generator=rng(1)))
    assert not torch.equal(z, prior.sample(5, generator=rng(2)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (prior.dim, prior.components) == (2, None)
    assert prior.sample(3).shape == (3, 2)
    with pytest.raises(UnsupportedError):
        prior.log_prob(z)
    with pytest.raises(UnsupportedError):
        prior.sample(2, torch.tensor([0, 1]))


def test_a_prior_is_passed_what_its_sample_takes():
    prior = check_prior(TwoRings(), dim=2, components=2)
    assert prior.sample(2, torch.tensor([0, 1]), rng()).norm(dim=1).tolist() == pytest.approx([1.0, 2.0])
    assert prior.log_prob(torch.zeros(3, 2)).shape == (3,)


class Cube(Prior):
    """A subclass that gives itself no `dim` and no `components`."""

    def sample(self, n, labels=None, generator=None, device="cpu"):
        return torch.rand(n, 3, generator=generator, device=device).round()


def test_a_subclass_of_prior_needs_only_sample():
    prior = check_prior(Cube(), dim=3)
    assert (prior.dim, prior.components) == (3, None)
    assert torch.equal(prior.sample(9, generator=rng()), Cube().sample(9, generator=rng()))


def returning(value):
    return type("Mine", (), {"sample": lambda self, n: value(n)})()


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (object(), "no method sample"),
        (returning(lambda n: torch.zeros(n, 3)), r"shape \(16, 2\), not torch.float32 of shape \(16, 3\)"),
        (returning(lambda n: torch.zeros(2)), "shape"),
        (returning(lambda n: torch.zeros(n, 2, dtype=torch.int64)), "float tensor"),
        (returning(lambda n: np.zeros((n, 2))), "not ndarray"),
        (returning(lambda n: torch.full((n, 2), math.nan)), "NaN"),
        (returning(lambda n: torch.full((n, 2), math.inf)), "infinity"),
        (Gaussian(dim=3), "shape"),
    ],
)
def test_check_prior_says_what_is_wrong(prior, message):
    with pytest.raises(ConfigError, match=message):
        check_prior(prior, dim=2)


@pytest.mark.parametrize("prior", [Ring(), Gaussian(dim=2), GaussianMixture(components=9)])
def test_check_prior_refuses_too_few_components(prior):
    with pytest.raises(ConfigError, match="10 classes"):
        check_prior(prior, dim=2, components=10)

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.config import Config
from aegean.errors import ConfigError, DataError
from aegean.likelihoods import Bernoulli, DiscretizedLogisticMixture, GaussianLikelihood, LikelihoodConfig

MIXTURE = DiscretizedLogisticMixture(components=3)
LIKELIHOODS = [
    Bernoulli(),
    GaussianLikelihood(std=0.1),
    GaussianLikelihood(activation="linear"),
    MIXTURE,
    DiscretizedLogisticMixture(components=1, levels=8),
]


class Holder(Config):
    likelihood: LikelihoodConfig


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def made(likelihood, n=2, *, channels=1, h=3, w=5, seed=0, scale=1.0):
    """Random params, and images of exact levels."""
    params = scale * torch.randn(n, likelihood.outputs(channels), h, w, generator=rng(seed))
    steps = getattr(likelihood, "levels", 256) - 1
    x = torch.randint(0, steps + 1, (n, channels, h, w), generator=rng(seed + 1)) / steps
    return params, x.round() if isinstance(likelihood, Bernoulli) else x


def naive_mixture(params, x, components, levels):
    """PixelCNN++'s probability in float64: one pixel, one channel and one component at a time."""
    n, c, h, w = x.shape
    half = 1 / (levels - 1)
    total = torch.zeros(n, dtype=torch.float64)
    for i, row, column in itertools.product(range(n), range(h), range(w)):
        numbers = params[i, :, row, column].double().split(components)
        logits, means, scales = numbers[0], numbers[1 : 1 + c], numbers[1 + c : 1 + 2 * c]
        coefficients = [number.tanh() for number in numbers[1 + 2 * c :]]
        v = [round(float(x[i, j, row, column]) * (levels - 1)) / (levels - 1) * 2 - 1 for j in range(c)]
        probability = 0.0
        for k in range(components):
            joint = logits.softmax(0)[k]
            for j in range(c):
                mean = means[j][k]
                if j == 1:
                    mean = mean + coefficients[0][k] * v[0]
                if j == 2:
                    mean = mean + coefficients[1][k] * v[0] + coefficients[2][k] * v[1]
                scale = scales[j][k].clamp(min=-7).exp()
                a = (v[j] - mean + (math.inf if v[j] == 1 else half)) / scale
                b = (v[j] - mean - (math.inf if v[j] == -1 else half)) / scale
                # Of two equal differences, the one that does not cancel.
                joint = joint * (a.sigmoid() - b.sigmoid() if v[j] < mean else (-b).sigmoid() - (-a).sigmoid())
            probability = probability + joint
        total[i] += probability.log()
    return total


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (4, 3)])
def test_shapes_ranges_and_repeatability(likelihood, channels, h, w):
    params, x = made(likelihood, n=5, channels=channels, h=h, w=w)
    assert likelihood.channels(params) == channels
    assert likelihood.log_prob(params.bfloat16(), x).shape == (5,)
    assert likelihood.log_prob(params.bfloat16(), x).dtype == torch.float32
    assert likelihood.mean(params).shape == x.shape
    before = torch.random.get_rng_state()
    first, second = likelihood.sample(params, rng(3)), likelihood.sample(params, rng(3))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, second)
    assert first.shape == x.shape
    assert first.dtype == torch.float32
    assert 0 <= first.min() <= first.max() <= 1
    likelihood.check(first)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_independent_given_params(likelihood, channels):
    """What a sampler that goes pixel by pixel relies on."""
    params, x = made(likelihood, n=2, channels=channels, h=3, w=4)
    uniforms = torch.rand(2, *likelihood.noise_shape(channels, 3, 4), generator=rng())
    whole, log_prob = likelihood.sample_from(params, uniforms), 0.0
    for i, j in itertools.product(range(3), range(4)):
        pixel = (..., slice(i, i + 1), slice(j, j + 1))
        sample = likelihood.sample_from(params[pixel], uniforms[pixel])
        torch.testing.assert_close(sample, whole[pixel], atol=1e-6, rtol=0)
        log_prob = log_prob + likelihood.log_prob(params[pixel], x[pixel])
    torch.testing.assert_close(likelihood.log_prob(params, x), log_prob, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_pixel_has_its_own_share_of_the_log_likelihood(likelihood, channels):
    params, x = made(likelihood, channels=channels)
    found = likelihood.pixel_log_prob(params, x)
    for row, column in itertools.product(range(3), range(5)):
        at = (..., slice(row, row + 1), slice(column, column + 1))
        torch.testing.assert_close(found[:, row, column], likelihood.log_prob(params[at], x[at]))
    torch.testing.assert_close(found.sum(dim=(1, 2)), likelihood.log_prob(params, x))
    with pytest.raises(ConfigError, match="need network outputs of shape"):
        likelihood.pixel_log_prob(params[..., :1], x)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_gradients_agree_with_finite_differences(likelihood):
    params, x = made(likelihood, n=1, channels=3, h=1, w=2)
    params.requires_grad_()
    (gradient,) = torch.autograd.grad(likelihood.log_prob(params, x).sum(), params)
    step = 1e-2
    with torch.no_grad():
        for i in range(params.numel()):
            change = torch.zeros_like(params).view(-1).index_fill(0, torch.tensor(i), step).view_as(params)
            slope = (likelihood.log_prob(params + change, x) - likelihood.log_prob(params - change, x)) / (2 * step)
            assert float(slope) == pytest.approx(float(gradient.view(-1)[i]), abs=0.02, rel=0.02)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_likelihoods_survive_a_file(likelihood):
    assert Holder.from_dict({"likelihood": likelihood.to_dict()}).likelihood == likelihood


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_shapes_that_would_broadcast_are_refused(likelihood):
    params, x = made(likelihood, channels=1)
    with pytest.raises(ConfigError, match="need network outputs of shape"):
        likelihood.log_prob(params, x.expand(-1, 3, -1, -1))
    with pytest.raises(ConfigError, match="need network outputs of shape"):
        likelihood.log_prob(params[:1], x)
    with pytest.raises(ConfigError, match="need network outputs of shape"):
        likelihood.log_prob(params[..., :1], x)


def test_images_out_of_range_are_refused():
    likelihood, good = Bernoulli(), torch.rand(2, 1, 3, 3, generator=rng())
    likelihood.check(good)
    likelihood.check(good[:0])
    with pytest.raises(DataError, match="divide by 255"):
        likelihood.check(good * 255)
    with pytest.raises(DataError, match=r"in \[0, 1\]; found -1"):
        likelihood.check(good - 1.5)
    with pytest.raises(DataError, match="nan"):
        likelihood.check(torch.where(good > 0.5, torch.nan, good))
    with pytest.raises(DataError, match="uint8"):
        likelihood.check((good * 255).byte())
    with pytest.raises(DataError, match="shape"):
        likelihood.check(good[0])


# Bernoulli


def test_bernoulli_sums_to_one_over_all_binary_images():
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6))).view(-1, 1, 2, 3)
    params = torch.randn(1, 1, 2, 3, generator=rng()).expand(len(images), -1, -1, -1)
    assert Bernoulli().log_prob(params, images).exp().sum() == pytest.approx(1.0)


def test_bernoulli_is_stable_and_is_the_cross_entropy_between_the_levels():
    logits = torch.tensor([-200.0, -1.0, 0.5, 200.0]).view(1, 1, 2, 2)
    x = torch.tensor([1.0, 0.3, 0.6, 0.0]).view(1, 1, 2, 2)
    p = torch.sigmoid(torch.tensor([-1.0, 0.5], dtype=torch.float64))
    between = torch.tensor([0.3, 0.6], dtype=torch.float64)
    expected = -400.0 + float((between * p.log() + (1 - between) * (1 - p).log()).sum())
    assert float(Bernoulli().log_prob(logits, x)) == pytest.approx(expected, rel=1e-6)


def test_bernoulli_samples_have_the_mean():
    params = torch.tensor([-2.0, 0.0, 1.0]).view(1, 1, 1, 3).expand(20_000, -1, -1, -1)
    samples = Bernoulli().sample(params, rng())
    assert set(samples.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(samples.mean(0), Bernoulli().mean(params[0]), atol=0.015, rtol=0)


# Gaussian


@pytest.mark.parametrize("std", [1.0, 0.05])
@pytest.mark.parametrize("activation", ["sigmoid", "linear"])
def test_gaussian_log_prob_against_torch(std, activation):
    likelihood = GaussianLikelihood(std=std, activation=activation)
    params, x = made(likelihood, channels=3)
    mean = params.sigmoid() if activation == "sigmoid" else params
    expected = torch.distributions.Normal(mean, std).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(params, x), expected)


def test_gaussian_with_std_one_is_half_the_squared_error():
    likelihood = GaussianLikelihood()
    params, x = made(likelihood)
    half_squared_error = 0.5 * (x - params.sigmoid()).square().sum(dim=(1, 2, 3))
    constant = x[0].numel() * math.log(2 * math.pi) / 2
    torch.testing.assert_close(-likelihood.log_prob(params, x), half_squared_error + constant)


def test_gaussian_samples_have_mean_and_std_and_are_clipped():
    likelihood = GaussianLikelihood(std=0.1, activation="linear")
    params = torch.tensor([0.5, 0.0]).view(1, 1, 1, 2).expand(20_000, -1, -1, -1)
    inner, edge = likelihood.sample(params, rng()).flatten(1).T
    assert inner.mean() == pytest.approx(0.5, abs=0.003)
    assert inner.std() == pytest.approx(0.1, abs=0.002)
    assert (edge == 0).float().mean() == pytest.approx(0.5, abs=0.015)


# Discretised logistic mixture


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("levels", [256, 8])
def test_mixture_equals_a_naive_loop_in_float64(channels, components, levels):
    likelihood = DiscretizedLogisticMixture(components=components, levels=levels)
    params, x = made(likelihood, channels=channels, scale=1.5)
    x[0, :, 0, 0], x[0, :, 0, 1] = 0.0, 1.0
    expected = naive_mixture(params, x, components, levels)
    torch.testing.assert_close(likelihood.log_prob(params, x).double(), expected, atol=1e-4, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    mean=st.floats(-3, 3),
    log_scale=st.floats(-9, 5),
    seed=st.integers(0, 100),
    levels=st.sampled_from([2, 8, 256]),
)
def test_grey_probabilities_sum_to_one(mean, log_scale, seed, levels):
    likelihood = DiscretizedLogisticMixture(components=2, levels=levels)
    params = torch.randn(1, 6, 1, 1, generator=rng(seed))
    params[:, 2:4] += mean
    params[:, 4:6] += log_scale
    x = torch.arange(levels).view(-1, 1, 1, 1) / (levels - 1)
    log_prob = likelihood.log_prob(params.expand(levels, -1, -1, -1), x)
    assert float(log_prob.double().exp().sum()) == pytest.approx(1.0, abs=2e-5)


def test_rgb_probabilities_sum_to_one_over_all_colours():
    likelihood = DiscretizedLogisticMixture(components=3, levels=8)
    params, _ = made(likelihood, n=1, channels=3, h=1, w=1)
    colours = torch.cartesian_prod(*[torch.arange(8) / 7] * 3).view(-1, 3, 1, 1)
    probabilities = likelihood.log_prob(params.expand(512, -1, -1, -1), colours).double().exp()
    assert float(probabilities.sum()) == pytest.approx(1.0, abs=1e-5)


def test_the_last_channel_of_256_levels_can_be_summed_out():
    params, _ = made(MIXTURE, n=1, channels=3, h=1, w=1)
    x = torch.full((256, 3, 1, 1), 100 / 255)
    x[:, 2, 0, 0] = torch.arange(256) / 255
    summed = MIXTURE.log_prob(params.expand(256, -1, -1, -1), x).double().logsumexp(0)
    # Blue's parameters, whatever they are, do not matter to red and green.
    other = params.clone()
    other.view(1, 10, 3, 1, 1)[:, [3, 6, 8, 9]] = 0.7
    other_summed = MIXTURE.log_prob(other.expand(256, -1, -1, -1), x).double().logsumexp(0)
    assert float(summed) == pytest.approx(float(other_summed), abs=1e-5)
    # Green's parameters do matter.
    other.view(1, 10, 3, 1, 1)[:, 2] += 1.0
    changed = MIXTURE.log_prob(other.expand(256, -1, -1, -1), x).double().logsumexp(0)
    assert abs(float(summed) - float(changed)) > 1e-2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1e3, 1e5])
def test_mixture_stays_finite_at_extreme_params(channels, size):
    params, x = made(MIXTURE, n=8, channels=channels, scale=size)
    x[:, :, 0, 0], x[:, :, 0, 1] = 0.0, 1.0
    params.requires_grad_()
    log_prob = MIXTURE.log_prob(params, x)
    (gradient,) = torch.autograd.grad(log_prob.sum(), params)
    assert log_prob.isfinite().all()
    assert gradient.isfinite().all()
    assert MIXTURE.mean(params).isfinite().all()
    assert MIXTURE.sample(params, rng()).isfinite().all()


@pytest.mark.parametrize("log_scale", [-7.0, -2.0, 5.0, 40.0])
@pytest.mark.parametrize("distance", [0.0, 0.5, 3.0])
def test_mixture_is_exact_where_naive_formulas_underflow(log_scale, distance):
    """The log-mass of a bin far in the tail of a narrow logistic, or in the middle of a very wide one."""
    likelihood = DiscretizedLogisticMixture(components=1)
    level = 100
    params = torch.tensor([0.0, level / 255 * 2 - 1 + distance, log_scale], dtype=torch.float32)
    params = params.view(1, 3, 1, 1).requires_grad_()
    log_prob = likelihood.log_prob(params, torch.full((1, 1, 1, 1), level / 255))
    (gradient,) = torch.autograd.grad(log_prob.sum(), params)

    scale, half = math.exp(log_scale), 1 / 255
    a, b = (half - distance) / scale, (-half - distance) / scale
    # log(sigmoid(a) - sigmoid(b)) with the tail's exponential taken out, a and b being negative or tiny.
    expected = a + math.log(-math.expm1(b - a)) - math.log1p(math.exp(a)) - math.log1p(math.exp(b))
    assert log_prob.item() == pytest.approx(expected, rel=1e-4, abs=1e-4)
    slope = (math.tanh(a / 2) + math.tanh(b / 2)) / (2 * scale)  # (sigmoid(a) + sigmoid(b) - 1) / scale
    assert float(gradient[0, 1]) == pytest.approx(slope, rel=1e-3, abs=1e-6 / scale)


def test_edge_bins_take_the_tails():
    likelihood = DiscretizedLogisticMixture(components=1)
    params = torch.tensor([0.0, -5.0, -7.0]).view(1, 3, 1, 1)
    assert float(likelihood.log_prob(params, torch.zeros(1, 1, 1, 1))) == pytest.approx(0.0, abs=1e-6)
    params = torch.tensor([0.0, 5.0, -7.0]).view(1, 3, 1, 1)
    assert float(likelihood.log_prob(params, torch.ones(1, 1, 1, 1))) == pytest.approx(0.0, abs=1e-6)


def test_log_scales_are_bounded_below():
    params, x = made(MIXTURE)
    params[:, 6:9] = -7.0
    expected = MIXTURE.log_prob(params, x)
    params[:, 6:9] = -20.0
    assert torch.equal(MIXTURE.log_prob(params, x), expected)


def test_values_between_levels_count_as_the_nearest_level():
    params, x = made(MIXTURE)
    assert torch.equal(MIXTURE.log_prob(params, (x + 0.3 / 255).clamp(max=1)), MIXTURE.log_prob(params, x))


def test_samples_are_exact_levels_and_the_same_as_the_stored_ones():
    params, _ = made(MIXTURE, n=50, channels=3)
    samples = MIXTURE.sample(params, rng())
    assert torch.equal((samples * 255).round() / 255, samples)
    assert torch.equal((samples * 255).round().byte().float() / 255, samples)


@pytest.mark.parametrize("seed", [0, 1])
def test_colours_are_sampled_as_often_as_their_probability_says(seed):
    likelihood, n = DiscretizedLogisticMixture(components=2, levels=4), 100_000
    params, _ = made(likelihood, n=1, channels=3, h=1, w=1, seed=seed)
    params[:, 8:14] -= 1.0  # narrower, so that the coefficients matter
    colours = torch.cartesian_prod(*[torch.arange(4) / 3] * 3).view(-1, 3, 1, 1)
    expected = n * likelihood.log_prob(params.expand(64, -1, -1, -1), colours).double().exp()
    samples = likelihood.sample(params.expand(n, -1, -1, -1), rng(seed))
    index = ((samples * 3).round().long().view(n, 3) * torch.tensor([16, 4, 1])).sum(1)
    counts = index.bincount(minlength=64).double()
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 103.4  # 63 degrees of freedom, p = 0.001


def test_grey_values_are_sampled_as_often_as_their_probability_says():
    likelihood, n = DiscretizedLogisticMixture(components=3, levels=256), 200_000
    params, _ = made(likelihood, n=1, h=1, w=1, seed=4)
    x = torch.arange(256).view(-1, 1, 1, 1) / 255
    expected = n * likelihood.log_prob(params.expand(256, -1, -1, -1), x).double().exp()
    samples = likelihood.sample(params.expand(n, -1, -1, -1), rng())
    counts = (samples * 255).round().long().flatten().bincount(minlength=256).double()
    assert expected.min() > 5
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 330.5  # 255 degrees of freedom, p = 0.001


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_is_the_mean_of_the_samples_of_narrow_components(channels):
    params, _ = made(MIXTURE, n=1, channels=channels, h=1, w=1)
    params.view(1, -1, 3, 1, 1)[:, 1 + channels : 1 + 2 * channels] = -5.0
    samples = MIXTURE.sample(params.expand(50_000, -1, -1, -1), rng())
    torch.testing.assert_close(MIXTURE.mean(params)[0], samples.mean(0), atol=0.01, rtol=0)


@pytest.mark.parametrize("uniform", [2.0**-25, 0.5, 1 - 2.0**-24])
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_special_noise_and_huge_params_give_images(likelihood, uniform):
    params, _ = made(likelihood, channels=3, scale=1e3)
    samples = likelihood.sample_from(params, torch.full((2, *likelihood.noise_shape(3, 3, 5)), uniform))
    likelihood.check(samples)


def test_a_zero_from_the_generator_does_not_light_an_impossible_pixel(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape))
    assert Bernoulli().sample(torch.full((1, 1, 1, 1), -20.0)) == 0


def test_mixtures_need_one_or_three_channels():
    assert (MIXTURE.outputs(1), MIXTURE.outputs(3)) == (9, 30)
    with pytest.raises(ConfigError, match="1 or 3 channels, not 2"):
        MIXTURE.outputs(2)
    with pytest.raises(ConfigError, match="needs 9 outputs for grey or 30 for RGB"):
        MIXTURE.sample(torch.zeros(1, 10, 2, 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianLikelihood(std=0.0),
        lambda: GaussianLikelihood(std=math.inf),
        lambda: GaussianLikelihood(activation="tanh"),
        lambda: DiscretizedLogisticMixture(components=0),
        lambda: DiscretizedLogisticMixture(levels=1),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(ConfigError):
        make()

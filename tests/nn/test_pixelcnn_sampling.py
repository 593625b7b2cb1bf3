import itertools

import pytest
import torch

from aegean.errors import ConfigError
from aegean.likelihoods import Bernoulli, DiscretizedLogisticMixture
from aegean.nn.pixelcnn import PixelCNN, PixelCNNConfig
from aegean.nn.pixelcnn_sampling import sample, sample_naive

MIXTURE = DiscretizedLogisticMixture(components=3)


KERNELS = pytest.mark.parametrize("kernels", ["on", "off"])


def build(likelihood, shape, conditioning="location-invariant", condition=4, channels=6, **settings) -> PixelCNN:
    """A network whose every weight and bias is random and large enough that pixels depend on each other."""
    torch.manual_seed(0)
    if conditioning != "location-invariant":
        settings |= {"condition_hidden": 9}
    config = PixelCNNConfig(blocks=2, channels=channels, conditioning=conditioning, **settings)
    net = config.build(condition, shape, likelihood.outputs(shape[0]))
    with torch.no_grad():
        for weight in net.parameters():
            weight.normal_(std=0.5 if weight.ndim == 1 else weight[0].numel() ** -0.5)
    return net


@KERNELS
@pytest.mark.parametrize("likelihood", [Bernoulli(), MIXTURE], ids=["bernoulli", "mixture"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(
    ("conditioning", "extra"),
    [
        ("location-invariant", {}),
        ("location-dependent", {}),
        ("location-dependent", {"condition_maps": 2}),
        ("input-channel", {"condition_maps": 2}),
    ],
)
def test_the_cache_changes_no_pixel(conditioning, extra, gated, channels, likelihood, kernels, monkeypatch):
    monkeypatch.setenv("AEGEAN_KERNELS", kernels)
    shape = (channels, 5, 7)
    net = build(likelihood, shape, conditioning, gated=gated, **extra)
    z, uniforms = torch.randn(6, 4), torch.rand(6, *likelihood.noise_shape(*shape))
    cached = sample(net, likelihood, z, 6, shape, uniforms=uniforms)
    naive = sample_naive(net, likelihood, z, 6, shape, uniforms=uniforms)
    torch.testing.assert_close(cached, naive, rtol=0, atol=1e-6)
    assert cached.std() > 0.2  # and not by all being the same


@KERNELS
@pytest.mark.parametrize("gated", [False, True])
def test_the_cache_changes_no_pixel_of_wide_networks(gated, kernels, monkeypatch):
    """Widths that the kernel treats in parts of 32, and a number of images that its groups of four do not divide."""
    monkeypatch.setenv("AEGEAN_KERNELS", kernels)
    net = build(MIXTURE, (1, 5, 7), channels=40, gated=gated)
    z, uniforms = torch.randn(7, 4), torch.rand(7, *MIXTURE.noise_shape(1, 5, 7))
    cached = sample(net, MIXTURE, z, 7, (1, 5, 7), uniforms=uniforms)
    naive = sample_naive(net, MIXTURE, z, 7, (1, 5, 7), uniforms=uniforms)
    torch.testing.assert_close(cached, naive, rtol=0, atol=1e-5)
    assert cached.std() > 0.1


@pytest.mark.parametrize("filters", [{"filter": (2, 3)}, {"filter": (1, 3), "first_filter": (1, 3)}])
def test_the_cache_follows_the_filters_and_goes_without_a_condition(filters):
    net = build(MIXTURE, (1, 7, 4), condition=0, **filters)
    uniforms = torch.rand(5, *MIXTURE.noise_shape(1, 7, 4))
    cached = sample(net, MIXTURE, None, 5, (1, 7, 4), uniforms=uniforms)
    naive = sample_naive(net, MIXTURE, None, 5, (1, 7, 4), uniforms=uniforms)
    torch.testing.assert_close(cached, naive, rtol=0, atol=1e-6)


@pytest.mark.parametrize("per_image", [False, True])
def test_known_pixels_are_kept_and_drawn_from(per_image):
    shape = (3, 5, 6)
    net = build(MIXTURE, shape)
    z, given = torch.randn(4, 4), torch.rand(4, *shape)
    known = torch.rand(*((4, 1) if per_image else ()), 5, 6) < 0.4
    uniforms = torch.rand(4, *MIXTURE.noise_shape(*shape))
    cached = sample(net, MIXTURE, z, 4, shape, uniforms=uniforms, given=given, known=known)
    naive = sample_naive(net, MIXTURE, z, 4, shape, uniforms=uniforms, given=given, known=known)
    torch.testing.assert_close(cached, naive, rtol=0, atol=1e-6)
    kept = known.expand(4, 3, 5, 6)
    assert torch.equal(cached[kept], given[kept])
    free = sample(net, MIXTURE, z, 4, shape, uniforms=uniforms)
    assert not torch.equal(cached[~kept], free[~kept])  # later pixels take account of the kept ones


def test_drawn_images_have_the_probabilities_of_the_network():
    net, n = build(Bernoulli(), (1, 1, 3), condition=0), 20_000
    drawn = sample(net, Bernoulli(), None, n, (1, 1, 3), generator=torch.Generator().manual_seed(0))
    codes = (drawn.view(n, 3) @ torch.tensor([4.0, 2.0, 1.0])).long()
    frequencies = torch.bincount(codes, minlength=8) / n
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3))).view(8, 1, 1, 3)
    probabilities = Bernoulli().log_prob(net(images), images).exp()
    assert probabilities.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (frequencies - probabilities).abs().max() < 0.015  # four standard errors


def test_the_generator_alone_decides():
    net, z = build(Bernoulli(), (1, 6, 6)), torch.randn(3, 4)

    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 100)
        return sample(net, Bernoulli(), z, 3, (1, 6, 6), generator=torch.Generator().manual_seed(seed))

    assert not torch.equal(draw(1), draw(2))
    first = draw(1)
    state = torch.get_rng_state()
    assert torch.equal(first, draw(1))
    torch.manual_seed(101)
    assert torch.equal(state, torch.get_rng_state())


def test_a_network_that_does_not_condition_by_location_draws_any_size():
    net = build(Bernoulli(), (1, 6, 6))
    assert sample(net, Bernoulli(), torch.randn(2, 4), 2, (1, 3, 9)).shape == (2, 1, 3, 9)


def test_progress_counts_rows():
    net, calls = build(Bernoulli(), (1, 4, 3), condition=0), []
    sample(net, Bernoulli(), None, 1, (1, 4, 3), progress=lambda done, rows: calls.append((done, rows)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_it_runs_in_bfloat16_without_a_gradient():
    net = build(MIXTURE, (3, 4, 5), "input-channel", gated=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = sample(net, MIXTURE, torch.randn(2, 4), 2, (3, 4, 5))
    assert images.dtype == torch.float32
    assert not images.requires_grad


GIVEN, KNOWN = torch.rand(2, 1, 4, 5), torch.zeros(4, 5, dtype=torch.bool)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "Cannot draw 0 images"),
        ({"n": 3}, "3 images need 3 conditions; 2 were given"),
        ({"shape": (1, 5, 4)}, r"images of shape \(1, 4, 5\)"),
        ({"condition": None}, "condition of 4 numbers, not 0"),
        ({"uniforms": torch.rand(2, 1, 5, 4)}, r"`uniforms` must be of shape \(2, 1, 4, 5\)"),
        ({"given": GIVEN}, "only of use together"),
        ({"given": GIVEN[:1], "known": KNOWN}, r"`given` must be of shape \(2, 1, 4, 5\)"),
        ({"given": GIVEN, "known": KNOWN.float()}, "`known` must be boolean"),
        ({"given": GIVEN, "known": KNOWN.T}, "`known` must be boolean and of shape"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    net = build(Bernoulli(), (1, 4, 5), "location-dependent")
    arguments = {"condition": torch.randn(2, 4), "n": 2, "shape": (1, 4, 5)} | changes
    with pytest.raises(ConfigError, match=message):
        sample(net, Bernoulli(), **arguments)

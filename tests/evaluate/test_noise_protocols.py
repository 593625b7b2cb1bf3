"""What noise does, in numbers: models whose answers are known get the known numbers."""

import dataclasses
import math

import pytest
import torch

from aegean.data import Points
from aegean.data.images import as_float
from aegean.errors import DataError, UnsupportedError
from aegean.evaluate import noise, sample_classes
from aegean.evaluate.modes import mode_information
from aegean.evaluate.neighbours import distance_to_nearest
from aegean.evaluate.posterior import SIDE, SPAN, grid_posteriors, jensen_shannon
from aegean.evaluate.protocols import evaluate_model
from aegean.models import FlippedImplicitAutoencoderConfig, GANConfig, InfoGANConfig, create
from aegean.priors import Categorical, Gaussian, Product
from conftest import SMALL, SMALL_MODELS, make_splits

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


# ---- information between categories and modes -----------------------------------------------------------------------


def test_information_is_all_none_or_half_of_what_the_modes_hold():
    y = torch.arange(4000) % 4
    points, modes = CORNERS.repeat(50, 1), torch.arange(4).repeat(50)
    everything = mode_information(CORNERS[(y + 1) % 4], y, points, modes)
    assert everything.information == pytest.approx(math.log(4))
    assert (everything.entropy, everything.astray) == (pytest.approx(math.log(4)), 0)
    nothing = mode_information(CORNERS[torch.arange(4000) // 4 % 4], y, points, modes)
    assert nothing.information == pytest.approx(0, abs=1e-9)
    half = mode_information(CORNERS[y // 2 * 2 + torch.arange(4000) // 4 % 2], y, points, modes)
    assert half.information == pytest.approx(math.log(2))


def test_samples_far_from_every_mode_are_astray():
    generator = torch.Generator().manual_seed(0)
    modes = torch.arange(4).repeat(500)
    points = CORNERS[modes] + 0.01 * torch.randn(2000, 2, generator=generator)
    samples = torch.cat((points[:1000], torch.full((1000, 2), 0.5)))
    found = mode_information(samples, torch.zeros(2000, dtype=torch.int64), points, modes)
    assert found.astray == pytest.approx(50.5, abs=0.5)
    with pytest.raises(DataError, match="expected samples"):
        mode_information(samples, torch.zeros(3, dtype=torch.int64), points, modes)


@pytest.mark.parametrize("told", [True, False])
def test_the_protocol_gives_the_category_to_the_model(told):
    splits = Points(points=400, modes=4, std=0.02, test=0.5).load()
    prior = Product(parts=(Categorical(categories=4), Gaussian(dim=2)))
    model = create(GANConfig(prior=prior, generator=SMALL, discriminator=SMALL), splits.shape)
    centres = torch.stack([as_float(splits.test.images[splits.test.labels == k]).mean(dim=0) for k in range(4)])
    which = (lambda z: z[:, :4].argmax(1)) if told else (lambda z: (z[:, 4] > 0).long())
    model.decode = lambda z, generator=None: centres[which(z)]
    found = evaluate_model(model, splits, "test", protocols=("mode-information",))
    assert found["mode_information"] == pytest.approx(math.log(4) if told else 0, abs=2e-3)
    with pytest.raises(UnsupportedError, match="mode-information"):
        evaluate_model(create(SMALL_MODELS["gan"], (1, 8, 8)), make_splits(), "test", protocols=("mode-information",))


# ---- posteriors on a grid -------------------------------------------------------------------------------------------


def quadrant(z):
    return torch.nn.functional.one_hot((z[:, 0] > 0).long() * 2 + (z[:, 1] > 0).long(), 4).float()


def log_normal(z):
    return (-z.square() / 2).sum(dim=1) - math.log(2 * math.pi)


def test_divergences_of_known_posteriors():
    """Each point has a quadrant. Draws of it differ by what 100,000 draws vary; the whole prior by a known number."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4, 100_000, 2, generator=generator)
    exact = grid_posteriors(quadrant, log_normal, z.abs() * (2 * CORNERS[:, None] - 1), 1.0)
    assert exact.divergences.max() < 0.003
    whole = grid_posteriors(quadrant, log_normal, z, 1.0)
    expected = 0.5 * math.log(4 / 2.5) + 0.5 * (0.25 * math.log(1 / 2.5) + 0.75 * math.log(2))
    torch.testing.assert_close(whole.divergences, torch.full((4,), expected).double(), atol=8e-3, rtol=0)
    assert whole.aggregated_divergence < 0.003
    assert whole.prior.sum() == pytest.approx(1)
    assert exact.true.sum(dim=1).tolist() == pytest.approx([1] * 4)


def test_a_wide_prior_is_integrated_in_its_own_unit_and_draws_far_outside_count():
    def log_wide(z):
        return log_normal(z / 5) - 2 * math.log(5)

    far = torch.full((4, 1000, 2), 5 * SPAN + 1)
    found = grid_posteriors(quadrant, log_wide, far, 5.0)
    assert found.prior[:-1].sum() == pytest.approx(1, abs=2e-3)
    torch.testing.assert_close(found.divergences, torch.full((4,), math.log(2)).double())


def test_a_point_that_is_never_drawn_is_as_wrong_as_can_be():
    found = grid_posteriors(lambda z: torch.cat((quadrant(z)[:, :1] * 0, quadrant(z)[:, 1:]), 1), log_normal,
                            torch.randn(4, 100, 2), 1.0)  # fmt: skip
    assert found.divergences[0] == pytest.approx(math.log(2))
    assert found.true[0].sum() == 0


def test_pictures_have_the_second_coordinate_upwards():
    found = grid_posteriors(quadrant, log_normal, torch.randn(4, 10, 2), 1.0)
    image = found.image("true")
    assert image.shape == (4, SIDE, SIDE)
    middle = SIDE // 2
    assert image[1, :middle, :middle].sum() == pytest.approx(1)  # first coordinate below 0, second above
    assert image[2, middle:, middle:].sum() == pytest.approx(1)


def test_the_jensen_shannon_divergence():
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert (jensen_shannon(p, p), jensen_shannon(p, q)) == (0, pytest.approx(math.log(2)))


@pytest.mark.parametrize("kind", ["flipped-implicit", "infogan"])
def test_the_protocol_compares_the_decoders_posterior_with_the_encoders(kind):
    """A decoder by quadrants and codes drawn of the right quadrant agree; in another order they do not."""
    splits = Points(points=80, modes=4, std=0.0, test=0.5).load()
    points = torch.stack([as_float(splits.test.images[splits.test.labels == k][0]) for k in range(4)])
    if kind == "infogan":
        config = InfoGANConfig(prior=Gaussian(dim=2), noise=0, generator=SMALL, discriminator=SMALL, recognition=SMALL)
    else:
        config = FlippedImplicitAutoencoderConfig(
            prior=Gaussian(dim=2), encoder=SMALL, decoder=SMALL, image_discriminator=SMALL, discriminator=SMALL,
            likelihood="deterministic", noise=0,
        )  # fmt: skip
    model = create(config, splits.shape)
    model.decode = lambda z, generator=None: points[quadrant(z).argmax(1)]
    for shift, right in ((0, True), (1, False)):

        def draw_code(x, shift=shift):
            shown = (torch.cdist(x.flatten(1), points.flatten(1)).argmin(dim=1) + shift) % 4
            return torch.randn(len(x), 2, generator=model.rng).abs() * (2 * CORNERS[shown] - 1)

        model.draw_code = draw_code
        found = evaluate_model(model, splits, "test", protocols=("posterior-divergence",))
        assert found["points_drawn"] == 4
        assert found["posterior_divergence"] == pytest.approx(0 if right else math.log(2), abs=3e-3)
        assert found["aggregated_divergence"] < 3e-3
    with pytest.raises(UnsupportedError, match="posterior-divergence"):
        evaluate_model(
            create(SMALL_MODELS["ali"], (1, 8, 8)), make_splits(), "test", protocols=("posterior-divergence",)
        )


def test_an_infogan_draws_codes_of_its_own_distribution():
    model = create(SMALL_MODELS["infogan"], (1, 8, 8), seed=0).eval()
    x = torch.rand(1, 1, 8, 8).expand(4000, -1, -1, -1)
    with torch.no_grad():
        drawn, expected = model.draw_code(x), model.encode(x[:1])[0]
        (_, _, _), (_, _, uniform), _ = model._split(x[:1])
    torch.testing.assert_close(drawn.mean(dim=0), expected, atol=0.08, rtol=0)
    assert set(drawn[:, :3].unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(drawn[:, 3:5].std(dim=0), (model._moments(uniform)[1][0] / 2).exp(), atol=0.05, rtol=0)


# ---- several reconstructions of an image ------------------------------------------------------------------------------


class ByCorner(torch.nn.Module):
    """A classifier of `make_splits`: the class is the row that is bright."""

    def forward(self, x):
        return 20 * x[:, 0, :3, 0]


@pytest.fixture
def looked_at(monkeypatch):
    """Images of three classes, and a classifier that is always right."""
    monkeypatch.setattr(sample_classes, "train_classifier", lambda *args, **settings: ByCorner().requires_grad_(True))
    monkeypatch.setattr(noise, "classify", lambda network, x, binarize=None: ByCorner()(as_uint(x)).softmax(1))
    return make_splits(n=300, test=60, validation=0)


def as_uint(x):
    return as_float(x) if x.dtype == torch.uint8 else x


def reconstruct_with(how):
    model = create(SMALL_MODELS["implicit"], (1, 8, 8), seed=0)
    model.draw_code = model.encode = lambda x: x.flatten(1)
    model.decode = lambda z, generator=None: how(z.reshape(-1, 1, 8, 8), generator)
    return model


def test_an_exact_reconstruction_keeps_the_label_and_varies_nowhere(looked_at):
    model = reconstruct_with(lambda x, generator: x)
    found = evaluate_model(model, looked_at, "test", protocols=("stochastic-reconstruction",))
    assert found["label_kept"] == 100
    assert found["draw_variance"] == pytest.approx(0, abs=1e-9)
    assert found["copied"] <= 2
    assert found["label_classifier_error"] == 0


def test_noise_of_one_pixel_is_its_variance_and_turned_images_lose_their_label(looked_at):
    def turned(x, generator):
        moved = x.roll(1, dims=2).clone()
        moved[:, 0, 7, 7] = torch.rand(len(x), generator=generator)
        return moved

    found = evaluate_model(reconstruct_with(turned), looked_at, "test", protocols=("stochastic-reconstruction",))
    assert found["label_kept"] < 50
    assert found["draw_variance"] == pytest.approx(1 / 12, rel=0.1)


def test_training_images_are_told_from_new_ones(looked_at):
    """Reconstructions that are training images are all copies; distances are Euclidean."""
    train = as_float(looked_at.train.images)
    model = reconstruct_with(lambda x, generator: train[: len(x)])
    found = evaluate_model(model, looked_at, "test", protocols=("stochastic-reconstruction",))
    assert found["copied"] == 100
    x = torch.rand(5, 1, 8, 8)
    expected = torch.cdist(x.flatten(1), train.flatten(1)).amin(dim=1)
    torch.testing.assert_close(distance_to_nearest(x, looked_at.train.images), expected)


def test_draws_that_change_the_category_are_counted_where_images_are_ambiguous(monkeypatch, looked_at):
    """The classifier is unsure of the first three of 60 test images (5 %), and so is the model."""
    test = looked_at.test.images
    unsure = as_float(test[:3])
    sure = torch.ones(60)
    sure[:3] = 0.5
    monkeypatch.setattr(noise, "classify", lambda network, x, binarize=None: sure[:, None])
    model = create(SMALL_MODELS["flipped-implicit"], (1, 8, 8), 3, seed=0)

    def draw_code(x):
        hesitates = torch.isclose(x[:, None], unsure[None]).flatten(2).all(dim=2).any(dim=1)
        changed = hesitates & (torch.rand(len(x), generator=model.rng) < 0.5)
        return torch.eye(3)[changed.long()]

    model.draw_code = draw_code
    state = model.rng.get_state()
    found = evaluate_model(model, looked_at, "test", protocols=("category-draws",))
    assert (found["changing_ambiguous"], found["changing_clear"]) == (100, 0)
    assert torch.equal(model.rng.get_state(), state)  # its own noise is as it was


def test_one_test_image_is_ambiguous_and_none_is_clear(monkeypatch, looked_at):
    monkeypatch.setattr(noise, "classify", lambda network, x, binarize=None: torch.ones(len(x), 1))
    one = dataclasses.replace(looked_at, test=looked_at.test.subset(torch.arange(1)))
    model = create(SMALL_MODELS["flipped-implicit"], (1, 8, 8), 3, seed=0)
    monkeypatch.setattr(noise, "trained_classifier", lambda model, splits, dtype, progress: (None, splits.test))
    found = evaluate_model(model, one, "test", protocols=("category-draws",))
    assert found["changing_ambiguous"] in (0, 100)
    assert "changing_clear" not in found


def test_images_that_are_drawn_for_reconstructions_are_the_same_again(looked_at):
    drawn = dataclasses.replace(looked_at, binarize="sample")
    model = create(SMALL_MODELS["implicit"], (1, 8, 8), 3, seed=0)
    state = torch.get_rng_state()
    first, second = (evaluate_model(model, drawn, "test", protocols=("stochastic-reconstruction",)) for _ in range(2))
    assert first == second
    assert torch.equal(state, torch.get_rng_state())


def test_what_these_protocols_lack_is_said():
    with pytest.raises(UnsupportedError, match=r"posterior=stochastic"):
        evaluate_model(create(SMALL_MODELS["ali"], (1, 8, 8), 3), make_splits(), "test", protocols=("category-draws",))
    with pytest.raises(UnsupportedError, match="for autoencoders, not 'gan'"):
        evaluate_model(
            create(SMALL_MODELS["gan"], (1, 8, 8)), make_splits(), "test", protocols=("stochastic-reconstruction",)
        )

"""The mathematics of each model, and what each can do."""

import math

import pytest
import torch
from torch import Tensor, nn

from aegean.data.stream import Batch
from aegean.errors import ConfigError, UnsupportedError
from aegean.likelihoods import DiscretizedLogisticMixture
from aegean.models import (
    AAE,
    VAE,
    VAEGAN,
    AAEConfig,
    Model,
    PixelCNNModelConfig,
    PixelGAN,
    PixelGANConfig,
    VAEConfig,
    create,
    registry,
)
from aegean.models.code import ready_prior
from aegean.models.vae import draw, kl_to_standard_normal
from aegean.nn import PixelCNNConfig
from aegean.nn.pixelcnn import Conditioning
from aegean.nn.pixelcnn_sampling import sample as sample_pixels
from aegean.nn.pixelcnn_sampling import sample_naive
from aegean.priors import Categorical, Gaussian, GaussianMixture
from conftest import SMALL, SMALL_MODELS, make_splits

SHAPE = (1, 8, 8)


def batch_of(n: int = 12) -> Batch:
    return make_splits().streams(n, 6, seed=0)["images"].batch(0)


def model_of(name: str) -> Model:
    return create(SMALL_MODELS[name], SHAPE, 3, seed=0)


def test_the_registry_knows_every_model() -> None:
    known = {"vae": VAE, "aae": AAE, "vae-gan": VAEGAN, "pixelgan": PixelGAN}
    assert {kind: model for kind, model in registry().items() if kind in known} == known


def test_kl_to_the_standard_normal_is_the_expected_log_ratio() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(3, 2), torch.randn(3, 2)
    std = (0.5 * log_variance).exp()
    z = mean + std * torch.randn(200_000, 3, 2)
    log_q = torch.distributions.Normal(mean, std).log_prob(z).sum(-1)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), (log_q - log_p).mean(0), rtol=0.02, atol=0.02)
    assert kl_to_standard_normal(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


def test_reparametrised_draws_have_the_posteriors_moments_and_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.full((100_000, 1), 2.0, requires_grad=True)
    z = draw(mean, torch.full((100_000, 1), math.log(9.0)), generator)
    assert z.mean().item() == pytest.approx(2.0, abs=0.05)
    assert z.std().item() == pytest.approx(3.0, abs=0.05)
    z.sum().backward()
    assert (mean.grad == 1).all()


def test_the_elbo_is_a_lower_bound_on_the_exact_log_likelihood() -> None:
    """With a linear Gaussian decoder log p(x) is known; the ELBO is below it and meets it at the true posterior."""
    generator = torch.Generator().manual_seed(0)
    w, x = torch.tensor([[1.0], [0.5]]), torch.randn(64, 2, generator=generator)
    log_p = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2) + w @ w.T).log_prob(x)
    variance = 1 / (1 + w.square().sum())
    for scale, tight in ((1.0, True), (0.3, False)):
        mean, log_variance = x @ w * variance, (variance * scale).log().expand(64, 1)
        z = draw(mean.expand(20_000, 64, 1), log_variance.expand(20_000, 64, 1), generator)
        log_likelihood = torch.distributions.Normal(z @ w.T, 1.0).log_prob(x).sum(-1).mean(0)
        elbo = log_likelihood - kl_to_standard_normal(mean, log_variance)
        gap = (log_p - elbo).mean().item()
        assert (abs(gap) < 0.01) if tight else (gap > 0.1)


def test_losses_are_one_number_a_sample_summed_over_pixels() -> None:
    batch = batch_of()
    for name in SMALL_MODELS:
        model = model_of(name)
        for group in model.phases():
            phases = getattr(group, "phases", (group,))
            shared = (group.forward(batch),) if hasattr(group, "forward") else ()
            for phase in phases:
                source = Batch(batch.x, batch.y.clamp(min=0), batch.index, 0.0)
                assert phase.loss(source, *shared).shape == (12,), (name, phase.name)


def test_reconstruction_is_half_the_squared_error_and_a_constant() -> None:
    model, batch = model_of("aae").eval(), batch_of()
    rebuilt = model.reconstruct(batch.x)
    expected = 0.5 * (rebuilt - batch.x).square().sum((1, 2, 3)) + 0.5 * 64 * math.log(2 * math.pi)
    torch.testing.assert_close(-model.reconstruction_log_prob(batch.x), expected)


def test_the_discriminator_sees_the_prior_as_real_and_the_codes_as_fake() -> None:
    """A discriminator that rates by distance from the origin prefers codes near 0 to draws of a wide prior, and back."""
    model = create(SMALL_MODELS["aae"].override({"prior.std": 100.0}), SHAPE, seed=0)

    class Far(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z.square().sum(1, keepdim=True) - 100

    model.discriminator = Far()
    batch = batch_of()
    model.discriminator_loss(batch, model.draw_code(batch.x))
    assert model.observed["real_accuracy"] == 1
    assert model.observed["fake_accuracy"] == 1


def test_confusion_moves_codes_towards_higher_logits() -> None:
    model, batch = model_of("aae"), batch_of()
    z = model.draw_code(batch.x).detach().requires_grad_()
    model.confusion_loss(batch, z).sum().backward()
    stepped = z.detach() - 1e-2 * z.grad
    assert (model.discriminator(stepped) > model.discriminator(z.detach())).all()


def test_posteriors_are_random_where_they_should_be() -> None:
    x = batch_of().x
    for name, random in (("aae-gaussian", True), ("aae-universal", True)):
        model = model_of(name)
        assert bool((model.draw_code(x) != model.draw_code(x)).any()) is random
        assert torch.equal(model.encode(x), model.encode(x))
    deterministic = create(SMALL_MODELS["aae"].override({"input_noise": 0.0}), SHAPE, seed=0)
    assert torch.equal(deterministic.draw_code(x), deterministic.draw_code(x))
    assert torch.equal(deterministic.draw_code(x), deterministic.encode(x))


def test_noise_is_off_in_evaluation() -> None:
    x = batch_of().x
    for name in ("aae", "pixelgan-supervised", "pixelgan-categorical"):
        model = model_of(name)
        assert not torch.equal(model.draw_code(x), model.draw_code(x))
        if model.supervised:
            batch = Batch(x, torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x)), 0.0)
            assert not torch.equal(model.classification_loss(batch), model.classification_loss(batch))
        model.eval()
        assert torch.equal(model.draw_code(x), model.draw_code(x))


def test_each_part_of_the_pixelgan_can_be_left_out() -> None:
    names = {name: [phase.name for phase in model_of(name).all_phases()] for name in SMALL_MODELS}
    assert names["pixelgan-matching"] == ["discriminate", "confuse"]
    assert names["pixelgan-free"] == ["reconstruct"]
    assert names["pixelgan-supervised"] == ["reconstruct", "discriminate", "confuse", "classify"]
    seldom = create(SMALL_MODELS["pixelgan-supervised"].override({"reconstruct_every": 3}), SHAPE, 3, seed=0)
    assert {phase.name: phase.every for phase in seldom.all_phases()} == {
        "reconstruct": 3, "discriminate": 1, "confuse": 1, "classify": 1,
    }  # fmt: skip
    both = create(SMALL_MODELS["pixelgan-free"].override({"reconstruct_every": 3, "decode_every": 2}), SHAPE, seed=0)
    assert {phase.name: phase.every for phase in both.all_phases()} == {"reconstruct": 3, "decode": 2}
    with pytest.raises(ConfigError, match="must be true"):
        PixelGANConfig(reconstruction=False, adversarial=False)


def test_a_decoder_that_learns_alone_leaves_the_codes_as_they_are() -> None:
    setting = SMALL_MODELS["pixelgan-categorical"].override(
        {"input_noise": 0.0, "input_dropout": 0.0, "decode_every": 1}
    )
    model, batch = create(setting, SHAPE, seed=0), batch_of()
    model.decoding_loss(batch).mean().backward()
    assert all(weight.grad is None for weight in model.encoder.parameters())
    alone = [weight.grad.clone() for weight in model.decoder.parameters()]
    model.zero_grad(set_to_none=True)
    model.reconstruction_loss(batch).mean().backward()
    assert any(weight.grad.abs().max() > 0 for weight in model.encoder.parameters())
    together = [weight.grad for weight in model.decoder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_settings_that_would_be_ignored_are_refused() -> None:
    with pytest.raises(ConfigError, match="decoder has no effect without reconstruction"):
        PixelGANConfig(decoder=PixelCNNConfig(blocks=2), reconstruction=False)
    with pytest.raises(ConfigError, match="likelihood has no effect without reconstruction"):
        PixelGANConfig(likelihood=DiscretizedLogisticMixture(), reconstruction=False)
    with pytest.raises(ConfigError, match="reconstruct_every has no effect without reconstruction"):
        PixelGANConfig(reconstruct_every=2, reconstruction=False)
    with pytest.raises(ConfigError, match="decode_every has no effect without reconstruction"):
        PixelGANConfig(decode_every=1, reconstruction=False)
    with pytest.raises(ConfigError, match="'input-channel', but there is no code to condition on"):
        PixelCNNModelConfig(network=PixelCNNConfig(conditioning="input-channel"))
    assert PixelGANConfig(decoder=PixelCNNConfig(), reconstruction=False).reconstruction is False


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (1, 9, 1), (1, 2, 2), (3, 1, 2)])
@pytest.mark.parametrize("conditioning", ["location-invariant", "location-dependent", "input-channel"])
def test_images_smaller_than_the_filters_work(shape: tuple[int, int, int], conditioning: Conditioning) -> None:
    """A pixel outside is 0, however far; the sampler pads as the network does."""
    decoder = PixelCNNConfig(blocks=2, channels=4, conditioning=conditioning)
    config = PixelGANConfig(prior=Categorical(categories=3), encoder=SMALL, decoder=decoder, discriminator=SMALL)
    model = create(config, shape, seed=0).eval()
    x, z = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0)).round(), torch.eye(3)
    loss = model.reconstruction_loss(Batch(x, torch.full((3,), -1), torch.arange(3), 0.0))
    assert torch.isfinite(loss).all()
    uniforms = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    images = [
        sampler(model.decoder, model.likelihood, z, 3, shape, uniforms=uniforms)
        for sampler in (sample_pixels, sample_naive)
    ]
    assert torch.equal(*images)
    if shape == (1, 2, 2):
        binary = torch.tensor([[(k >> bit) & 1 for bit in range(4)] for k in range(16)]).float().view(16, *shape)
        total = model.conditional_log_prob(binary, z[:1].expand(16, 3)).exp().sum()
        torch.testing.assert_close(total, torch.tensor(1.0))


def test_a_pixelcnn_alone_is_a_normalised_distribution() -> None:
    """The probabilities of all 16 binary images of 2x2 pixels add up to one."""
    model = create(SMALL_MODELS["pixelcnn"], (1, 2, 2), seed=0).eval()
    images = torch.tensor([[(k >> bit) & 1 for bit in range(4)] for k in range(16)]).float().view(16, 1, 2, 2)
    with torch.no_grad():
        log_prob = model.reconstruction_log_prob(images)
    torch.testing.assert_close(log_prob.exp().sum(), torch.tensor(1.0))
    torch.testing.assert_close(model.negative_log_likelihood(Batch(images, None, None, 0.0)), -log_prob)  # type: ignore[arg-type]


def test_a_categorical_code_is_a_distribution() -> None:
    model, x = model_of("pixelgan-supervised").eval(), batch_of().x
    q = model.predict(x)
    assert q.shape == (12, 3)
    torch.testing.assert_close(q.sum(1), torch.ones(12))
    torch.testing.assert_close(model.log_predict(x).exp().float(), q)


def test_the_classification_loss_is_the_negative_log_probability_of_the_label() -> None:
    model, batch = model_of("pixelgan-supervised").eval(), batch_of()
    labels = torch.arange(12) % 3
    loss = model.classification_loss(Batch(batch.x, labels, batch.index, 0.0))
    torch.testing.assert_close(loss, -model.predict(batch.x).log()[torch.arange(12), labels])


def test_the_vae_gan_weighs_features_by_gamma_for_the_decoder_alone() -> None:
    model, batch = model_of("vae-gan"), batch_of()
    shared = model.forward_pass(batch)
    torch.testing.assert_close(model.encoder_loss(batch, shared), shared.kl + shared.feature_error)
    fooled = -torch.sigmoid(shared.sampled).log() - torch.sigmoid(shared.reconstructed).log()
    torch.testing.assert_close(model.decoder_loss(batch, shared), 0.01 * shared.feature_error + fooled)
    judged = -torch.sigmoid(shared.real).log() - (1 - torch.sigmoid(shared.reconstructed)).log()
    judged -= (1 - torch.sigmoid(shared.sampled)).log()
    torch.testing.assert_close(model.discriminator_loss(batch, shared), judged)


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_samples_and_reconstructions_are_images(name: str) -> None:
    model, x = model_of(name).eval(), batch_of(4).x
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for images in (
            *([model.sample(4, generator=generator)] if model.can("sample") else ()),
            *([model.reconstruct(x, generator)] if model.can("encode") and model.can("decode") else ()),
        ):
            assert images.shape == (4, *SHAPE)
            assert images.min() >= 0
            assert images.max() <= 1


def test_models_say_what_they_cannot_do() -> None:
    x = batch_of().x
    for name in ("vae", "aae", "vae-gan", "pixelgan-gaussian"):
        model = model_of(name)
        assert not model.can("predict")
        with pytest.raises(UnsupportedError, match="continuous code"):
            model.predict(x)
    assert model_of("pixelgan-supervised").can("predict")
    matching = model_of("pixelgan-matching")
    assert not matching.can("sample")
    assert not matching.can("reconstruction_log_prob")
    for task in (lambda: matching.sample(2), lambda: matching.reconstruct(x), lambda: matching.decode(torch.eye(3))):
        with pytest.raises(UnsupportedError, match="without reconstruction"):
            task()
    with pytest.raises(UnsupportedError, match="no classes"):
        model_of("pixelcnn").sample(2, y=torch.zeros(2, dtype=torch.int64))
    assert not model_of("vae-gan").can("reconstruction_log_prob")


def test_a_prior_of_ones_own_needs_sample_alone() -> None:
    class Ring:
        def sample(self, n: int) -> Tensor:
            angle = 2 * math.pi * torch.rand(n)
            return torch.stack((angle.cos(), angle.sin()), dim=1)

    model = AAE.create(AAEConfig(encoder=SMALL, decoder=SMALL, discriminator=SMALL), SHAPE, prior=Ring())
    assert model.encode(batch_of().x).shape == (12, 2)
    assert model.sample(5).shape == (5, *SHAPE)
    state = torch.get_rng_state()
    first, second = (model.sample(5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


def test_networks_of_ones_own_take_their_place() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    model = AAE.create(SMALL_MODELS["aae"], SHAPE, encoder=encoder)
    assert model.encoder is encoder


@pytest.mark.parametrize(
    "sample", [lambda n: torch.full((n, 2), math.nan), lambda n: torch.zeros(n), lambda n: [0.0] * n]
)
def test_a_prior_that_gives_nonsense_is_refused_before_training(sample: object) -> None:
    prior = type("Broken", (), {"sample": staticmethod(sample)})()
    with pytest.raises(ConfigError, match="Broken"):
        ready_prior(prior)
    with pytest.raises(ConfigError, match="no method sample"):
        ready_prior(object())


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs noise of dimension 1 or more"):
        AAEConfig(posterior="universal")
    with pytest.raises(ConfigError, match="the others take none"):
        AAEConfig(posterior="gaussian", noise=3)
    with pytest.raises(ConfigError, match="supervised needs a categorical prior"):
        PixelGANConfig(prior=Gaussian(dim=2), supervised=True)
    with pytest.raises(ConfigError, match=r"model.prior has 3 categories, the data has 4 classes"):
        create(SMALL_MODELS["pixelgan-supervised"], SHAPE, classes=4)


def test_odd_and_non_square_images_and_colours_work() -> None:
    decoder = PixelCNNConfig(blocks=1, filter=(2, 3), first_filter=(2, 3), channels=4)
    for shape in ((1, 7, 5), (3, 9, 6)):
        for config in (
            VAEConfig(prior=Gaussian(dim=2), encoder=SMALL, decoder=SMALL),
            PixelGANConfig(prior=Categorical(categories=3), decoder=decoder, discriminator=SMALL),
        ):
            model = create(config, shape).eval()
            x = torch.rand(2, *shape)
            assert model.reconstruct(x).shape == (2, *shape)


def test_labels_choose_the_component_to_sample_from() -> None:
    config = AAEConfig(prior=GaussianMixture(components=3), encoder=SMALL, decoder=SMALL, discriminator=SMALL)
    model = create(config, SHAPE)
    assert model.sample(6, y=torch.arange(6) % 3).shape == (6, *SHAPE)
    with pytest.raises(UnsupportedError, match="no components"):
        model_of("aae").sample(2, y=torch.zeros(2, dtype=torch.int64))


def test_building_leaves_the_global_generator_alone_and_depends_on_the_seed() -> None:
    state = torch.get_rng_state()
    one, same, other = (create(SMALL_MODELS["vae"], SHAPE, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    weights = [next(model.parameters()) for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])

"""GAN and InfoGAN: who learns from what, and the bound on the mutual information."""

import math

import pytest
import torch
from torch import Tensor, nn

from aegean.adversary import Adversary
from aegean.data.stream import Batch
from aegean.errors import ConfigError
from aegean.models import GAN, GANConfig, InfoGAN, InfoGANConfig, create
from aegean.nn import ImageDiscriminatorConfig, StridedDecoderConfig
from aegean.priors import Categorical, Gaussian, Product, SwissRoll
from conftest import SMALL, SMALL_MODELS, make_splits

SHAPE = (1, 8, 8)


def batch_of(n: int = 12) -> Batch:
    return make_splits().streams(n, 6, seed=0)["images"].batch(0)


class Brightness(nn.Module):
    """A discriminator that takes dark images for real ones."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 10 * (0.5 - x.flatten(1).mean(1)), x


def test_data_is_real_and_made_images_are_fake() -> None:
    model = create(SMALL_MODELS["gan"], SHAPE, seed=0)
    assert isinstance(model, GAN)
    model.discriminator = Brightness()
    batch = batch_of()
    dark = Batch(torch.zeros_like(batch.x), batch.y, batch.index, 0.0)
    loss = model.discriminator_loss(dark, torch.ones_like(batch.x))
    assert (model.observed["real_accuracy"], model.observed["fake_accuracy"]) == (1, 1)
    torch.testing.assert_close(loss, torch.full((12,), 2 * math.log1p(math.exp(-5))))
    made = torch.full(batch.x.shape, 0.5, requires_grad=True)
    model.confusion_loss(batch, made).sum().backward()
    assert (made.grad > 0).all()  # brighter is worse


def test_real_and_made_images_have_batch_statistics_of_their_own() -> None:
    """The generator's phase shows the discriminator made images alone; its own phase must not mix them with real ones."""
    model = create(SMALL_MODELS["gan"], SHAPE, seed=0)
    batch = batch_of()
    made = model.generate(batch)
    loss = model.discriminator_loss(batch, made)
    expected = model.config.adversary.discriminator_loss(model._judge(batch.x), model._judge(made))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        model.confusion_loss(batch, made), model.config.adversary.generator_loss(model._judge(made))
    )


def test_the_generator_has_the_loss_of_the_epoch_at_hand() -> None:
    model = create(SMALL_MODELS["gan"].override({"adversary.loss": "kl", "adversary.warm_up": 2.0}), SHAPE, seed=0)
    assert isinstance(model, GAN)
    model.discriminator = Brightness()
    batch = batch_of()
    made = torch.full(batch.x.shape, 0.25)
    logits = torch.full((12,), 2.5)
    for epoch, expected in ((1.9, torch.nn.functional.softplus(-logits)), (2.1, -logits.exp())):
        then = Batch(batch.x, batch.y, batch.index, epoch)
        torch.testing.assert_close(model.confusion_loss(then, made), expected)


def test_a_category_of_the_noise_can_be_chosen() -> None:
    prior = Product(parts=(Categorical(categories=7), Gaussian(dim=10)))
    model = create(SMALL_MODELS["gan"].override({"prior": prior.to_dict()}), SHAPE, seed=0).eval()
    assert model.sample(6, y=torch.arange(6)).shape == (6, *SHAPE)
    assert not model.can("encode")


def test_r1_and_batch_normalisation_do_not_go_together() -> None:
    penalised = SMALL_MODELS["gan"].override({"adversary": Adversary(r1=1.0).to_dict()})
    with pytest.raises(ConfigError, match=r"adversary.r1 needs a discriminator without batch normalisation; set"):
        create(penalised, SHAPE)
    model = create(penalised.override({"discriminator.batch_norm": "none"}), SHAPE, seed=0)
    batch = batch_of()
    assert model.discriminator_loss(batch, model.generate(batch)).shape == (12,)


def test_images_too_small_for_the_networks_are_refused_before_training() -> None:
    with pytest.raises(ConfigError, match="too small to be halved 3 times"):
        create(GANConfig(), (1, 4, 4))
    with pytest.raises(ConfigError, match="too small to be halved 2 times"):
        create(GANConfig(generator=SMALL, discriminator=ImageDiscriminatorConfig(widths=(4, 4), kernel=4)), (1, 9, 3))
    odd = GANConfig(
        generator=StridedDecoderConfig(widths=(6, 4)), discriminator=ImageDiscriminatorConfig(widths=(4, 4))
    )
    assert create(odd, (3, 7, 5)).eval().sample(2).shape == (2, 3, 7, 5)


# InfoGAN


def test_log_q_is_the_density_of_its_parts() -> None:
    model = create(SMALL_MODELS["infogan"], SHAPE, seed=0).eval()
    assert isinstance(model, InfoGAN)
    x, c = batch_of().x, model.draw_prior(12)
    outputs = model.recognition(model.discriminator(x)[1])
    category = torch.distributions.OneHotCategorical(logits=outputs[:, :3]).log_prob(c[:, :3])
    normal = torch.distributions.Normal(outputs[:, 3:5], (outputs[:, 5:7] / 2).exp()).log_prob(c[:, 3:5]).sum(1)
    last = torch.distributions.Normal(outputs[:, 7:8], (outputs[:, 8:] / 2).exp()).log_prob(c[:, 5:]).sum(1)
    torch.testing.assert_close(model.log_q(x, c), category + normal + last)
    torch.testing.assert_close(
        model.encode(x), torch.cat((outputs[:, :3].softmax(1), outputs[:, 3:5], outputs[:, 7:8]), dim=1)
    )
    torch.testing.assert_close(model.predict(x), outputs[:, :3].softmax(1))


def test_the_information_is_zero_for_a_q_that_knows_nothing_and_the_entropy_for_one_that_knows_all() -> None:
    config = SMALL_MODELS["infogan"].override({"prior": Categorical(categories=4).to_dict(), "information": 2.0})
    model = create(config, SHAPE, seed=0)
    for part in model.recognition.parameters():
        nn.init.zeros_(part)
    torch.testing.assert_close(model.information_loss(batch_of()), torch.zeros(12), atol=1e-6, rtol=0)
    code = {}

    def decode(z: Tensor, generator: object) -> Tensor:
        code["z"] = z
        return torch.zeros(len(z), *SHAPE)

    model.decode = decode  # type: ignore[method-assign]
    model.recognition.forward = lambda features: 50 * code["z"]  # type: ignore[method-assign]
    torch.testing.assert_close(model.information_loss(batch_of()), torch.full((12,), -2 * math.log(4)))
    assert model.observed["information"].item() == pytest.approx(math.log(4))


def test_information_moves_generator_trunk_and_recognition() -> None:
    model = create(SMALL_MODELS["infogan"], SHAPE, seed=0)
    (phase,) = (phase for phase in model.all_phases() if phase.name == "inform")
    assert phase.updates == (model.generator, model.discriminator, model.recognition)
    loss = phase.loss(batch_of()).mean()
    for network in (model.generator, model.discriminator.layers[0], model.recognition):
        (gradient,) = torch.autograd.grad(loss, next(network.parameters()), retain_graph=True)
        assert gradient.abs().sum() > 0


def test_a_code_that_is_told_exactly_has_a_finite_information() -> None:
    model = create(SMALL_MODELS["infogan"].override({"prior": Gaussian(dim=2).to_dict()}), SHAPE, seed=0)
    model.recognition.forward = lambda features: torch.tensor([0.0, 0.0, -1e4, -1e4]).expand(len(features), 4)  # type: ignore[method-assign]
    log_q = model.log_q(batch_of().x, torch.zeros(12, 2))
    torch.testing.assert_close(log_q, torch.full((12,), 8.0 - math.log(2 * math.pi)))


def test_an_infogan_draws_its_noise_from_the_given_generator() -> None:
    model = create(SMALL_MODELS["infogan"], SHAPE, 3, seed=0).eval()
    c = model.draw_prior(4)
    first, same, other = (model.decode(c, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    quiet = create(SMALL_MODELS["infogan"].override({"noise": 0}), SHAPE, 3, seed=0).eval()
    assert torch.equal(quiet.decode(c), quiet.decode(c))


def test_codes_that_q_cannot_tell_are_refused() -> None:
    with pytest.raises(ConfigError, match="a part SwissRoll; codes that an InfoGAN can tell are categorical"):
        create(InfoGANConfig(prior=SwissRoll()), (1, 28, 28))
    two = Product(parts=(Categorical(categories=3), Categorical(categories=2)))
    model = create(SMALL_MODELS["infogan"].override({"prior": two.to_dict()}), SHAPE, seed=0).eval()
    assert model.encode(batch_of().x).shape == (12, 5)
    assert not model.can("predict")


def test_with_a_fixed_variance_a_continuous_code_is_told_by_its_squared_error() -> None:
    config = SMALL_MODELS["infogan"].override({"variance": "fixed", "prior": Gaussian(dim=2).to_dict()})
    model = create(config, (1, 8, 8), seed=0).eval()
    x, c = torch.rand(5, 1, 8, 8), torch.randn(5, 2)
    with torch.no_grad():
        expected = -0.5 * (c - model.encode(x)).square().sum(dim=1) - math.log(2 * math.pi)
        torch.testing.assert_close(model.log_q(x, c), expected)
        drawn = model.draw_code(x[:1].expand(5000, -1, -1, -1))
    torch.testing.assert_close(drawn.std(dim=0), torch.ones(2), atol=0.05, rtol=0)

"""Labels in the adversarial autoencoder: in the discriminator, in the decoder, as a category."""

import pytest
import torch
from torch import Tensor, nn

from aegean.data.stream import Batch
from aegean.errors import ConfigError
from aegean.models import AAE, AAEConfig, CategoricalAAEConfig, Model, PixelGAN, VAEConfig, create
from aegean.models.code import label_switch
from aegean.models.consistency import Consistency
from aegean.models.vae import log_normal
from aegean.priors import Categorical, Gaussian, GaussianMixture, SwissRoll
from conftest import SMALL, SMALL_MODELS, make_splits

SHAPE = (1, 8, 8)
N = 12


def batch_of(y: Tensor | None = None) -> Batch:
    batch = make_splits().streams(N, 6, seed=0)["images"].batch(0)
    return batch if y is None else Batch(batch.x, y, batch.index, 0.0)


def model_of(name: str, **changes: object) -> Model:
    return create(SMALL_MODELS[name].override(changes), SHAPE, 3, seed=0)


class Recorder(nn.Module):
    """A discriminator that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def forward(self, z: Tensor) -> Tensor:
        self.inputs.append(z.detach())
        return z.sum(dim=1, keepdim=True)


# ---- section 3.1: the discriminator is told the label --------------------------------------------------------------


def test_the_switch_has_a_class_more_for_unlabelled_images() -> None:
    assert label_switch(torch.tensor([0, 2, -1]), 3).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("name", ["aae-labels", "pixelgan-labels"])
def test_real_codes_come_from_the_component_of_the_label_and_both_kinds_are_told_it(name: str) -> None:
    """Narrow petals far from the origin: the angle of a real code gives its component away."""
    narrow = {"prior.radius": 50.0, "prior.radial_std": 0.1, "prior.tangential_std": 0.1}
    model = model_of(name, **narrow)
    model.discriminator = Recorder()
    y = torch.tensor([0, 1, 2] * 3 + [-1] * 3)
    batch = batch_of(y)
    fake = model.draw_code(batch.x)
    model.discriminator_loss(batch, fake)
    (seen,) = model.discriminator.inputs
    assert seen.shape == (2 * N, 2 + 4)
    assert torch.equal(seen[:N, 2:], label_switch(y, 3))
    assert torch.equal(seen[N:, 2:], label_switch(y, 3))
    torch.testing.assert_close(seen[N:, :2], fake.detach())
    angle = torch.atan2(seen[:N, 1], seen[:N, 0]) / (2 * torch.pi / 3)
    component = angle.round().long() % 3
    assert torch.equal(component[y >= 0], y[y >= 0])
    model.confusion_loss(batch, fake)
    assert torch.equal(model.discriminator.inputs[1][:, 2:], label_switch(y, 3))


def test_unlabelled_real_codes_come_from_the_whole_prior() -> None:
    model = model_of("aae-labels", **{"prior.radius": 50.0})
    model.discriminator = Recorder()
    batch = batch_of(torch.full((N,), -1))
    for _ in range(5):
        model.discriminator_loss(batch, model.draw_code(batch.x))
    seen = torch.cat([inputs[:N, :2] for inputs in model.discriminator.inputs])
    components = (torch.atan2(seen[:, 1], seen[:, 0]) / (2 * torch.pi / 3)).round().long() % 3
    assert set(components.tolist()) == {0, 1, 2}


def test_the_r1_penalty_is_on_the_slope_in_the_code_alone() -> None:
    """D = sum of codes and of the switch has the slope 1 in each of two coordinates: |slope|² = 2."""
    plain, punished = (model_of("aae-labels", **{"adversary.r1": weight}) for weight in (0.0, 3.0))
    losses = []
    for model in (plain, punished):
        model.discriminator = Recorder()
        batch = batch_of()
        losses.append(model.discriminator_loss(batch, torch.zeros(N, 2)))
    torch.testing.assert_close(losses[1] - losses[0], torch.full((N,), 3.0))


@pytest.mark.parametrize(("classes", "message"), [(4, "3"), (2, "needs? one component"), (0, "needs labels")])
def test_a_label_aware_prior_of_other_classes_than_the_data_is_refused(classes: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create(SMALL_MODELS["aae-labels"], SHAPE, classes)


def test_a_prior_without_components_cannot_be_label_aware() -> None:
    with pytest.raises(ConfigError, match="can be conditioned on 0"):
        create(SMALL_MODELS["aae-labels"].override({"prior": {"kind": "gaussian", "dim": 2}}), SHAPE, 3)


# ---- batch normalisation in the discriminator -----------------------------------------------------------------------


def judged_by_batches(name: str, **changes: object) -> CategoricalAAEConfig:
    return SMALL_MODELS[name].override({"discriminator.batch_norm": "hidden", **changes})  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "adversary"),
    [
        ("aae", "adversary"),
        ("pixelgan-categorical", "adversary"),
        ("aae-classified", "adversary"),
        ("aae-classified", "style_adversary"),
        ("aae-given", "style_adversary"),
    ],
)
def test_r1_and_batch_normalisation_do_not_go_together(name: str, adversary: str) -> None:
    with pytest.raises(ConfigError, match=f"{adversary}.r1 needs a discriminator without batch normalisation"):
        create(judged_by_batches(name, **{f"{adversary}.r1": 1.0}), SHAPE, 3)
    create(judged_by_batches(name), SHAPE, 3)


def test_r1_of_a_game_that_is_not_played_does_no_harm() -> None:
    create(judged_by_batches("aae-given", **{"adversary.r1": 1.0}), SHAPE, 3)
    create(judged_by_batches("pixelgan-free", **{"adversary.r1": 1.0}), SHAPE, 3)


def test_r1_needs_a_network_of_ones_own_without_batch_normalisation_too() -> None:
    own = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    for model, name in ((AAE, "aae"), (PixelGAN, "pixelgan-categorical")):
        with pytest.raises(ConfigError, match="without batch normalisation"):
            model.create(SMALL_MODELS[name].override({"adversary.r1": 1.0}), SHAPE, 3, discriminator=own)


@pytest.mark.parametrize("name", ["aae", "pixelgan-gaussian", "aae-classified"])
def test_fakes_are_normalised_alone_in_both_phases(name: str) -> None:
    """One pass over both kinds would give fakes that confuse a discriminator which it is not."""
    for batch_norm, expected in (("hidden", [N, N, N]), ("none", [2 * N, N])):
        model = model_of(name, **{"discriminator.batch_norm": batch_norm})
        batch, seen = batch_of(), {}
        codes = model.draw_codes(batch.x) if name == "aae-classified" else model.draw_code(batch.x)
        for part, network in model.named_children():
            if "discriminator" in part:
                seen[part] = sizes = []
                network.register_forward_pre_hook(lambda _, inputs, to=sizes: to.append(len(inputs[0])))
        for phase in model.all_phases():
            if phase.name.startswith(("discriminate", "confuse")):
                phase.loss(batch, codes)
        assert len(seen) == (2 if name == "aae-classified" else 1)
        assert all(sizes == expected for sizes in seen.values())


# ---- networks of one's own ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        {"encoder": nn.Sequential(nn.Flatten(), nn.Linear(64, 5))},
        {"encoder": nn.Linear(3, 3)},
        {"decoder": nn.Linear(3, 64)},
        {"discriminator": nn.Linear(3, 2)},
    ],
)
def test_networks_that_do_not_fit_the_prior_are_refused_before_training(parts: dict[str, nn.Module]) -> None:
    with pytest.raises(ConfigError, match=f"Your {next(iter(parts))}"):
        AAE.create(SMALL_MODELS["aae"], SHAPE, **parts)


@pytest.mark.parametrize(
    "parts",
    [
        {"encoder": nn.Sequential(nn.Flatten(), nn.Linear(64, 7))},
        {"encoder": nn.Linear(3, 3)},
        {"discriminator": nn.Linear(5, 1)},
        {"discriminator": nn.Linear(3, 2)},
    ],
)
def test_a_pixelgan_refuses_networks_that_do_not_fit_its_prior_too(parts: dict[str, nn.Module]) -> None:
    with pytest.raises(ConfigError, match=f"Your {next(iter(parts))}"):
        PixelGAN.create(SMALL_MODELS["pixelgan-categorical"], SHAPE, 3, **parts)


@pytest.mark.parametrize("logits", [nn.Flatten(), nn.Flatten(0)])
def test_a_discriminator_may_give_its_logits_in_one_dimension(logits: nn.Module) -> None:
    own = nn.Sequential(nn.Linear(3, 1), logits)
    for model, name in ((AAE, "aae"), (PixelGAN, "pixelgan-categorical")):
        made, batch = model.create(SMALL_MODELS[name], SHAPE, 3, discriminator=own), batch_of()
        assert made.discriminator_loss(batch, made.draw_code(batch.x)).shape == (N,)


def test_networks_that_fit_are_taken_and_left_in_their_mode() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.BatchNorm1d(3))
    model = AAE.create(SMALL_MODELS["aae"], SHAPE, encoder=encoder)
    assert model.encoder is encoder
    assert encoder.training
    assert (encoder[2].running_mean == 0).all()


# ---- a category beside the style ------------------------------------------------------------------------------------


def test_the_code_is_a_distribution_over_categories_and_a_style() -> None:
    model = model_of("aae-classified").eval()
    code = model.encode(batch_of().x)
    y, z = model.split(code)
    assert (y.shape, z.shape) == ((N, 3), (N, 2))
    torch.testing.assert_close(y.sum(1), torch.ones(N))
    torch.testing.assert_close(model.predict(batch_of().x), y)
    torch.testing.assert_close(model.log_predict(batch_of().x).exp().float(), y)
    assert torch.equal(model.join(y, z), code)


def test_each_discriminator_sees_its_own_code() -> None:
    model, batch = model_of("aae-classified"), batch_of()
    model.category_discriminator, model.style_discriminator = Recorder(), Recorder()
    codes = model.draw_codes(batch.x)
    model.category_discriminator_loss(batch, codes)
    model.style_discriminator_loss(batch, codes)
    real, fake = model.category_discriminator.inputs[0].chunk(2)
    assert ((real == 0) | (real == 1)).all()
    assert (real.sum(dim=1) == 1).all()
    torch.testing.assert_close(fake, codes[0].detach())
    torch.testing.assert_close(model.style_discriminator.inputs[0][N:], codes[1].detach())


def test_the_discriminator_of_styles_is_told_the_category_where_they_shall_be_independent() -> None:
    """Both kinds of styles come with the categories of the same images, and no gradient goes there."""
    model, batch = model_of("aae-classified", independent=True), batch_of()
    model.style_discriminator = Recorder()
    y, z = (code.detach().requires_grad_() for code in model.draw_codes(batch.x))
    model.style_discriminator_loss(batch, (y, z))
    (seen,) = model.style_discriminator.inputs
    assert torch.equal(seen[:, 2:], y.detach().repeat(2, 1))
    assert torch.equal(seen[N:, :2], z.detach())
    model.category_discriminator = None  # the other game is off
    model.confusion_loss(batch, (y, z)).sum().backward()
    assert y.grad is None
    assert (z.grad != 0).all()


def test_the_discriminator_of_styles_is_told_given_labels_where_they_shall_be_independent() -> None:
    model = model_of("aae-given", independent=True)
    model.style_discriminator = Recorder()
    y = torch.tensor([0, 1, 2, -1] * 3)
    batch = batch_of(y)
    codes = model.draw_codes(batch.x)
    model.style_discriminator_loss(batch, codes)
    (seen,) = model.style_discriminator.inputs
    assert torch.equal(seen[:, -4:], label_switch(y, 3).repeat(2, 1))
    assert torch.equal(seen[N:, :-4], codes[1].detach())


def test_the_encoders_loss_is_the_sum_of_both_games() -> None:
    model, batch = model_of("aae-classified"), batch_of()
    codes = model.draw_codes(batch.x)
    expected = -sum(
        torch.sigmoid(discriminator(code)).log().squeeze(1)
        for discriminator, code in (
            (model.category_discriminator, codes[0]),
            (model.style_discriminator, codes[1]),
        )
    )
    torch.testing.assert_close(model.confusion_loss(batch, codes), expected)


def test_clusters_need_no_classes_but_classes_need_as_many_categories() -> None:
    create(SMALL_MODELS["aae-clustered"], SHAPE, classes=0)
    for name in ("aae-classified", "aae-given"):
        with pytest.raises(ConfigError, match="3 categories, the data has 4 classes"):
            create(SMALL_MODELS[name], SHAPE, classes=4)


def test_a_given_label_reaches_the_decoder_and_is_found_again_by_likelihood() -> None:
    model = model_of("aae-given").eval()
    x = torch.rand(N, *SHAPE)
    y, z = model.split(model.encode(x))
    log_probs = torch.stack(
        [
            model.likelihood.log_prob(model.decoder(torch.cat((label.expand(N, 3), z), dim=1)), x)
            for label in torch.eye(3)
        ],
        dim=1,
    )
    assert torch.equal(y.argmax(1), log_probs.argmax(1))
    torch.testing.assert_close(model.predict(x), log_probs.softmax(dim=1))
    labels = torch.arange(N) % 3
    loss = model.reconstruction_loss(batch_of(labels))
    torch.testing.assert_close(
        loss,
        -model.likelihood.log_prob(
            model.decoder(torch.cat((torch.eye(3)[labels], model.draw_codes(batch_of().x)[1]), dim=1)), batch_of().x
        ),
    )
    assert {phase.name for phase in model.all_phases()} == {"reconstruct", "discriminate-style", "confuse"}
    with pytest.raises(ConfigError, match="inferred"):
        CategoricalAAEConfig(content="given", consistency=Consistency())


def test_the_reduced_code_is_head_plus_style() -> None:
    model = model_of("aae-heads").eval()
    heads = model.heads.weight.t()  # (3, 2)
    y, z = torch.eye(3), torch.randn(3, 2)
    torch.testing.assert_close(model.represent(model.join(y, z)), heads + z)
    code = model.join(y, z)
    torch.testing.assert_close(model.decode(code), model.likelihood.mean(model.decoder(heads + z)))
    assert torch.equal(model_of("aae-classified").represent(code), code)


def test_heads_are_pushed_apart_until_they_are_far_enough() -> None:
    model, batch = model_of("aae-heads"), batch_of()
    with torch.no_grad():
        model.heads.weight.copy_(torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 10.0]]))
    loss = model.separation_loss(batch)
    torch.testing.assert_close(loss, torch.full((N,), 3.0 - 2.0))
    loss.mean().backward()
    stepped = model.heads.weight.detach() - 0.1 * model.heads.weight.grad
    assert (stepped[:, 0] - stepped[:, 1]).norm() > 2
    assert torch.equal(stepped[:, 2], model.heads.weight[:, 2])


# ---- the VAE beside it ------------------------------------------------------------------------------------------------


def test_the_kl_to_any_prior_is_estimated_without_bias() -> None:
    """With N(0, 2² I) the divergence is known."""
    mean, log_variance = torch.tensor([[1.0, -0.5]]), torch.tensor([[0.3, -1.0]])
    z = mean + (0.5 * log_variance).exp() * torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    estimate = (log_normal(z, mean, log_variance) - Gaussian(dim=2, std=2.0).log_prob(z)).mean()
    q, p = torch.distributions.Normal(mean, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 2.0)
    torch.testing.assert_close(estimate, torch.distributions.kl_divergence(q, p).sum(), rtol=0.02, atol=0)


def test_a_vae_takes_a_mixture_and_refuses_a_prior_without_density() -> None:
    model = create(VAEConfig(prior=GaussianMixture(components=3), encoder=SMALL, decoder=SMALL), SHAPE, seed=0)
    loss = model.negative_elbo(batch_of())
    assert loss.isfinite().all()
    torch.testing.assert_close(loss.mean(), model.observed["reconstruction"] + model.observed["kl"])
    with pytest.raises(ConfigError, match="density"):
        create(VAEConfig(prior=SwissRoll(), encoder=SMALL, decoder=SMALL), SHAPE)


def test_label_aware_is_off_by_default_and_changes_nothing_then() -> None:
    config = AAEConfig(prior=Categorical(categories=3), encoder=SMALL, decoder=SMALL, discriminator=SMALL)
    assert create(config, SHAPE, classes=7).discriminator[1].in_features == 3


def test_images_from_linear_means_are_in_the_unit_interval() -> None:
    changes = {"likelihood": {"kind": "gaussian", "activation": "linear"}}
    model = model_of("aae", **changes)
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.mul_(100)
    z = torch.randn(20, model.prior.dim)
    means = model.likelihood.mean(model.decoder(z))
    assert means.min() < 0
    assert means.max() > 1
    assert torch.equal(model.decode(z), means.clamp(0, 1))

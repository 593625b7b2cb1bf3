"""Implicit autoencoders, their flipped kind and ALI: what is real, what is fake, and where gradients go."""

import pytest
import torch
from torch import Tensor, nn

from aegean.adversary import Adversary
from aegean.data.stream import Batch
from aegean.errors import ConfigError, UnsupportedError
from aegean.models import (
    ALI,
    ALIConfig,
    FlippedImplicitAutoencoder,
    ImplicitAutoencoderConfig,
    Model,
    create,
)
from aegean.models.two_way import PairDiscriminator, pair
from aegean.nn import ImageDiscriminatorConfig, StridedEncoderConfig
from aegean.priors import Categorical, Gaussian, Product
from aegean.train import TrainConfig, Trainer
from conftest import SMALL_MODELS, make_splits

SHAPE = (1, 8, 8)


def batch_of(n: int = 12) -> Batch:
    return make_splits().streams(n, 6, seed=0)["images"].batch(0)


def model_of(name: str, **changes: object) -> Model:
    return create(SMALL_MODELS[name].override(changes), SHAPE, 3, seed=0)


class Prefers(nn.Module):
    """A discriminator of pairs that takes one pair for real: one whose images or codes are as given."""

    def __init__(self, image: Tensor | None = None, code: Tensor | None = None) -> None:
        super().__init__()
        self.image, self.code = image, code

    def forward(self, pairs: Tensor) -> Tensor:
        logits = torch.full((len(pairs),), 1.0)
        if self.image is not None:
            logits = logits - 1e3 * (pairs[:, :64] - self.image.flatten(1)).square().sum(1)
        if self.code is not None:
            logits = logits - 1e3 * (pairs[:, 64:] - self.code).square().sum(1)
        return logits


def test_a_pair_comes_apart_as_it_was_put_together() -> None:
    config = ImageDiscriminatorConfig(widths=(4, 6), kernel=4, conditioning="location-dependent", batch_norm="none")
    torch.manual_seed(0)
    discriminator = PairDiscriminator(config, (3, 8, 6), 2)
    x, z = torch.rand(5, 3, 8, 6), torch.randn(5, 2)
    torch.testing.assert_close(discriminator(pair(x, z)), discriminator.network(x, z)[0])


def test_an_image_is_real_and_its_reconstruction_fake_with_the_same_code() -> None:
    model, batch = model_of("implicit"), batch_of()
    shared = model.forward_pass(batch)
    model.discriminator = Prefers(image=batch.x, code=shared.z.detach())
    model.discriminator_loss(batch, shared)
    assert (model.observed["real_accuracy"], model.observed["fake_accuracy"]) == (1, 1)
    model.discriminator = Prefers(code=shared.z.detach())  # which cannot tell images
    model.discriminator_loss(batch, shared)
    assert (model.observed["real_accuracy"], model.observed["fake_accuracy"]) == (1, 0)


def test_draws_of_the_prior_are_real_codes() -> None:
    model, batch = model_of("implicit", **{"prior.std": 100.0}), batch_of()

    class Far(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z.square().sum(1, keepdim=True) - 100

    model.code_discriminator = Far()
    model.code_discriminator_loss(batch, model.forward_pass(batch))
    assert (model.observed["real_accuracy"], model.observed["fake_accuracy"]) == (1, 1)


@pytest.mark.parametrize(("batch_norm", "expected"), [("hidden", [12, 12, 12]), ("none", [24, 12])])
def test_fake_codes_are_normalised_alone_in_both_phases(batch_norm: str, expected: list[int]) -> None:
    model, batch = model_of("implicit", **{"code_discriminator.batch_norm": batch_norm}), batch_of()
    shared, sizes = model.forward_pass(batch), []
    model.code_discriminator.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    model.code_discriminator_loss(batch, shared)
    model.confusion_loss(batch, shared)
    assert sizes == expected


def test_gradients_come_through_the_negative_example_unless_asked_for_both() -> None:
    """With a discriminator that sees nothing of the reconstruction, the negative example tells through z alone."""
    weights = torch.arange(1.0, 4.0)
    gradients = {}
    for choice in ("negative", "both"):
        model, batch = (
            model_of("implicit", gradients=choice, regularization=0.0, code_discriminator=_DEFAULT),
            batch_of(),
        )
        model.discriminator = nn.Module()
        model.discriminator.forward = lambda pairs: pairs[:, 64:] @ weights  # type: ignore[method-assign]
        shared = model.forward_pass(batch)
        (gradients[choice],) = torch.autograd.grad(model.confusion_loss(batch, shared).sum(), shared.z)
        logits = (shared.z @ weights).detach()
    negative = -torch.sigmoid(-logits)[:, None] * weights
    positive = torch.sigmoid(logits)[:, None] * weights
    torch.testing.assert_close(gradients["negative"], negative)
    torch.testing.assert_close(gradients["both"], negative + positive)


_DEFAULT = ImplicitAutoencoderConfig().code_discriminator.to_dict()


def test_the_reconstruction_carries_gradients_to_encoder_and_decoder() -> None:
    model, batch = model_of("implicit", gradients="negative"), batch_of()
    model.discriminator = nn.Module()
    model.discriminator.forward = lambda pairs: pairs[:, :64].sum(1)  # type: ignore[method-assign]
    loss = model.confusion_loss(batch, model.forward_pass(batch)).mean()
    for network in (model.encoder, model.decoder):
        gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_one_pass_of_the_encoder_gives_the_gradients_of_two() -> None:
    """Reconstruction and regularization, each over a pass of its own, add up to the shared one."""
    config = SMALL_MODELS["implicit"].override(
        {"posterior": "deterministic", "posterior_noise": 0, "regularization": 0.5}
    )
    model, batch = create(config, SHAPE, seed=0), batch_of()
    weights = list(model.encoder.parameters())
    state = model.rng.get_state()
    shared = model.forward_pass(batch)
    together = torch.autograd.grad(model.confusion_loss(batch, shared).mean(), weights)
    model.rng.set_state(state)
    first, second = model.forward_pass(batch), model.draw_code(batch.x)
    alone = create(config.override({"regularization": 0.0, "code_discriminator": _DEFAULT}), SHAPE, seed=0)
    alone.discriminator = model.discriminator
    reconstruction = torch.autograd.grad(alone.confusion_loss(batch, first).mean(), weights)
    code = torch.autograd.grad(nn.functional.softplus(-model.code_discriminator(second)).mean(), weights)
    for both, one, other in zip(together, reconstruction, code, strict=True):
        torch.testing.assert_close(both, one + 0.5 * other)


def test_the_four_special_cases_are_settings() -> None:
    names = {name: [phase.name for phase in model_of(name).all_phases()] for name in SMALL_MODELS if "implicit" in name}
    games = ["discriminate-reconstruction", "discriminate-code", "confuse"]
    assert names["implicit"] == games
    assert names["implicit-supervised"] == [*games, "classify"]
    assert names["implicit-free"] == ["discriminate-reconstruction", "confuse"]
    x, stochastic, deterministic = batch_of().x, model_of("implicit").eval(), model_of("implicit-free").eval()
    z = stochastic.encode(x)
    assert not torch.equal(stochastic.decode(z), stochastic.decode(z))
    assert torch.equal(deterministic.reconstruct(x), deterministic.reconstruct(x))
    assert not torch.equal(stochastic.draw_code(x), stochastic.draw_code(x))
    assert torch.equal(stochastic.encode(x), stochastic.encode(x))
    assert not deterministic.can("sample")
    with pytest.raises(UnsupportedError, match="without regularisation: its codes follow no prior"):
        deterministic.sample(2)


def test_noise_belongs_to_what_is_stochastic() -> None:
    with pytest.raises(ConfigError, match="likelihood 'stochastic' with noise 0: a stochastic likelihood needs noise"):
        ImplicitAutoencoderConfig(noise=0)
    with pytest.raises(ConfigError, match="a deterministic one takes 0"):
        ImplicitAutoencoderConfig(likelihood="deterministic")
    with pytest.raises(ConfigError, match="posterior 'stochastic' with posterior_noise 0"):
        ALIConfig(posterior="stochastic")
    with pytest.raises(ConfigError, match="code_adversary has no effect without regularization"):
        ImplicitAutoencoderConfig(regularization=0.0, code_adversary=Adversary(loss="kl"))


def test_a_categorical_code_is_never_linear() -> None:
    """Alone, or beside a continuous part that is left as it is."""
    x = batch_of().x
    model = model_of("implicit-supervised").eval()
    torch.testing.assert_close(model.encode(x).sum(1), torch.ones(12))
    torch.testing.assert_close(model.predict(x), model.encode(x))
    mixed = create(SMALL_MODELS["ali"].override({"prior": _STYLE_FIRST.to_dict()}), SHAPE, seed=0).eval()
    z, outputs = mixed.encode(x), mixed.encoder(x)
    torch.testing.assert_close(z[:, 2:5], outputs[:, 2:5].softmax(1))
    assert torch.equal(z[:, :2], outputs[:, :2])
    assert torch.equal(z[:, 5:], outputs[:, 5:])
    torch.testing.assert_close(mixed.predict(x), z[:, 2:5])
    two = Product(parts=(Categorical(categories=3), Categorical(categories=2)))
    with pytest.raises(ConfigError, match="2 categorical parts; the encoder infers one"):
        create(SMALL_MODELS["ali"].override({"prior": two.to_dict()}), SHAPE)


_STYLE_FIRST = Product(parts=(Gaussian(dim=2), Categorical(categories=3), Gaussian(dim=1)))


def test_class_probabilities_are_means_over_the_posteriors_noise() -> None:
    model, x = model_of("flipped-implicit").eval(), batch_of().x
    with torch.no_grad():
        for part in model.encoder.parameters():  # so that the noise matters
            part.mul_(8.0)
    q = model.predict(x)
    assert torch.equal(q, model.predict(x))
    torch.testing.assert_close(q.sum(1), torch.ones(12))
    torch.manual_seed(0)
    draws = torch.stack([model._code(model._score(x, torch.randn(1, 5).expand(12, 5))) for _ in range(4000)])
    assert draws.std(0).mean() > 0.1
    assert (draws.mean(0) - q).abs().max() < 4 * draws.std(0).max() / 32**0.5
    torch.testing.assert_close(model.log_predict(x).exp().float(), q)


def test_the_classification_loss_is_the_negative_log_probability_of_the_label() -> None:
    model, batch = model_of("implicit-supervised").eval(), batch_of()
    labels = torch.arange(12) % 3
    loss = model.classification_loss(Batch(batch.x, labels, batch.index, 0.0))
    torch.testing.assert_close(loss, -model.predict(batch.x).log()[torch.arange(12), labels])
    for prior, found in ((Categorical(categories=4), 4), (Gaussian(dim=3), 0)):
        with pytest.raises(ConfigError, match=f"has {found} categories, the data has 3 classes; supervised=true needs"):
            model_of("implicit-supervised", prior=prior.to_dict())


def test_the_extra_nats_are_the_logarithms_of_the_two_ratios() -> None:
    model, x = model_of("implicit", posterior="deterministic", posterior_noise=0).eval(), batch_of().x
    found, z = model.extra_nats(x), model.encode(x)
    torch.testing.assert_close(found[:, 0], model.discriminator(pair(x, z)))
    torch.testing.assert_close(found[:, 1], -model.code_discriminator(z)[:, 0])
    assert torch.equal(model_of("implicit-free").eval().extra_nats(x)[:, 1], torch.zeros(12))
    with pytest.raises(UnsupportedError, match=r"adversary.loss 'least-squares' gives no ratio"):
        model_of("implicit", adversary=Adversary(loss="least-squares").to_dict()).extra_nats(x)


# Flipped


def test_the_flipped_kind_tells_codes_apart_for_the_same_image() -> None:
    model, batch = model_of("flipped-implicit"), batch_of()
    assert isinstance(model, FlippedImplicitAutoencoder)
    shared = model.forward_pass(batch)
    assert ((shared.z == 0) | (shared.z == 1)).all()  # draws of the prior
    model.discriminator = Prefers(image=shared.x.detach(), code=shared.z)
    model.discriminator_loss(batch, shared)
    assert (model.observed["real_accuracy"], model.observed["fake_accuracy"]) == (1, 1)
    model.discriminator = Prefers(image=shared.x.detach())  # which cannot tell codes
    model.discriminator_loss(batch, shared)
    assert (model.observed["real_accuracy"], model.observed["fake_accuracy"]) == (1, 0)


def test_the_flipped_kind_regularises_images_and_reconstructs_through_both_networks() -> None:
    model, batch = model_of("flipped-implicit"), batch_of()
    shared = model.forward_pass(batch)
    loss = model.image_discriminator_loss(batch, shared)
    judged = (model.image_discriminator(x)[0] for x in (batch.x, shared.x))
    torch.testing.assert_close(loss, Adversary().discriminator_loss(*judged))
    model.image_discriminator.forward = lambda x: (torch.zeros(len(x)), x)  # type: ignore[method-assign]
    model.discriminator = nn.Module()
    model.discriminator.forward = lambda pairs: pairs[:, 64]  # type: ignore[method-assign]
    reconstructed = model.confusion_loss(batch, model.forward_pass(batch)).mean()
    for network in (model.encoder, model.decoder):
        (gradient,) = torch.autograd.grad(reconstructed, list(network.parameters())[-2], retain_graph=True)
        assert gradient.abs().sum() > 0


def test_a_reconstructed_category_is_one_hot_to_the_discriminator_and_keeps_its_gradients() -> None:
    soft, hard = model_of("flipped-implicit"), model_of("flipped-implicit", one_hot=True)
    batch = batch_of()
    q, z = soft.forward_pass(batch).reconstruction, hard.forward_pass(batch).reconstruction
    assert not ((q == 0) | (q == 1)).all()
    assert torch.equal(z.detach(), nn.functional.one_hot(q.argmax(dim=1), 3).float())
    weights = list(soft.encoder.parameters()), list(hard.encoder.parameters())
    direction = torch.arange(3.0)
    expected, found = (
        torch.autograd.grad((code * direction).sum(), w) for code, w in zip((q, z), weights, strict=True)
    )
    assert expected[0].abs().sum() > 0
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(ConfigError, match="one_hot is about categories"):
        model_of("flipped-implicit", one_hot=True, prior=Gaussian(dim=3).to_dict())


# ALI


def test_ali_plays_pairs_of_the_data_against_pairs_of_the_model() -> None:
    model, batch = model_of("ali"), batch_of()
    assert isinstance(model, ALI)
    shared = model.forward_pass(batch)
    assert torch.equal(shared.inferred[:, :64], batch.x.flatten(1))
    torch.testing.assert_close(shared.inferred[:, 64:], model.encode(batch.x))
    categories = shared.generated[:, 64:67]
    assert ((categories == 0) | (categories == 1)).all()
    judged = model.discriminator(shared.inferred), model.discriminator(shared.generated)
    torch.testing.assert_close(model.discriminator_loss(batch, shared), Adversary().discriminator_loss(*judged))
    expected = nn.functional.softplus(judged[0]) + nn.functional.softplus(-judged[1])
    torch.testing.assert_close(model.confusion_loss(batch, shared), expected)


@pytest.mark.parametrize("name", ["implicit", "implicit-supervised", "flipped-implicit", "ali"])
@pytest.mark.parametrize("loss", ["jensen-shannon", "kl", "reverse-kl", "wasserstein"])
def test_every_divergence_takes_steps(name: str, loss: str) -> None:
    splits = make_splits()
    model = model_of(name, adversary=Adversary(loss=loss).to_dict())  # type: ignore[arg-type]
    trainer = Trainer(model, TrainConfig(epochs=1), splits.streams(8, 6, seed=0))
    for _ in range(3):
        trainer.run_step()
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_odd_and_oblong_colour_images_work_and_small_ones_are_refused() -> None:
    config = SMALL_MODELS["implicit"].override(
        {"encoder": StridedEncoderConfig(widths=(4, 6)).to_dict(), "discriminator.kernel": 5}
    )
    model = create(config, (3, 9, 7), seed=0).eval()
    assert model.reconstruct(torch.rand(2, 3, 9, 7)).shape == (2, 3, 9, 7)
    for shape in ((1, 3, 9), (1, 9, 3)):
        with pytest.raises(ConfigError, match="too small to be halved 2 times"):
            create(SMALL_MODELS["implicit"], shape)


def test_defaults_are_the_networks_of_appendix_d() -> None:
    model = create(ImplicitAutoencoderConfig(prior=Gaussian(dim=20)), (1, 28, 28), seed=0)
    linear = [part.weight.shape for part in model.encoder.modules() if isinstance(part, nn.Linear)]
    assert linear == [(2000, 784), (2000, 2000), (20, 2000)]
    assert [type(part) for part in model.encoder.modules()][-1] is nn.BatchNorm1d
    assert [part.weight.shape for part in model.decoder.modules() if isinstance(part, nn.Linear)] == [
        (1024, 120), (128 * 7 * 7, 1024),
    ]  # fmt: skip
    assert [part.weight.shape for part in model.decoder.modules() if isinstance(part, nn.ConvTranspose2d)] == [
        (128, 64, 4, 4), (64, 1, 4, 4),
    ]  # fmt: skip
    convolutions = [part.weight.shape for part in model.discriminator.modules() if isinstance(part, nn.Conv2d)]
    assert convolutions == [(64, 1, 4, 4), (128, 64, 4, 4)]
    assert [part.weight.shape for part in model.code_discriminator.modules() if isinstance(part, nn.Linear)] == [
        (2000, 20), (2000, 2000), (1, 2000),
    ]  # fmt: skip


# ---- more steps of the discriminators, and the scale of codes -------------------------------------------------------


@pytest.mark.parametrize("name", ["gan", "infogan", "implicit", "flipped-implicit", "ali"])
def test_discriminators_take_so_many_steps_each_on_other_images_for_one_of_the_others(name: str) -> None:
    seen: dict[str, list[Tensor]] = {}
    model = model_of(name, steps=3)
    for kind in [kind for kind in dir(model) if kind.endswith("_loss")]:

        def listen(batch: Batch, *shared: object, kind: str = kind, loss: object = getattr(model, kind)) -> Tensor:
            seen.setdefault(kind, []).append(batch.x)
            return loss(batch, *shared)  # type: ignore[operator]

        setattr(model, kind, listen)
    Trainer(model, TrainConfig(batch_size=12), make_splits().streams(12, 6, seed=0)).run_step()
    for kind, images in seen.items():
        assert len(images) == (3 if "discriminator" in kind else 1), kind
        assert len({float(x.sum()) for x in images}) == len(images)
    assert len(seen) >= 2


def test_repeated_passes_for_discriminators_hold_no_gradients() -> None:
    one, several = model_of("implicit"), model_of("implicit", steps=2)
    assert [len(group.phases) for group in one.phases()] == [3]
    judged, confused = several.phases()
    assert [phase.repeat for phase in (*judged.phases, *confused.phases)] == [2, 2, 1]
    assert not judged.forward(batch_of()).z.requires_grad
    assert confused.forward(batch_of()).z.requires_grad


def test_every_discriminator_sees_codes_at_their_scale() -> None:
    """A model whose codes are five times larger, scaled by a fifth, judges as the one that has them as they are."""
    x, z = torch.rand(4, *SHAPE), torch.randn(4, 3)
    plain, scaled = model_of("implicit").eval(), model_of("implicit", code_scale=0.2).eval()
    scaled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(scaled.discriminator(pair(x, 5 * z)), plain.discriminator(pair(x, z)))
    torch.testing.assert_close(scaled._judge_code(5 * z), plain.code_discriminator(z))
    flipped, other = model_of("flipped-implicit").eval(), model_of("flipped-implicit", code_scale=0.2).eval()
    other.load_state_dict(flipped.state_dict())
    torch.testing.assert_close(other.discriminator(pair(x, 5 * z)), flipped.discriminator(pair(x, z)))

import math

import pytest
import torch
from torch import nn
from torch.optim import SGD

from aegean.adversary import Adversary
from aegean.errors import ConfigError
from aegean.schedules import Anneal

DIVERGENCES = ("jensen-shannon", "kl", "reverse-kl")
KINDS = ("non-saturating", "minimax", "least-squares", "wasserstein", *DIVERGENCES)
LN2 = math.log(2.0)


def textbook(kind, real, fake):
    """The losses as the papers print them, in float64."""
    if kind == "wasserstein":
        return fake - real, -fake
    if kind == "least-squares":
        return 0.5 * (real - 1) ** 2 + 0.5 * (fake - 0) ** 2, 0.5 * (fake - 1) ** 2
    if kind == "kl":  # f-GAN, table 6: T = v, f*(T) = exp(T - 1), with v = 1 + logit
        return torch.exp((1 + fake) - 1) - (1 + real), -torch.exp((1 + fake) - 1)
    if kind == "reverse-kl":  # T = -exp(-v), f*(T) = -1 - log(-T)
        conjugate = -1 - torch.log(torch.exp(-fake))
        return torch.exp(-real) + conjugate, -conjugate
    if kind == "jensen-shannon":  # T = log 2 - log(1 + exp(-v)), f*(T) = -log(2 - exp(T))
        conjugate = -torch.log(2 - 2 / (1 + torch.exp(-fake)))
        return -(LN2 - torch.log(1 + torch.exp(-real))) + conjugate, -conjugate
    d_real, d_fake = 1 / (1 + torch.exp(-real)), 1 / (1 + torch.exp(-fake))
    generator = torch.log(1 - d_fake) if kind == "minimax" else -torch.log(d_fake)
    return -torch.log(d_real) - torch.log(1 - d_fake), generator


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_the_textbook_ones(kind):
    adversary = Adversary(loss=kind)
    real, fake = torch.cartesian_prod(*[torch.linspace(-8, 8, 33)] * 2).T.requires_grad_()
    exact_real, exact_fake = (logits.detach().double().requires_grad_() for logits in (real, fake))
    ours = (adversary.discriminator_loss(real, fake), adversary.generator_loss(fake))
    exact = textbook(kind, exact_real, exact_fake)
    for loss, exact_loss in zip(ours, exact, strict=True):
        torch.testing.assert_close(loss.double(), exact_loss, atol=1e-5, rtol=1e-5)
        gradients = torch.autograd.grad(loss.sum(), (real, fake), retain_graph=True, materialize_grads=True)
        exact_gradients = torch.autograd.grad(
            exact_loss.sum(), (exact_real, exact_fake), retain_graph=True, materialize_grads=True
        )
        for gradient, exact_gradient in zip(gradients, exact_gradients, strict=True):
            torch.testing.assert_close(gradient.double(), exact_gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [100.0, 1e4])
def test_extreme_logits_give_finite_losses_and_gradients(kind, size):
    adversary = Adversary(loss=kind)
    real = torch.tensor([-size, -size, size, size], requires_grad=True)
    fake = torch.tensor([-size, size, -size, size], requires_grad=True)
    loss = adversary.discriminator_loss(real, fake) + adversary.generator_loss(fake)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert real.grad.isfinite().all()
    assert fake.grad.isfinite().all()


def test_a_sure_discriminator_stops_the_minimax_generator_only():
    fake = torch.tensor([-30.0], requires_grad=True)
    (minimax,) = torch.autograd.grad(Adversary(loss="minimax").generator_loss(fake), fake)
    (non_saturating,) = torch.autograd.grad(Adversary().generator_loss(fake), fake)
    assert minimax.abs() < 1e-10
    assert float(non_saturating) == pytest.approx(-1.0)


def test_minimax_and_non_saturating_generators_go_the_same_way():
    fake = torch.linspace(-10, 10, 41, requires_grad=True)
    gradients = [
        torch.autograd.grad(Adversary(loss=kind).generator_loss(fake).sum(), fake)[0]
        for kind in ("minimax", "non-saturating")
    ]
    assert (gradients[0] < 0).all()
    assert (gradients[1] < 0).all()
    # They agree where the discriminator is at chance: both slopes are then -1/2.
    assert gradients[0][20] == gradients[1][20] == -0.5


@pytest.mark.parametrize("kind", ["non-saturating", "minimax", "least-squares", *DIVERGENCES])
def test_where_real_and_fake_are_alike_the_game_rests_at_the_chance_level(kind):
    adversary = Adversary(loss=kind)
    logit = torch.tensor([2.0], requires_grad=True)
    optimizer = SGD([logit], lr=0.5)
    for _ in range(200):
        loss = adversary.discriminator_loss(logit, logit)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    discriminator, generator = adversary.chance_level
    assert adversary.discriminator_loss(logit, logit).item() == pytest.approx(discriminator, abs=1e-6)
    assert adversary.generator_loss(logit).item() == pytest.approx(generator)


def test_an_untrained_critic_is_at_its_chance_level():
    adversary, zero = Adversary(loss="wasserstein"), torch.zeros(1)
    losses = (float(adversary.discriminator_loss(zero, zero)), float(adversary.generator_loss(zero)))
    assert losses == adversary.chance_level


@pytest.mark.parametrize("kind", KINDS)
def test_logits_may_have_a_second_dimension_of_one(kind):
    adversary, generator = Adversary(loss=kind), torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 5, generator=generator)
    expected = adversary.discriminator_loss(real, fake)
    assert expected.shape == (5,)
    assert torch.equal(adversary.discriminator_loss(real[:, None], fake), expected)
    assert torch.equal(adversary.generator_loss(fake[:, None]), adversary.generator_loss(fake))
    assert adversary.discriminator_loss(real.bfloat16(), fake.bfloat16()).dtype == torch.float32


def test_logits_of_other_shapes_are_refused():
    with pytest.raises(ConfigError, match="one logit a sample"):
        Adversary().generator_loss(torch.zeros(5, 2))
    with pytest.raises(ConfigError, match="one logit a sample"):
        Adversary().generator_loss(torch.zeros(()))
    with pytest.raises(ConfigError, match="found 5 and 1"):
        Adversary().discriminator_loss(torch.zeros(5), torch.zeros(1))


# Divergences


P, Q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.3, 0.6])


def best_discriminator(adversary, rate):
    """On three points, the loss as an expectation over P and Q, minimised over one logit a point; logits and loss."""
    logits = torch.zeros(3, requires_grad=True)
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T
    optimizer = SGD([logits], lr=rate)
    for _ in range(2000):
        loss = (P[pairs[0]] * Q[pairs[1]] * adversary.discriminator_loss(*logits[pairs])).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits.detach(), loss.detach()


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_the_best_discriminator_of_a_divergence_is_the_log_ratio_and_its_loss_minus_the_divergence(kind):
    p, q, middle = P, Q, (P + Q) / 2
    adversary = Adversary(loss=kind)
    logits, loss = best_discriminator(adversary, rate=0.3)
    expected = {
        "kl": (p * (p / q).log()).sum(),
        "reverse-kl": (q * (q / p).log()).sum(),
        "jensen-shannon": (p * (p / middle).log() + q * (q / middle).log()).sum(),
    }[kind]
    torch.testing.assert_close(logits, (p / q).log(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(-loss, expected, atol=1e-4, rtol=1e-4)
    assert adversary.estimates_density_ratio


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("non-saturating", "least-squares")])
def test_the_generators_of_both_sides_lose_what_the_discriminator_wins(kind):
    adversary = Adversary(loss=kind)
    real, fake = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    both = adversary.generator_loss(fake) + adversary.generator_loss_of_real(real)
    torch.testing.assert_close(both, -adversary.discriminator_loss(real, fake))


@pytest.mark.parametrize("kind", ["non-saturating", "least-squares"])
def test_a_real_sample_that_shall_pass_for_fake_is_a_fake_one_that_shall_pass_for_real(kind):
    adversary = Adversary(loss=kind)
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    mirrored = 2 * adversary.boundary - logits
    torch.testing.assert_close(adversary.generator_loss_of_real(logits), adversary.generator_loss(mirrored))


# A divergence whose discriminator learns by the logistic loss


@pytest.mark.parametrize("kind", ["kl", "reverse-kl"])
def test_the_logistic_discriminator_of_a_divergence_finds_the_same_log_ratio(kind):
    adversary = Adversary(loss=kind, ratio="logistic")
    logits, _ = best_discriminator(adversary, rate=1.0)
    torch.testing.assert_close(logits, (P / Q).log(), atol=1e-3, rtol=1e-3)
    assert adversary.estimates_density_ratio


@pytest.mark.parametrize("kind", ["kl", "reverse-kl"])
def test_only_that_discriminator_has_the_loss_of_the_original_game(kind):
    dual, logistic = Adversary(loss=kind), Adversary(loss=kind, ratio="logistic")
    real, fake = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(logistic.discriminator_loss(real, fake), Adversary().discriminator_loss(real, fake))
    assert torch.equal(logistic.generator_loss(fake), dual.generator_loss(fake))
    assert torch.equal(logistic.generator_loss_of_real(real), dual.generator_loss_of_real(real))
    assert logistic.chance_level == (2 * LN2, dual.chance_level[1])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("non-saturating", "learns so anyway"),
        ("minimax", "learns so anyway"),
        ("jensen-shannon", "learns so anyway"),
        ("least-squares", "learns no ratio"),
        ("wasserstein", "learns no ratio"),
    ],
)
def test_another_way_to_the_ratio_is_refused_where_it_would_change_nothing(kind, reason):
    with pytest.raises(ConfigError, match=f"ratio 'logistic'.*{kind}.*{reason}"):
        Adversary(loss=kind, ratio="logistic")


# The logarithm of what saturates

SATURATING = ("minimax", "jensen-shannon", "kl")


@pytest.mark.parametrize("kind", SATURATING)
def test_the_logarithm_of_a_generators_term_divides_its_gradient_by_the_terms_mean(kind):
    adversary = Adversary(loss=kind, logarithmic=True)
    fake = torch.randn(50, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    term = fake.exp() if kind == "kl" else (1 + fake.exp()).log() / LN2
    (expected,) = torch.autograd.grad(-term.mean().log(), fake)
    logits = fake.detach().float().requires_grad_()
    loss = adversary.generator_loss(logits)
    torch.testing.assert_close(loss, -term.mean().log().float().expand(50))
    torch.testing.assert_close(torch.autograd.grad(loss.mean(), logits)[0], expected.float())
    (plain,) = torch.autograd.grad(Adversary(loss=kind).generator_loss(logits).mean(), logits)
    torch.testing.assert_close(plain / plain.sum(), (expected / expected.sum()).float())


@pytest.mark.parametrize("level", [-1000.0, -30.0, 30.0, 1000.0])
@pytest.mark.parametrize("kind", SATURATING)
def test_with_the_logarithm_a_generator_learns_however_sure_the_discriminator_is(kind, level):
    fake = torch.tensor([0.0, 1.0, 1.0]).add(level).requires_grad_()
    loss = Adversary(loss=kind, logarithmic=True).generator_loss(fake)
    assert loss.isfinite().all()
    (gradient,) = torch.autograd.grad(loss.mean(), fake)
    assert (gradient < 0).all()
    if kind == "kl" or level < 0:
        torch.testing.assert_close(gradient, -torch.tensor([0.0, 1.0, 1.0]).softmax(0), rtol=1e-4, atol=0)
    else:  # softplus is a straight line there
        torch.testing.assert_close(gradient, torch.full((3,), -1 / level / 3), rtol=0.05, atol=0)


@pytest.mark.parametrize("kind", SATURATING)
def test_the_logarithm_is_the_generators_alone_and_0_at_chance(kind):
    plain, logarithmic = Adversary(loss=kind), Adversary(loss=kind, logarithmic=True)
    real, fake = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(logarithmic.discriminator_loss(real, fake), plain.discriminator_loss(real, fake))
    assert torch.equal(logarithmic.generator_loss_of_real(real), plain.generator_loss_of_real(real))
    assert logarithmic.chance_level == (plain.chance_level[0], 0.0)
    torch.testing.assert_close(logarithmic.generator_loss(torch.zeros(4)), torch.zeros(4))


@pytest.mark.parametrize("kind", ["non-saturating", "least-squares", "wasserstein", "reverse-kl"])
def test_a_logarithm_of_what_does_not_saturate_is_refused(kind):
    with pytest.raises(ConfigError, match=f"logarithmic is for.*out for '{kind}'"):
        Adversary(loss=kind, logarithmic=True)


# The warm-up


@pytest.mark.parametrize("kind", ["minimax", *DIVERGENCES])
def test_until_the_end_of_the_warm_up_the_generator_has_the_non_saturating_loss(kind):
    adversary, first, later = Adversary(loss=kind, warm_up=1.5), Adversary(), Adversary(loss=kind)
    real, fake = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    for epoch, expected in ((0.0, first), (1.49, first), (1.5, later), (7.0, later)):
        assert torch.equal(adversary.generator_loss(fake, epoch), expected.generator_loss(fake))
        assert torch.equal(adversary.generator_loss_of_real(real, epoch), expected.generator_loss_of_real(real))
    assert torch.equal(adversary.generator_loss(fake), later.generator_loss(fake))
    assert torch.equal(adversary.discriminator_loss(real, fake), later.discriminator_loss(real, fake))


@pytest.mark.parametrize("kind", ["non-saturating", "least-squares", "wasserstein"])
def test_a_warm_up_is_refused_where_it_would_change_nothing_or_the_logits_are_no_log_ratios(kind):
    with pytest.raises(ConfigError, match=f"leave it out for '{kind}'"):
        Adversary(loss=kind, warm_up=1.0)


def test_a_warm_up_is_finite_and_not_negative():
    for epochs in (-1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="warm_up"):
            Adversary(loss="kl", warm_up=epochs)


# R1


def test_r1_of_a_linear_discriminator_is_the_norm_of_its_weights():
    weights = torch.tensor([3.0, -4.0], requires_grad=True)
    real = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    penalty = Adversary(r1=10.0).r1_penalty(lambda z: z @ weights, real, epoch=0.0)
    torch.testing.assert_close(penalty, torch.full((6,), 5.0 * 25.0))
    penalty.mean().backward()
    torch.testing.assert_close(weights.grad, 10.0 * weights.detach())
    assert not real.requires_grad


def test_r1_of_a_quadratic_discriminator_on_images_is_four_times_the_squared_norm():
    real = torch.randn(6, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    penalty = Adversary(r1=0.5).r1_penalty(lambda x: x.square().flatten(1).sum(1, keepdim=True), real, 0.0)
    torch.testing.assert_close(penalty, 0.25 * 4.0 * real.square().flatten(1).sum(1))


def test_r1_sends_no_gradient_to_where_the_real_samples_come_from():
    network = nn.Linear(2, 2)
    real = network(torch.ones(3, 2))
    Adversary(r1=1.0).r1_penalty(lambda z: z.square().sum(1), real, epoch=0.0).sum().backward()
    assert network.weight.grad is None


def test_without_r1_the_discriminator_is_not_called():
    def discriminator(z):
        raise AssertionError("called")

    penalty = Adversary().r1_penalty(discriminator, torch.ones(4, 2), epoch=0.0)
    assert torch.equal(penalty, torch.zeros(4))
    assert not penalty.requires_grad


def test_r1_anneals():
    adversary = Adversary(r1=Anneal(start=2.0, end=0.0, epochs=10.0))
    weights, real = torch.ones(2), torch.ones(1, 2)
    penalties = [float(adversary.r1_penalty(lambda z: z @ weights, real, epoch)) for epoch in (0.0, 5.0, 10.0)]
    assert penalties == pytest.approx([2.0, 1.0, 0.0])


# Instance noise


def test_instance_noise_has_its_standard_deviation_and_anneals():
    adversary = Adversary(instance_noise=Anneal(start=0.4, end=0.0, epochs=10.0))
    z = torch.full((300, 300), 2.0)
    for epoch, std in ((0.0, 0.4), (5.0, 0.2), (7.5, 0.1)):
        noise = adversary.add_noise(z, epoch, torch.Generator().manual_seed(0)) - z
        assert noise.std() == pytest.approx(std, rel=0.02)
        assert noise.mean().abs() < 0.005
    assert adversary.add_noise(z, 10.0) is z


def test_without_instance_noise_nothing_is_drawn():
    generator = torch.Generator().manual_seed(0)
    before, z = generator.get_state(), torch.ones(3, 2)
    assert Adversary().add_noise(z, 0.0, generator) is z
    assert torch.equal(generator.get_state(), before)


def test_instance_noise_passes_the_generators_gradient():
    z = torch.ones(3, 2, requires_grad=True)
    Adversary(instance_noise=0.3).add_noise(z, 0.0, torch.Generator().manual_seed(0)).sum().backward()
    assert torch.equal(z.grad, torch.ones(3, 2))


# The adversary that never starts


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "hinge"},
        {"r1": -1.0},
        {"r1": Anneal(start=1.0, end=-1.0, epochs=1.0)},
        {"instance_noise": -0.1},
        {"instance_noise": math.nan},
        {"noise": 0.1},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        Adversary(**settings)


def test_an_adversary_survives_a_file():
    adversary = Adversary(loss="minimax", r1=Anneal(start=1.0, end=0.0, epochs=5.0), instance_noise=0.1)
    assert Adversary.from_dict(adversary.to_dict()) == adversary


@pytest.mark.parametrize("kind", KINDS)
def test_the_boundary_is_where_a_perfectly_fooled_discriminator_stands(kind):
    adversary = Adversary(loss=kind)
    at = torch.full((1,), adversary.boundary)
    chance, _ = adversary.chance_level
    assert adversary.discriminator_loss(at, at).item() == pytest.approx(chance)

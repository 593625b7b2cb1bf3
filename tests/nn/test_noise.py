import pytest
import torch
from torch import nn

from aegean.errors import ConfigError
from aegean.nn.noise import Dropout, GaussianNoise, Noisy, bind_rng


def seeded(module: Noisy, seed: int = 0) -> Noisy:
    bind_rng(module, torch.Generator().manual_seed(seed))
    return module


def test_gaussian_noise_has_the_given_mean_and_standard_deviation():
    x = torch.full((200, 500), 3.0)
    noise = seeded(GaussianNoise(0.3))(x) - x
    assert noise.mean().abs() < 0.005
    assert noise.std() == pytest.approx(0.3, abs=0.003)


def test_dropout_drops_at_its_rate_and_keeps_the_expectation():
    dropped = seeded(Dropout(0.2))(torch.ones(200, 500))
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert (dropped == 0.0).float().mean() == pytest.approx(0.2, abs=0.005)
    assert dropped.mean() == pytest.approx(1.0, abs=0.005)


def test_dropout_keeps_its_rate_in_bfloat16():
    dropped = seeded(Dropout(0.001))(torch.ones(1000, 1000, dtype=torch.bfloat16))
    assert dropped.dtype == torch.bfloat16
    assert (dropped == 0).float().mean() == pytest.approx(0.001, rel=0.15)


@pytest.mark.parametrize("module", [GaussianNoise(0.5), Dropout(0.5)])
def test_evaluation_passes_the_input_through_and_draws_nothing(module):
    rng = torch.Generator().manual_seed(0)
    before = rng.get_state()
    bind_rng(module, rng)
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    assert module.eval()(x) is x
    assert torch.equal(rng.get_state(), before)
    assert not torch.equal(module.train()(x), x)


@pytest.mark.parametrize("module", [GaussianNoise(0.0), Dropout(0.0)])
def test_without_noise_nothing_is_drawn(module):
    rng = torch.Generator().manual_seed(0)
    before = rng.get_state()
    bind_rng(module, rng)
    x = torch.ones(3)
    assert module(x) is x
    assert torch.equal(rng.get_state(), before)


def test_bind_rng_reaches_every_noisy_module_and_leaves_the_global_state_alone():
    network = nn.Sequential(GaussianNoise(0.3), nn.Linear(4, 4), nn.Sequential(Dropout(0.5)))
    before = torch.random.get_rng_state()
    outputs = []
    for _ in range(2):
        bind_rng(network, torch.Generator().manual_seed(7))
        outputs.append(network(torch.ones(8, 4)))
    assert torch.equal(*outputs)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(network(torch.ones(8, 4)), outputs[0]), "the generator must move on"


def test_the_generator_is_not_part_of_the_state():
    assert not seeded(GaussianNoise(0.3)).state_dict()


def test_gradients_pass_with_the_same_mask():
    x = torch.ones(1000, requires_grad=True)
    out = seeded(Dropout(0.5))(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


@pytest.mark.parametrize("std", [-0.1, float("nan"), float("inf")])
def test_impossible_standard_deviations_are_refused(std):
    with pytest.raises(ConfigError, match="standard deviation"):
        GaussianNoise(std)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ConfigError, match="rate"):
        Dropout(rate)

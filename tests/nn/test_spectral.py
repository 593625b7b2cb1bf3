"""Spectral normalisation, against singular values that are computed exactly."""

import pytest
import torch
from torch import nn

from aegean.errors import ConfigError
from aegean.models import Model, create
from aegean.nn import ImageDiscriminatorConfig, MLPConfig
from conftest import SMALL_MODELS

SETTINGS = {
    "mlp": MLPConfig(widths=(20, 7), spectral_norm=True, init_std=3.0),
    "invariant": ImageDiscriminatorConfig(widths=(5, 6), kernel=4, hidden=(9,), batch_norm="none", spectral_norm=True),
    "dependent": ImageDiscriminatorConfig(
        widths=(5, 6), kernel=4, batch_norm="none", spectral_norm=True, conditioning="location-dependent"
    ),
}


def layers(network):
    return [part for part in network.modules() if isinstance(part, nn.Linear | nn.Conv2d)]


def norms(network):
    return [float(torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]) for layer in layers(network)]


@pytest.mark.parametrize("name", SETTINGS)
def test_power_iteration_finds_the_largest_singular_value_of_every_layer(name):
    torch.manual_seed(0)
    network = SETTINGS[name].build_discriminator((2, 8, 8), extra_inputs=3).train()
    for _ in range(200):
        network(torch.rand(2, 2, 8, 8), torch.randn(2, 3))
    network.eval()
    assert len(norms(network)) == {"mlp": 3, "invariant": 5, "dependent": 5}[name]
    for norm in norms(network):
        assert norm == pytest.approx(1.0, abs=1e-3)


def test_without_the_flag_weights_stay_as_they_are():
    network = MLPConfig(widths=(20,), init_std=3.0).build(64, 1)
    assert min(norms(network)) > 5


def test_a_fully_connected_discriminator_is_no_steeper_than_its_input():
    torch.manual_seed(0)
    network = SETTINGS["mlp"].build_discriminator((1, 8, 8)).train()
    a, b = torch.rand(50, 1, 8, 8), torch.rand(50, 1, 8, 8)
    for _ in range(50):
        network(a)
    network.eval()
    moved = (network(a)[0] - network(b)[0]).abs()
    assert (moved <= 1.001 * (a - b).flatten(1).norm(dim=1)).all()


def test_evaluation_changes_nothing_and_a_saved_model_is_the_same(tmp_path):
    model = create(SMALL_MODELS["gan-spectral"], (1, 8, 8), seed=0).eval()
    x = torch.rand(4, 1, 8, 8)
    first = model.discriminator(x)[0]
    assert torch.equal(first, model.discriminator(x)[0])
    model.save_pretrained(tmp_path)
    assert torch.equal(first, Model.from_pretrained(tmp_path).eval().discriminator(x)[0])


def test_both_normalisations_at_once_are_refused():
    for settings in (MLPConfig, ImageDiscriminatorConfig):
        with pytest.raises(ConfigError, match=r"scales back .* set batch_norm: none"):
            settings(batch_norm="hidden", spectral_norm=True)

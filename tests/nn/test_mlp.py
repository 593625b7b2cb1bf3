import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from aegean.errors import ConfigError
from aegean.nn import DecoderConfig, Dropout, EncoderConfig, MLPConfig

KINDS = (nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.LeakyReLU, nn.Tanh, Dropout)


def order(network: nn.Module) -> list[str]:
    return [type(part).__name__ for part in network.modules() if isinstance(part, KINDS)]


def test_it_is_linear_layers_with_non_linearities_between():
    network = MLPConfig(widths=(7, 5), activation="tanh").build(12, 3)
    x = torch.randn(4, 12)
    one, two, three = (part for part in network if isinstance(part, nn.Linear))
    hidden = ((x @ one.weight.T + one.bias).tanh() @ two.weight.T + two.bias).tanh()
    torch.testing.assert_close(network(x), hidden @ three.weight.T + three.bias)


@pytest.mark.parametrize(
    ("batch_norm", "expected"),
    [
        ("none", ["Linear", "ReLU", "Linear"]),
        ("hidden", ["Linear", "BatchNorm1d", "ReLU", "Linear"]),
        ("all", ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]),
        ("last", ["Linear", "ReLU", "Linear", "BatchNorm1d"]),
    ],
)
def test_batch_normalisation_stands_before_the_non_linearity(batch_norm, expected):
    assert order(MLPConfig(widths=(7,), batch_norm=batch_norm).build(12, 3)) == expected


def test_dropout_is_of_hidden_units_and_only_in_training():
    network = MLPConfig(widths=(7, 5), dropout=0.5).build(12, 3)
    assert order(network) == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    x = torch.randn(4, 12)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_activations_are_the_named_ones():
    x = torch.tensor([[-1.0, 2.0]])
    expected = {"relu": [0.0, 2.0], "leaky-relu": [-0.2, 2.0], "tanh": [-0.7616, 0.9640]}
    for name, values in expected.items():
        activation = MLPConfig(widths=(2,), activation=name).build(2, 1)[2]
        torch.testing.assert_close(activation(x), torch.tensor([values]), atol=1e-4, rtol=0)


def test_init_std_is_that_of_all_weights_and_biases_are_zero():
    torch.manual_seed(0)
    config = MLPConfig(widths=(400,), init_std=0.01)
    for network in (config.build(300, 200), config.build_discriminator((1, 20, 15))):
        for part in network.modules():
            if isinstance(part, nn.Linear):
                assert part.weight.std().item() == pytest.approx(0.01, rel=0.1)
                assert not part.bias.any()


def test_an_encoder_takes_images_and_extra_inputs():
    config, x, extra = MLPConfig(widths=(7,)), torch.rand(4, 3, 5, 6), torch.randn(4, 2, requires_grad=True)
    assert config.build_encoder((3, 5, 6), 2)(x).shape == (4, 2)
    outputs = config.build_encoder((3, 5, 6), 2, extra_inputs=2)(x, extra)
    outputs.sum().backward()
    assert outputs.shape == (4, 2)
    assert extra.grad.any()


@pytest.mark.parametrize(("built_for", "given"), [(0, 2), (2, None), (2, 3)])
def test_wrong_extra_inputs_are_refused(built_for, given):
    encoder = MLPConfig(widths=(7,)).build_encoder((1, 4, 4), 2, built_for)
    with pytest.raises(ConfigError, match=f"built for {built_for} extra inputs beside the image, not {given or 0}"):
        encoder(torch.rand(3, 1, 4, 4), None if given is None else torch.randn(3, given))


def test_a_decoder_returns_likelihood_parameters_as_an_image():
    decoder = MLPConfig(widths=(7,)).build_decoder(2, (30, 5, 6))
    assert decoder(torch.randn(4, 2)).shape == (4, 30, 5, 6)


def test_a_discriminator_shows_its_last_hidden_layer():
    discriminator = MLPConfig(widths=(7, 5)).build_discriminator((1, 4, 3), extra_inputs=2)
    logits, features = discriminator(torch.rand(6, 1, 4, 3), torch.randn(6, 2))
    assert logits.shape == (6,)
    assert features.shape == (6, 5)
    (last,) = discriminator.last
    torch.testing.assert_close(logits, (features @ last.weight.T + last.bias)[:, 0])


@pytest.mark.parametrize(("inputs", "outputs"), [(0, 3), (4, 0)])
def test_layers_of_no_units_are_refused(inputs, outputs):
    with pytest.raises(ConfigError, match="must be 1 or more"):
        MLPConfig(widths=()).build(inputs, outputs)


@pytest.mark.parametrize("bad", [{"widths": (7, 0)}, {"dropout": 1.0}, {"init_std": 0.0}, {"batch_norm": True}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        MLPConfig(**bad)


@pytest.mark.parametrize(
    ("union", "kind", "name"),
    [
        (EncoderConfig, "mlp", "MLPConfig"),
        (EncoderConfig, "conv", "ConvEncoderConfig"),
        (EncoderConfig, "strided", "StridedEncoderConfig"),
        (DecoderConfig, "mlp", "MLPConfig"),
        (DecoderConfig, "strided", "StridedDecoderConfig"),
    ],
)
def test_a_file_chooses_a_network_by_its_kind(union, kind, name):
    assert type(TypeAdapter(union).validate_python({"kind": kind})).__name__ == name

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aegean.errors import ConfigError
from aegean.nn import ConvEncoderConfig, ImageDiscriminatorConfig, StridedDecoderConfig, StridedEncoderConfig

KINDS = (
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.LeakyReLU,
    nn.MaxPool2d,
    nn.Linear,
)
SIZES = st.tuples(st.integers(5, 19), st.integers(5, 19))
SMALL = {"widths": (4, 6), "init_std": None}


def order(network: nn.Module) -> list[str]:
    names = " ".join(type(part).__name__ for part in network.modules() if isinstance(part, KINDS))
    return names.replace("BatchNormReLU", "BatchNorm2d ReLU").replace("MaxPoolHalf", "MaxPool2d").split()


@pytest.mark.parametrize(
    ("batch_norm", "norm", "last"),
    [("none", [], []), ("hidden", ["BatchNorm2d"], []), ("all", ["BatchNorm2d"], ["BatchNorm1d"])],
)
def test_an_encoder_has_the_stages_in_their_order(batch_norm, norm, last):
    config = ConvEncoderConfig(stages=((2, 5, 4), (1, 3, 6)), batch_norm=batch_norm)
    convolution = ["Conv2d", *norm, "ReLU"]
    expected = [*convolution, *convolution, "MaxPool2d", *convolution, "MaxPool2d", "Linear", *last]
    encoder = config.build_encoder((1, 8, 8), 3)
    assert order(encoder) == expected
    kernels = [part.weight.shape for part in encoder.modules() if isinstance(part, nn.Conv2d)]
    assert kernels == [(4, 1, 5, 5), (4, 4, 5, 5), (6, 4, 3, 3)]


def test_batch_normalisation_of_all_layers_includes_the_last():
    encoder = ConvEncoderConfig(stages=((1, 3, 4),), batch_norm="all").build_encoder((1, 8, 8), 3)
    outputs = encoder(torch.rand(50, 1, 8, 8))
    torch.testing.assert_close(outputs.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs.std(dim=0, correction=0), torch.ones(3), atol=1e-2, rtol=0)


@settings(max_examples=12, deadline=None)
@given(size=SIZES, channels=st.sampled_from([1, 3]), kernel=st.sampled_from([3, 4, 5, 6]))
def test_odd_and_oblong_images_fit_and_every_pixel_counts(size, channels, kernel):
    torch.manual_seed(0)
    shape = (channels, *size)
    encoders = (
        ConvEncoderConfig(stages=((1, 3, 6), (1, 3, 6)), activation="tanh", batch_norm="none"),
        StridedEncoderConfig(kernel=kernel, activation="tanh", batch_norm="none", **SMALL),
    )
    for config in encoders:
        x = torch.rand(8, *shape, requires_grad=True)
        outputs = config.build_encoder(shape, 3)(x)
        assert outputs.shape == (8, 3)
        outputs.sum().backward()
        assert (x.grad != 0).any(dim=0).all()
    decoder = StridedDecoderConfig(kernel=kernel, **SMALL).build_decoder(5, (10, *size))
    assert decoder(torch.randn(2, 5)).shape == (2, 10, *size)
    logits, features = ImageDiscriminatorConfig(kernel=kernel, **SMALL).build_discriminator(shape)(x)
    assert logits.shape == (8,)
    assert features.shape[:2] == (8, 6)


@pytest.mark.parametrize(
    "build",
    [
        lambda: ConvEncoderConfig(stages=((1, 3, 4),) * 3).build_encoder((1, 8, 3), 2),
        lambda: StridedEncoderConfig(widths=(4, 4, 4)).build_encoder((1, 8, 3), 2),
        lambda: StridedEncoderConfig(widths=(4, 4, 4), kernel=4).build_encoder((1, 8, 7), 2),
        lambda: StridedDecoderConfig(widths=(4, 4, 4)).build_decoder(2, (1, 8, 3)),
        lambda: ImageDiscriminatorConfig(widths=(4, 4, 4)).build_discriminator((1, 8, 3)),
    ],
)
def test_images_too_small_are_refused_before_training(build):
    with pytest.raises(ConfigError, match=r"Images of 8 by \d pixels are too small to be halved 3 times"):
        build()


def test_a_strided_encoder_halves_with_each_convolution_and_ends_in_its_hidden_layers():
    encoder = StridedEncoderConfig(widths=(4, 6), hidden=(7,), batch_norm="all").build_encoder((1, 8, 12), 3)
    hidden = ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["Linear", "BatchNorm1d", "ReLU"]
    assert order(encoder) == [*hidden, "Linear", "BatchNorm1d"]
    shapes = [output.shape[1:] for output in encoder.outputs(torch.rand(2, 1, 8, 12), None)]
    assert shapes == [(4, 4, 6), (6, 2, 3), (7,), (3,)]


def test_a_decoder_starts_small_and_doubles():
    decoder = StridedDecoderConfig(widths=(6, 4), hidden=(7,)).build_decoder(5, (3, 9, 14))
    start = ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm2d", "ReLU"]
    assert order(decoder) == [*start, "ConvTranspose2d", "BatchNorm2d", "ReLU", "ConvTranspose2d"]
    x, shapes = torch.randn(2, 5), []
    for part in decoder:
        x = part(x)
        shapes += [tuple(x.shape[1:])] if x.ndim == 4 else []
    assert list(dict.fromkeys(shapes)) == [(6, 3, 4), (4, 5, 7), (3, 9, 14)]


def test_a_transposed_convolution_is_not_cut_inside():
    """The whole kernel reaches the output, centred where the input pixel lies at twice the size."""
    for kernel in (4, 5, 6):
        decoder = StridedDecoderConfig(widths=(1,), kernel=kernel, batch_norm="none").build_decoder(1, (1, 16, 16))
        last = decoder[-1].convolution
        nn.init.ones_(last.weight)
        maps = torch.zeros(1, 1, 8, 8)
        maps[0, 0, 4, 4] = 1.0
        reached = (last(maps)[0, 0] > last.bias.item() + 0.5).nonzero()
        centre = reached.double().mean(dim=0)
        assert (reached.amax(dim=0) - reached.amin(dim=0) + 1 == kernel).all()
        assert ((centre - 8.25).abs() < 0.5).all()


def test_a_discriminator_normalises_all_hidden_layers_but_the_first():
    discriminator = ImageDiscriminatorConfig(widths=(4, 6), hidden=(7,)).build_discriminator((1, 8, 8))
    convolutions = ["Conv2d", "LeakyReLU", "Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert order(discriminator) == [*convolutions, "Linear", "BatchNorm1d", "LeakyReLU", "Linear"]


@pytest.mark.parametrize(("layer", "shape"), [(0, (4, 4, 4)), (1, (6, 2, 2)), (2, (7,)), (-1, (7,)), (-2, (6, 2, 2))])
def test_a_discriminator_shows_the_chosen_layer(layer, shape):
    config = ImageDiscriminatorConfig(widths=(4, 6), hidden=(7,), feature_layer=layer)
    discriminator, x = config.build_discriminator((1, 8, 8)).eval(), torch.rand(2, 1, 8, 8)
    logits, features = discriminator(x)
    assert features.shape[1:] == shape
    for rest in list(discriminator.layers)[layer % 3 + 1 :]:  # the features are what the logit is computed from
        features = rest(features)
    torch.testing.assert_close(logits, features[:, 0])


@pytest.mark.parametrize("layer", [2, -3])
def test_a_layer_that_is_not_there_cannot_be_chosen(layer):
    with pytest.raises(ConfigError, match="the 2 hidden layers are 0 to 1"):
        ImageDiscriminatorConfig(widths=(4, 6), feature_layer=layer)


@pytest.mark.parametrize("conditioning", ["location-invariant", "location-dependent"])
def test_extra_inputs_bias_the_first_layer(conditioning):
    config = ImageDiscriminatorConfig(conditioning=conditioning, batch_norm="none", **SMALL)
    discriminator, x = config.build_discriminator((1, 9, 7), extra_inputs=2), torch.rand(3, 1, 9, 7)
    extra = torch.randn(3, 2, requires_grad=True)
    discriminator(x, extra)[0].sum().backward()
    assert (extra.grad != 0).all()
    kept = []
    discriminator.layers[0][1].register_forward_hook(lambda _module, inputs, _output: kept.append(inputs[0]))
    discriminator(x, extra)
    discriminator(x, torch.zeros(3, 2))
    change = kept[0] - kept[1]
    spread = (change - change.mean(dim=(2, 3), keepdim=True)).abs().max()
    assert change.abs().max() > 0.01
    assert (spread < 1e-5) == (conditioning == "location-invariant")


@pytest.mark.parametrize("config", [ConvEncoderConfig(stages=((1, 3, 4),)), StridedEncoderConfig(**SMALL)])
def test_encoders_take_extra_inputs_and_refuse_wrong_ones(config):
    encoder, x = config.build_encoder((1, 8, 8), 2, extra_inputs=3), torch.rand(4, 1, 8, 8)
    assert not torch.equal(encoder(x, torch.ones(4, 3)), encoder(x, torch.randn(4, 3)))
    with pytest.raises(ConfigError, match="3 extra inputs beside the image, not 0"):
        encoder(x)


def test_init_std_is_that_of_all_weights_and_biases_are_zero():
    torch.manual_seed(0)
    decoder = StridedDecoderConfig(widths=(32, 32), init_std=0.05).build_decoder(16, (8, 8, 8))
    for part in decoder.modules():
        if isinstance(part, nn.Linear | nn.ConvTranspose2d):
            assert part.weight.std().item() == pytest.approx(0.05, rel=0.1)
            assert not part.bias.any()


def test_everything_trains_in_channels_last_bfloat16():
    x = torch.rand(6, 3, 9, 7)
    encoder = ConvEncoderConfig(stages=((2, 3, 4),), batch_norm="all").build_encoder((3, 9, 7), 4)
    strided = StridedEncoderConfig(widths=(4, 6)).build_encoder((3, 9, 7), 4)
    decoder = StridedDecoderConfig(widths=(6, 4)).build_decoder(4, (3, 9, 7))
    discriminator = ImageDiscriminatorConfig(widths=(4, 6)).build_discriminator((3, 9, 7))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = decoder(encoder(x) + strided(x))
        logits, features = discriminator(image)
    for output in (image, features):
        assert output.dtype == torch.bfloat16
    assert features.is_contiguous(memory_format=torch.channels_last)
    (logits.float().sum() + features.float().square().sum()).backward()
    for network in (encoder, strided, decoder, discriminator):
        assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("bad", [{"stages": ((1, 4, 8),)}, {"stages": ((0, 3, 8),)}, {"stages": ()}])
def test_impossible_stages_are_refused(bad):
    with pytest.raises(ConfigError, match="stages"):
        ConvEncoderConfig(**bad)

"""Convolutional encoders, decoders and discriminators, for images of any size that can be halved so often.

They compute in channels-last layout, in which convolutions in bfloat16 are fast.
"""

import math
from typing import Literal, Self, TypeVar, cast

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from aegean.config import Config
from aegean.errors import ConfigError
from aegean.nn.conditioning import LocationDependentBias, LocationInvariantBias
from aegean.nn.kernels.batch_norm_relu import BatchNormReLU
from aegean.nn.kernels.max_pool import MaxPoolHalf
from aegean.nn.mlp import (
    Activation,
    BatchNorm,
    Shape,
    activation,
    channels_last,
    check_extra,
    initialise,
    linear_layer,
)
from aegean.nn.spectral import refuse_batch_norm, spectrally_normalised

Size = tuple[int, int]
N = TypeVar("N", bound=nn.Module)


class ConvEncoderConfig(Config):
    """Settings of a convolutional encoder with max-pooling, as the PixelGAN autoencoder has it.

    Its last layer is linear on the flattened feature maps; there is no fully connected hidden layer.

    Attributes:
        stages: `(layers, kernel, channels)` of each stage: so many convolutions (padded to keep the size),
            then a max-pooling of 2 × 2 that keeps the last row and column of an odd size. The default is that
            of semi-supervised MNIST (appendix B.1.3).
        activation: the hidden layers' non-linearity.
        batch_norm: where batch normalisation stands: nowhere, in all convolutions, or also in the last layer.
        init_std: as in `MLPConfig`.
    """

    kind: Literal["conv"] = "conv"
    stages: tuple[tuple[PositiveInt, PositiveInt, PositiveInt], ...] = Field(
        default=((3, 5, 32), (3, 5, 32)), min_length=1
    )
    activation: Activation = "relu"
    batch_norm: BatchNorm = "hidden"
    init_std: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for _, kernel, _ in self.stages:
            if kernel % 2 == 0:
                raise ValueError(f"a kernel of stages is {kernel}; padded convolutions need an odd one.")
        return self

    def build_encoder(self, shape: Shape, outputs: int, extra_inputs: int = 0) -> "ConvEncoder":
        """Return a network from images (n, *shape), with extra inputs (n, e) if any, to (n, outputs).

        Extra inputs are a location-invariant bias of the first convolution.

        Raises:
            ConfigError: the images are too small.
        """
        size = halved(shape, len(self.stages))[-1]
        layers, channels = [], shape[0]
        for count, kernel, width in self.stages:
            for _ in range(count):
                conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=self.batch_norm == "none")
                layers.append(_layer(conv, self.batch_norm != "none", self.activation))
                channels = width
            layers[-1].append(MaxPoolHalf())
        layers.append(_flat(linear_layer(channels * math.prod(size), outputs, self.batch_norm == "all")))
        bias = LocationInvariantBias(extra_inputs, [self.stages[0][2]]) if extra_inputs else None
        return _ready(ConvEncoder(layers, bias, extra_inputs), self.init_std)


class StridedEncoderConfig(Config):
    """Settings of an encoder of strided convolutions in the manner of DCGAN (Radford et al., 2016).

    Attributes:
        widths: channels of each convolution; each halves height and width (rounded down by an even kernel, up
            by an odd one).
        kernel: height and width of the kernels, commonly 4 or 5.
        hidden: units of fully connected hidden layers after the convolutions.
        activation: the hidden layers' non-linearity.
        batch_norm: where batch normalisation stands.
        init_std: as in `MLPConfig`.
    """

    kind: Literal["strided"] = "strided"
    widths: tuple[PositiveInt, ...] = Field(default=(64, 128, 256), min_length=1)
    kernel: int = Field(default=5, ge=3)
    hidden: tuple[PositiveInt, ...] = ()
    activation: Activation = "relu"
    batch_norm: BatchNorm = "hidden"
    init_std: float | None = Field(default=0.02, gt=0)

    def build_encoder(self, shape: Shape, outputs: int, extra_inputs: int = 0) -> "ConvEncoder":
        """Return a network from images (n, *shape), with extra inputs (n, e) if any, to (n, outputs).

        Extra inputs are a location-invariant bias of the first convolution.

        Raises:
            ConfigError: the images are too small.
        """
        norm = self.batch_norm != "none"
        layers, inputs = _strided(
            shape,
            self.widths,
            self.kernel,
            self.hidden,
            nonlinearity=self.activation,
            first_norm=norm,
            norm=norm,
        )
        layers.append(_flat(linear_layer(inputs, outputs, self.batch_norm == "all")))
        bias = LocationInvariantBias(extra_inputs, self.widths[:1]) if extra_inputs else None
        return _ready(ConvEncoder(layers, bias, extra_inputs), self.init_std)


class StridedDecoderConfig(Config):
    """Settings of a decoder of transposed convolutions in the manner of DCGAN (Radford et al., 2016).

    Attributes:
        widths: channels before each transposed convolution. Each doubles height and width; what is too much
            for an odd size is cut off below and to the right.
        kernel: height and width of the kernels, commonly 4 or 5.
        hidden: units of fully connected hidden layers before the first feature maps.
        activation: the hidden layers' non-linearity.
        batch_norm: where batch normalisation stands.
        init_std: as in `MLPConfig`.
    """

    kind: Literal["strided"] = "strided"
    widths: tuple[PositiveInt, ...] = Field(default=(256, 128, 64), min_length=1)
    kernel: int = Field(default=5, ge=3)
    hidden: tuple[PositiveInt, ...] = ()
    activation: Activation = "relu"
    batch_norm: BatchNorm = "hidden"
    init_std: float | None = Field(default=0.02, gt=0)

    def build_decoder(self, inputs: int, shape: Shape) -> nn.Sequential:
        """Return a network from codes (n, inputs) to (n, *shape), with likelihood parameters for channels.

        Raises:
            ConfigError: the images are too small.
        """
        norm = self.batch_norm != "none"
        start, *sizes = reversed(halved(shape, len(self.widths)))
        parts: list[nn.Module] = []
        for width in self.hidden:
            parts += [*linear_layer(inputs, width, norm), activation(self.activation)]
            inputs = width
        first = (self.widths[0], *start)
        parts += [*linear_layer(inputs, math.prod(first), False), nn.Unflatten(1, first)]
        for channels, width, size in zip(self.widths, (*self.widths[1:], shape[0]), sizes, strict=True):
            parts += [nn.BatchNorm2d(channels)] if norm else []
            parts += [activation(self.activation), Doubling(channels, width, self.kernel, size)]
        parts += [nn.BatchNorm2d(shape[0])] if self.batch_norm == "all" else []
        return _ready(nn.Sequential(*parts), self.init_std)


class ImageDiscriminatorConfig(Config):
    """Settings of a discriminator of images, of strided convolutions as in DCGAN (Radford et al., 2016).

    Attributes:
        widths: channels of each convolution; each halves height and width.
        kernel: height and width of the kernels, commonly 4 or 5.
        hidden: units of fully connected hidden layers after the convolutions.
        activation: the hidden layers' non-linearity.
        batch_norm: nowhere, or in all hidden layers but the first.
        feature_layer: the hidden layer whose output (after the non-linearity) is returned beside the logit,
            the VAE/GAN's Dis_l(x) (Larsen et al., 2016): 0 is the first convolution, -1 the last layer.
        conditioning: how extra inputs bias the first layer (implicit autoencoders, appendix D.1).
        init_std: as in `MLPConfig`.
        spectral_norm: give every layer the spectral norm 1 (Miyato et al., 2018), without batch normalisation.
    """

    kind: Literal["strided"] = "strided"
    widths: tuple[PositiveInt, ...] = Field(default=(64, 128, 256), min_length=1)
    kernel: int = Field(default=5, ge=3)
    hidden: tuple[PositiveInt, ...] = ()
    activation: Activation = "leaky-relu"
    batch_norm: Literal["none", "hidden"] = "hidden"
    feature_layer: int = -1
    conditioning: Literal["location-invariant", "location-dependent"] = "location-invariant"
    init_std: float | None = Field(default=0.02, gt=0)
    spectral_norm: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse_batch_norm(self.spectral_norm, self.batch_norm)
        count = len(self.widths) + len(self.hidden)
        if not -count <= self.feature_layer < count:
            raise ValueError(f"feature_layer is {self.feature_layer}; the {count} hidden layers are 0 to {count - 1}.")
        return self

    def build_discriminator(self, shape: Shape, extra_inputs: int = 0) -> "ConvDiscriminator":
        """Return a network from images (n, *shape) and extra inputs (n, e) to logits (n,) and features.

        Raises:
            ConfigError: the images are too small.
        """
        norm = self.batch_norm != "none"
        layers, inputs = _strided(
            shape,
            self.widths,
            self.kernel,
            self.hidden,
            nonlinearity=self.activation,
            first_norm=False,
            norm=norm,
        )
        layers.append(_flat(linear_layer(inputs, 1, False)))
        bias: LocationInvariantBias | LocationDependentBias | None = None
        if extra_inputs and self.conditioning == "location-invariant":
            bias = LocationInvariantBias(extra_inputs, self.widths[:1])
        elif extra_inputs:
            size = _strided_sizes(shape, len(self.widths), self.kernel)[1]
            bias = LocationDependentBias(extra_inputs, self.widths[:1], size)
        network = _ready(ConvDiscriminator(layers, bias, extra_inputs, self.feature_layer), self.init_std)
        return spectrally_normalised(network, self.spectral_norm)


class ConvNetwork(nn.Module):
    """Layers in their order, the first of which begins with a convolution that extra inputs may bias."""

    def __init__(
        self,
        layers: list[nn.Sequential],
        bias: LocationInvariantBias | LocationDependentBias | None,
        extra_inputs: int,
    ) -> None:
        super().__init__()
        self.layers, self.bias, self.extra_inputs = nn.ModuleList(layers), bias, extra_inputs

    def outputs(self, x: Tensor, extra: Tensor | None) -> list[Tensor]:
        """Return the output of each layer on images (n, c, h, w) and extra inputs (n, e), or None."""
        check_extra(extra, self.extra_inputs)
        first, *layers = cast("list[nn.Sequential]", list(self.layers))
        x = first[0](x.contiguous(memory_format=torch.channels_last))
        x = x if self.bias is None else x + self.bias(extra)[0]
        outputs = [first[1:](x)]
        for layer in layers:
            outputs.append(layer(outputs[-1]))
        return outputs


class ConvEncoder(ConvNetwork):
    """A convolutional encoder."""

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Map images (n, c, h, w) and extra inputs (n, e), or None, to (n, outputs)."""
        return self.outputs(x, extra)[-1]


class ConvDiscriminator(ConvNetwork):
    """A discriminator of images that shows one of its hidden layers."""

    def __init__(
        self,
        layers: list[nn.Sequential],
        bias: LocationInvariantBias | LocationDependentBias | None,
        extra_inputs: int,
        feature_layer: int,
    ) -> None:
        super().__init__(layers, bias, extra_inputs)
        self.feature_layer = feature_layer

    def forward(self, x: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map images (n, c, h, w) and extra inputs (n, e), or None, to logits (n,) and features (n, ...)."""
        *hidden, logits = self.outputs(x, extra)
        return logits.squeeze(1), hidden[self.feature_layer]


class Doubling(nn.Module):
    """A transposed convolution that doubles height and width, then cut to `size`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, size: Size) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(
            inputs, outputs, kernel, stride=2, padding=(kernel - 1) // 2, output_padding=kernel % 2
        )
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, h, w) to (n, outputs, *size)."""
        doubled: Tensor = self.convolution(x)
        return doubled[:, :, : self.size[0], : self.size[1]]


def halved(shape: Shape, times: int) -> list[Size]:
    """Return height and width before and after each of `times` halvings, rounded up.

    Raises:
        ConfigError: a height or a width of 1 would be halved.
    """
    sizes = [shape[1:]]
    for _ in range(times):
        if min(sizes[-1]) < 2:
            raise _too_small(shape, times)
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def _strided_sizes(shape: Shape, times: int, kernel: int) -> list[Size]:
    """Return height and width before and after each strided convolution: an even kernel rounds down."""
    if kernel % 2:
        return halved(shape, times)
    sizes = [(shape[1] >> step, shape[2] >> step) for step in range(times + 1)]
    if min(sizes[-1]) < 1:
        raise _too_small(shape, times)
    return sizes


def _too_small(shape: Shape, times: int) -> ConfigError:
    return ConfigError(
        f"Images of {shape[1]} by {shape[2]} pixels are too small to be halved {times} times; use fewer "
        "layers that halve them, or larger images."
    )


def _strided(
    shape: Shape,
    widths: tuple[int, ...],
    kernel: int,
    hidden: tuple[int, ...],
    *,
    nonlinearity: Activation,
    first_norm: bool,
    norm: bool,
) -> tuple[list[nn.Sequential], int]:
    """Return strided convolutions and fully connected hidden layers, and the number of values they end in."""
    size = _strided_sizes(shape, len(widths), kernel)[-1]
    layers: list[nn.Sequential] = []
    channels = shape[0]
    for width in widths:
        normed = norm if layers else first_norm
        conv = nn.Conv2d(channels, width, kernel, stride=2, padding=(kernel - 1) // 2, bias=not normed)
        layers.append(_layer(conv, normed, nonlinearity))
        channels = width
    inputs = channels * math.prod(size)
    for width in hidden:
        layers.append(_flat([*linear_layer(inputs, width, norm), activation(nonlinearity)]))
        inputs = width
    return layers, inputs


def _layer(convolution: nn.Conv2d, norm: bool, nonlinearity: Activation) -> nn.Sequential:
    if norm and nonlinearity == "relu":
        return nn.Sequential(convolution, BatchNormReLU(convolution.out_channels))
    normalise = [nn.BatchNorm2d(convolution.out_channels)] if norm else []
    return nn.Sequential(convolution, *normalise, activation(nonlinearity))


def _flat(parts: list[nn.Module]) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), *parts)


def _ready(network: N, init_std: float | None) -> N:
    initialise(network, init_std)
    return channels_last(network)

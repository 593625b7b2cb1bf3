"""Fully connected networks, and the settings that all networks share."""

import math
from typing import Literal, Self, TypeVar

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from aegean.config import Config
from aegean.errors import ConfigError
from aegean.nn.noise import Dropout
from aegean.nn.spectral import refuse_batch_norm, spectrally_normalised

N = TypeVar("N", bound=nn.Module)

#: Channels, height and width of an image.
Shape = tuple[int, int, int]

#: `"leaky-relu"` has the slope 0.2 of DCGAN (Radford et al., 2016) below 0.
Activation = Literal["relu", "leaky-relu", "tanh"]

#: Where batch normalisation stands, always between a layer and its non-linearity: nowhere, in the hidden
#: layers, or also in the last layer (before the softmax, say; PixelGAN autoencoders, appendix B.1.2).
BatchNorm = Literal["none", "hidden", "all"]


class MLPConfig(Config):
    """Settings of a network of fully connected layers with a linear last layer.

    Attributes:
        widths: units of each hidden layer; empty for a linear network.
        activation: the hidden layers' non-linearity.
        dropout: the share of hidden units that are dropped in training.
        batch_norm: where batch normalisation stands; `"last"` is after the last layer alone (implicit autoencoders,
            appendix D.2).
        init_std: weights start as N(0, init_std²) and biases at 0 (the adversarial autoencoder's code has
            0.01); None for PyTorch's own initialisation.
        spectral_norm: give every layer the spectral norm 1 (for discriminators; Miyato et al., 2018).
    """

    kind: Literal["mlp"] = "mlp"
    widths: tuple[PositiveInt, ...] = (1000, 1000)
    activation: Activation = "relu"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    batch_norm: BatchNorm | Literal["last"] = "none"
    init_std: float | None = Field(default=None, gt=0)
    spectral_norm: bool = False

    @model_validator(mode="after")
    def _one_normalisation(self) -> Self:
        refuse_batch_norm(self.spectral_norm, self.batch_norm)
        return self

    def build(self, inputs: int, outputs: int) -> nn.Sequential:
        """Return a network from (n, inputs), or images with so many values, to (n, outputs).

        Raises:
            ConfigError: `inputs` or `outputs` is less than 1.
        """
        network = nn.Sequential(nn.Flatten(), *self._hidden(inputs), *self._last(inputs, outputs))
        initialise(network, self.init_std)
        return spectrally_normalised(network, self.spectral_norm)

    def build_encoder(self, shape: Shape, outputs: int, extra_inputs: int = 0) -> "ImageMLP":
        """Return a network from images (n, *shape), with extra inputs (n, e) if any, to (n, outputs)."""
        return ImageMLP(self.build(math.prod(shape) + extra_inputs, outputs), extra_inputs)

    def build_decoder(self, inputs: int, shape: Shape) -> nn.Sequential:
        """Return a network from codes (n, inputs) to (n, *shape), with likelihood parameters for channels."""
        return nn.Sequential(self.build(inputs, math.prod(shape)), nn.Unflatten(1, shape))

    def build_discriminator(self, shape: Shape, extra_inputs: int = 0) -> "MLPDiscriminator":
        """Return a network from images (and extra inputs) to logits (n,) and the last hidden layer (n, f)."""
        inputs = math.prod(shape) + extra_inputs
        hidden = nn.Sequential(nn.Flatten(), *self._hidden(inputs))
        last = nn.Sequential(*self._last(inputs, 1))
        initialise(hidden, self.init_std)
        initialise(last, self.init_std)
        return spectrally_normalised(MLPDiscriminator(hidden, last, extra_inputs), self.spectral_norm)

    def _hidden(self, inputs: int) -> list[nn.Module]:
        parts: list[nn.Module] = []
        for width in self.widths:
            parts += linear_layer(inputs, width, self.batch_norm in ("hidden", "all"))
            parts += [activation(self.activation)] + ([Dropout(self.dropout)] if self.dropout else [])
            inputs = width
        return parts

    def _last(self, inputs: int, outputs: int) -> list[nn.Module]:
        return linear_layer((inputs, *self.widths)[-1], outputs, self.batch_norm in ("last", "all"))


class ImageMLP(nn.Module):
    """A fully connected network on images and, beside them, other inputs."""

    def __init__(self, network: nn.Module, extra_inputs: int) -> None:
        super().__init__()
        self.network, self.extra_inputs = network, extra_inputs

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Map images (n, c, h, w) and extra inputs (n, e), or None, to (n, outputs)."""
        check_extra(extra, self.extra_inputs)
        outputs: Tensor = self.network(x if extra is None else torch.cat((x.flatten(1), extra), dim=1))
        return outputs


class MLPDiscriminator(nn.Module):
    """A fully connected discriminator of images that shows its last hidden layer."""

    def __init__(self, hidden: nn.Module, last: nn.Module, extra_inputs: int) -> None:
        super().__init__()
        self.hidden, self.last = ImageMLP(hidden, extra_inputs), last

    def forward(self, x: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map images (n, c, h, w) and extra inputs (n, e), or None, to logits (n,) and features (n, f)."""
        features = self.hidden(x, extra)
        return self.last(features).squeeze(1), features


def linear_layer(inputs: int, outputs: int, batch_norm: bool) -> list[nn.Module]:
    """Return a linear layer, and batch normalisation (which then brings the constant term) after it."""
    if inputs < 1 or outputs < 1:
        raise ConfigError(f"A layer from {inputs} to {outputs} units cannot be built; both must be 1 or more.")
    linear = nn.Linear(inputs, outputs, bias=not batch_norm)
    return [linear, nn.BatchNorm1d(outputs)] if batch_norm else [linear]


def activation(name: Activation) -> nn.Module:
    """Return the non-linearity of that name."""
    match name:
        case "relu":
            return nn.ReLU()
        case "leaky-relu":
            return nn.LeakyReLU(0.2)
        case "tanh":
            return nn.Tanh()


def initialise(network: nn.Module, std: float | None) -> None:
    """Draw the weights of all layers from N(0, std²) and set their biases to 0, unless std is None."""
    if std is None:
        return
    for part in network.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def channels_last(network: N) -> N:
    """Lay convolutions' weights out in channels-last order, which makes their outputs so too."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def check_extra(extra: Tensor | None, expected: int) -> None:
    """Raise a ConfigError where the extra inputs are not those a network was built for."""
    given = 0 if extra is None else extra.shape[-1]
    if given != expected:
        raise ConfigError(f"The network was built for {expected} extra inputs beside the image, not {given}.")

"""The PixelCNN decoder: p(x|z) as a product over pixels, each given those above and to the left of it.

Following "Conditional image generation with PixelCNN decoders" (van den Oord et al., 2016), a *vertical*
stack sees all rows above a pixel, a *horizontal* stack what is left of it in its row, and the second takes
in the first at every layer, so that there is no blind spot. Kernels are not masked: they have only the taps
that may be seen, and the input is padded (by zeros, a middle grey) on one side.

The channels of a pixel are predicted together, from strictly earlier pixels only; a likelihood that wants
red to inform green does that inside the pixel (`DiscretizedLogisticMixture`).
"""

from collections.abc import Sequence
from typing import Literal, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aegean.config import Config
from aegean.errors import ConfigError
from aegean.nn.conditioning import LocationDependentBias, LocationInvariantBias, SpatialMap
from aegean.nn.kernels.causal_layers import apply_layers, available
from aegean.nn.mlp import Shape, channels_last

#: How the PixelCNN conditions on a code (PixelGAN autoencoders, appendix A.2).
Conditioning = Literal["location-invariant", "location-dependent", "input-channel"]

#: What a condition adds to the vertical and to the horizontal stack of a layer.
Biases = tuple[Tensor | None, Tensor | None]


class PixelCNNConfig(Config):
    """Settings of a `PixelCNN`; the defaults are those of semi-supervised MNIST (PixelGAN, appendix B.1.3).

    Attributes:
        blocks: residual blocks after the first layer, each with one spatial convolution.
        filter: rows and columns of a block's vertical convolution: `(3, 5)` is the upper half of a 5 × 5. Its
            horizontal companion then has the pixel itself and the two left of it.
        first_filter: the same for the first layer, where the companion has only the pixels left of it.
        channels: feature maps of each stack.
        gated: tanh × sigmoid units, on twice the feature maps, instead of ReLU.
        conditioning: a location-invariant bias on both stacks of every layer, a location-dependent bias on
            both stacks of the first layer, or input channels beside the image.
        condition_hidden: hidden units of the map from condition to image, for the latter two.
        condition_maps: feature maps k of that map.
        checkpoint: keep only the inputs of each layer for the backward pass and compute the rest again: less memory for
            a third more time. The kernels for CPUs keep the first inputs alone, in bfloat16 in any case.
    """

    kind: Literal["pixelcnn"] = "pixelcnn"
    blocks: int = Field(default=6, ge=0)
    filter: tuple[int, int] = (3, 5)
    first_filter: tuple[int, int] = (3, 7)
    channels: int = Field(default=32, ge=1)
    gated: bool = False
    conditioning: Conditioning = "location-invariant"
    condition_hidden: int = Field(default=1000, ge=1)
    condition_maps: int = Field(default=1, ge=1)
    checkpoint: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, (rows, columns) in (("filter", self.filter), ("first_filter", self.first_filter)):
            if rows < 1 or columns < 3 or columns % 2 == 0:
                raise ValueError(f"{name} is {rows} by {columns}; it needs 1 or more rows and 3, 5, 7, ... columns.")
        if self.conditioning == "location-invariant":
            for name in ("condition_hidden", "condition_maps"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} has no effect on location-invariant conditioning; leave it out.")
        return self

    def build(self, condition: int, shape: Shape, outputs: int) -> "PixelCNN":
        """Return a network with fresh weights, drawn from PyTorch's global generator.

        Args:
            condition: the length d of the condition, 0 for an unconditional PixelCNN.
            shape: channels, height and width of the images.
            outputs: parameters a pixel, `likelihood.outputs(channels)`.
        """
        return channels_last(PixelCNN(self, condition, shape, outputs))


class PixelCNN(nn.Module):
    """Parameters of a likelihood for each pixel, given the pixels before it in raster order, and a condition.

    Built by `PixelCNNConfig.build`. Unless it conditions by location, its weights fit images of any size.

    Attributes:
        config: the settings.
        condition: the length of the condition, 0 where there is none.
        shape: channels, height and width of the images it was built for.
    """

    def __init__(self, config: PixelCNNConfig, condition: int, shape: Shape, outputs: int) -> None:
        super().__init__()
        if condition < 0 or outputs < 1 or min(shape) < 1:
            raise ConfigError(
                "A PixelCNN needs a condition of 0 or more numbers, images of at least one pixel, and 1 or "
                f"more outputs a pixel; it was given {condition}, {shape} and {outputs}."
            )
        self.config, self.condition, self.shape = config, condition, shape
        inputs, size = shape[0], shape[1:]
        conditioning = config.conditioning if condition else None
        self.input_map: SpatialMap | None = None
        if conditioning == "input-channel":
            self.input_map = SpatialMap(condition, config.condition_maps, size, config.condition_hidden)
            inputs += config.condition_maps

        channels, gated = config.channels, config.gated
        first = CausalLayer(inputs, channels, config.first_filter, gated, residual=False)
        blocks = (CausalLayer(channels, channels, config.filter, gated) for _ in range(config.blocks))
        self.layers = nn.ModuleList([first, *blocks])
        self.hidden = nn.Conv2d(channels, channels, 1)
        self.output = nn.Conv2d(channels, outputs, 1)

        width = 2 * channels if gated else channels
        self.bias: LocationInvariantBias | LocationDependentBias | None = None
        if conditioning == "location-invariant":
            self.bias = LocationInvariantBias(condition, [width, width] * len(self.layers))
        elif conditioning == "location-dependent":
            hidden, maps = config.condition_hidden, config.condition_maps
            self.bias = LocationDependentBias(condition, [width, width], size, hidden, maps)

    @property
    def causal_layers(self) -> list["CausalLayer"]:
        """The first layer and the residual blocks."""
        return cast("list[CausalLayer]", list(self.layers))

    @property
    def receptive_rows(self) -> int:
        """How many rows above a pixel it depends on: the paper's "receptive field of size 9" for 3 blocks."""
        return self.config.first_filter[0] + self.config.blocks * (self.config.filter[0] - 1)

    @property
    def receptive_columns(self) -> int:
        """How many columns to its left it depends on, and in the rows above also to its right."""
        return self.config.first_filter[1] // 2 + self.config.blocks * (self.config.filter[1] // 2)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the parameters of each pixel's distribution.

        Args:
            x: images in [0, 1], (n, c, h, w); the network itself sees them rescaled to [-1, 1].
            condition: (n, d), or None where the network was built without one.

        Returns:
            (n, outputs, h, w), in the precision of the ambient autocast. Those at a pixel depend on no pixel
            at or after it.

        Raises:
            ConfigError: the condition is missing, not wanted, or of the wrong length.
        """
        biases, spatial = self.condition_on(condition)
        pixels, layers = 2.0 * x - 1.0, self.causal_layers
        top = self._top_by_kernel(pixels, biases, spatial)
        if top is None:
            v, h = _enter(pixels, spatial)
            for layer, bias in zip(layers, biases, strict=True):
                if self.config.checkpoint and torch.is_grad_enabled():
                    v, h = checkpoint(layer, v, h, *bias, use_reentrant=False, preserve_rng_state=False)
                else:
                    v, h = layer(v, h, *bias)
            top = F.relu(self.hidden(F.relu(h)), inplace=True)
        params: Tensor = self.output(top)
        return params

    def _top_by_kernel(self, pixels: Tensor, biases: Sequence[Biases], spatial: Tensor | None) -> Tensor | None:
        """The hidden layer's output from one kernel for all layers, on a processor that has it; else None.

        Where a condition gives each pixel a bias or an input of its own, the first layer is done before it.
        """
        layers = self.causal_layers
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else self.hidden.weight.dtype
        fits = dtype in (torch.bfloat16, torch.float32) and self.hidden.weight.dtype == torch.float32
        if len(layers) == 1 or pixels.device.type != "cpu" or not (fits and available(self.config.channels, dtype)):
            return None
        # Products in float32 take longer than it takes to read what they made from memory.
        keep = dtype == torch.float32 and torch.is_grad_enabled() and not self.config.checkpoint
        by_pixel = spatial is not None or isinstance(self.bias, LocationDependentBias) or pixels.requires_grad
        if not by_pixel:
            return apply_layers(pixels, None, layers, self.hidden, _stacked(biases), dtype, keep)
        v, h = layers[0](*_enter(pixels, spatial), *biases[0])
        return apply_layers(v, h, layers[1:], self.hidden, _stacked(biases[1:]), dtype, keep)

    def condition_on(self, condition: Tensor | None) -> tuple[list[Biases], Tensor | None]:
        """Return the biases (vertical, horizontal) of each layer and the input map that a condition makes."""
        given = 0 if condition is None else condition.shape[-1]
        if given != self.condition:
            raise ConfigError(f"The PixelCNN was built for a condition of {self.condition} numbers, not {given}.")
        biases = () if self.bias is None else self.bias(condition)
        pairs = list(zip(biases[::2], biases[1::2], strict=True))
        spatial = None if self.input_map is None else self.input_map(condition)
        return pairs + [(None, None)] * (len(self.layers) - len(pairs)), spatial


class CausalLayer(nn.Module):
    """Weights of one layer: a vertical and a horizontal convolution, the link between them and the way out.

    Args:
        inputs: feature maps that enter each stack.
        channels: feature maps that leave each stack.
        filter: rows and columns of the vertical convolution.
        gated: tanh × sigmoid units instead of ReLU.
        residual: the horizontal stack adds to its input. Only the first layer, on the image, does not.
    """

    def __init__(self, inputs: int, channels: int, filter: tuple[int, int], gated: bool, residual: bool = True) -> None:
        super().__init__()
        rows, columns = filter
        width = 2 * channels if gated else channels
        self.rows, self.gated, self.residual = rows, gated, residual
        # The first layer's input is shifted: its last tap is not the pixel itself but the one before.
        self.taps = columns // 2 + 1 if residual else columns // 2
        self.vertical = nn.Conv2d(inputs, width, (rows, columns), padding=(0, columns // 2))
        self.horizontal = nn.Conv2d(inputs, width, (1, self.taps))
        # It leaves the vertical convolution before its non-linearity (van den Oord et al., 2016, figure 2).
        self.link = nn.Conv2d(width, width, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)
        # The vertical stack has no residual path: with PyTorch's own initialisation it fades by 0.4 a layer.
        nn.init.kaiming_normal_(self.vertical.weight, nonlinearity="relu")

    def forward(self, v: Tensor, h: Tensor, bias_v: Tensor | None, bias_h: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map the inputs of the vertical and the horizontal stack, (n, inputs, h, w), to their outputs.

        Args:
            v: input of the vertical stack.
            h: input of the horizontal stack.
            bias_v: bias of the vertical stack from a condition, broadcast to its width, or None.
            bias_h: that of the horizontal stack.
        """
        u = self.vertical(F.pad(v, (0, 0, self.rows - 1, 0)))
        u = u if bias_v is None else u.add_(bias_v)
        link = self.link(u)
        link = link if bias_h is None else link.add_(bias_h)
        above = self.horizontal(F.pad(h, (self.taps - 1, 0, 0, 0)))
        out = self.out(self.nonlinearity(link.add_(above)))
        return self.nonlinearity(u), out.add_(h) if self.residual else out

    def nonlinearity(self, u: Tensor) -> Tensor:
        """Map (n, width, ...) to (n, channels, ...)."""
        if not self.gated:
            return F.relu(u)
        a, b = u.chunk(2, dim=1)
        return torch.tanh(a) * torch.sigmoid(b)


def _stacked(biases: Sequence[Biases]) -> Tensor | None:
    """Biases (n, width, 1, 1) of both stacks of several layers as (n, layers, 2, width), or None."""
    flat = [bias.flatten(1) for pair in biases for bias in pair if bias is not None]
    return torch.stack(flat, dim=1).reshape(len(flat[0]), len(biases), 2, -1) if flat else None


def _enter(pixels: Tensor, spatial: Tensor | None) -> tuple[Tensor, Tensor]:
    """Inputs of both stacks: the image one row down, and one column right. From here a layer may see its own pixel."""
    return _beside(F.pad(pixels, (0, 0, 1, -1)), spatial), _beside(F.pad(pixels, (1, -1, 0, 0)), spatial)


def _beside(image: Tensor, spatial: Tensor | None) -> Tensor:
    """Put the condition's maps beside the image's channels; unlike the image, a pixel may see its own."""
    image = image if spatial is None else torch.cat((image, spatial), dim=1)
    return image.contiguous(memory_format=torch.channels_last)

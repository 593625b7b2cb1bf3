"""Drawing images from a PixelCNN, pixel by pixel.

`sample` keeps what each layer has already computed: the vertical stack advances a row at a time over a window
of its last few rows, the horizontal stack a pixel at a time over a buffer of the current row. A pixel costs
one pixel's work. `sample_naive` runs the whole network for each pixel: slow, short, and the same images.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from aegean.errors import ConfigError
from aegean.nn.kernels.causal_pixel import PixelKernel, available
from aegean.nn.pixelcnn import PixelCNN


class PixelLikelihood(Protocol):
    """What sampling needs of a likelihood: to turn parameters and uniform noise into pixels."""

    def noise_shape(self, channels: int, h: int, w: int) -> tuple[int, ...]:
        """Return the shape of the noise of one image; its last two dimensions are h and w."""

    def sample_from(self, params: Tensor, uniforms: Tensor) -> Tensor:
        """Map parameters (n, outputs, h, w) and noise (n, ..., h, w) in (0, 1) to pixels in [0, 1]."""


@torch.no_grad()
def sample(
    net: PixelCNN,
    likelihood: PixelLikelihood,
    condition: Tensor | None,
    n: int,
    shape: tuple[int, int, int],
    *,
    generator: torch.Generator | None = None,
    uniforms: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
    given: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Draw images, at the cost of one pixel's work a pixel.

    Args:
        net: the network.
        likelihood: what its outputs parametrise.
        condition: (n, d), or None for an unconditional network.
        n: how many images.
        shape: their channels, height and width.
        generator: what the noise is drawn from; one on the CPU gives the same noise for every device.
        uniforms: the noise itself, (n, *likelihood.noise_shape(*shape)), in place of a generator.
        progress: called after each row with the rows done and the rows in all.
        given: images in [0, 1], (n, c, h, w), some of whose pixels are to be kept.
        known: True where a pixel of `given` is kept; boolean, (h, w) or (n, 1, h, w). A drawn pixel takes
            account of the kept ones before it (above, and to its left), not of those after it.

    Returns:
        Images in [0, 1], float32, (n, c, h, w).

    Raises:
        ConfigError: the arguments do not fit the network or each other.
    """
    uniforms = _check(
        net, likelihood, condition, n, shape, generator=generator, uniforms=uniforms, given=given, known=known
    )
    (_, height, width), device = shape, uniforms.device
    biases, spatial = net.condition_on(condition)
    if spatial is None:
        spatial = torch.zeros(n, 0, height, width, device=device)
    images = torch.zeros(n, *shape, device=device)
    kind = PixelKernel if available(net) else _Columns
    columns = kind(net, n, width)
    rows = [torch.zeros(n, layer.vertical.in_channels, layer.rows, width, device=device) for layer in net.causal_layers]

    # What stands above the first row and left of the first pixel is 0, the padding of `PixelCNN.forward`.
    row_above = torch.zeros(n, shape[0], 1, width, device=device)
    for i in range(height):
        # The vertical stack: one new row in each layer.
        v, links = torch.cat((row_above, spatial[:, :, i : i + 1]), dim=1), []
        for k, (layer, (bias_v, bias_h)) in enumerate(zip(net.causal_layers, biases, strict=True)):
            rows[k] = torch.cat((rows[k][:, :, 1:], v), dim=2)
            u = layer.vertical(rows[k])
            u = u if bias_v is None else u + _row(bias_v, i)
            link = layer.link(u)
            links.append(link if bias_h is None else link + _row(bias_h, i))
            v = layer.nonlinearity(u)
        columns.begin_row(links)

        # The horizontal stack and the head: one new pixel in each layer.
        left = torch.zeros(n, shape[0], device=device)
        for j in range(width):
            params = columns.advance(torch.cat((left, spatial[:, :, i, j]), dim=1), j)
            noise = uniforms[..., i : i + 1, j : j + 1]
            pixel = likelihood.sample_from(params.float()[:, :, None, None], noise)
            if given is not None and known is not None:
                pixel = torch.where(known[..., i : i + 1, j : j + 1], given[:, :, i : i + 1, j : j + 1], pixel)
            images[:, :, i : i + 1, j : j + 1] = pixel
            left = 2.0 * pixel[:, :, 0, 0] - 1.0
        row_above = 2.0 * images[:, :, i : i + 1] - 1.0
        if progress is not None:
            progress(i + 1, height)
    return images


@torch.no_grad()
def sample_naive(
    net: PixelCNN,
    likelihood: PixelLikelihood,
    condition: Tensor | None,
    n: int,
    shape: tuple[int, int, int],
    *,
    generator: torch.Generator | None = None,
    uniforms: Tensor | None = None,
    given: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Do what `sample` does with one pass of the whole network a pixel: a reference to test by."""
    uniforms = _check(
        net, likelihood, condition, n, shape, generator=generator, uniforms=uniforms, given=given, known=known
    )
    images = torch.zeros(n, *shape, device=uniforms.device)
    for i in range(shape[1]):
        for j in range(shape[2]):
            at = (..., slice(i, i + 1), slice(j, j + 1))
            pixel = likelihood.sample_from(net(images, condition).float()[at], uniforms[at])
            if given is not None and known is not None:
                pixel = torch.where(known[at], given[at], pixel)
            images[at] = pixel
    return images


class _Columns:
    """The horizontal stack of all layers in the row being drawn, and the layers after it; see `PixelKernel`."""

    def __init__(self, net: PixelCNN, n: int, width: int) -> None:
        device = net.output.weight.device
        self.layers = net.causal_layers
        # The kernels as matrices on (taps, channels); the row's inputs, after taps - 1 columns of padding.
        self.kernels = [layer.horizontal.weight[:, :, 0].transpose(1, 2).flatten(1) for layer in self.layers]
        self.outs = [layer.out.weight.flatten(1) for layer in self.layers]
        self.inputs = [
            torch.zeros(n, layer.taps - 1 + width, layer.horizontal.in_channels, device=device) for layer in self.layers
        ]
        self.head = [(module.weight.flatten(1), module.bias) for module in (net.hidden, net.output)]
        self.links: list[Tensor] = []

    def begin_row(self, links: list[Tensor]) -> None:
        """Take each layer's link from the vertical stack, with the condition's bias: (n, width, 1, w)."""
        self.links = [link[:, :, 0].permute(2, 0, 1).contiguous() for link in links]

    def advance(self, left: Tensor, j: int) -> Tensor:
        """Map what the first layer sees at column j, (n, inputs), to the parameters there, (n, outputs)."""
        h = left
        for layer, kernel, out, inputs, link in zip(
            self.layers, self.kernels, self.outs, self.inputs, self.links, strict=True
        ):
            inputs[:, layer.taps - 1 + j] = h
            window = inputs[:, j : j + layer.taps].flatten(1)
            u = F.linear(window, kernel, layer.horizontal.bias) + link[j]
            new = F.linear(layer.nonlinearity(u), out, layer.out.bias)
            h = new + h if layer.residual else new
        for weight, bias in self.head:
            h = F.linear(F.relu(h), weight, bias)
        return h


def _row(bias: Tensor, i: int) -> Tensor:
    """Row i of a bias of shape (n, ..., h, w), or the only one of (n, ..., 1, 1)."""
    return bias if bias.shape[2] == 1 else bias[:, :, i : i + 1]


def _check(
    net: PixelCNN,
    likelihood: PixelLikelihood,
    condition: Tensor | None,
    n: int,
    shape: tuple[int, int, int],
    *,
    generator: torch.Generator | None,
    uniforms: Tensor | None,
    given: Tensor | None,
    known: Tensor | None,
) -> Tensor:
    """Raise where arguments do not fit; return the noise."""
    if n < 1:
        raise ConfigError(f"Cannot draw {n} images; ask for 1 or more.")
    anywhere = not net.condition or net.config.conditioning == "location-invariant"
    if shape[0] != net.shape[0] or min(shape) < 1 or (shape != net.shape and not anywhere):
        raise ConfigError(f"The PixelCNN draws images of shape {net.shape}; {shape} was asked for.")
    if condition is not None and condition.shape[:1] != (n,):
        raise ConfigError(f"{n} images need {n} conditions; {len(condition)} were given.")
    if (given is None) != (known is None):
        raise ConfigError("`given` (images) and `known` (which of their pixels to keep) are only of use together.")
    if given is not None and given.shape != (n, *shape):
        raise ConfigError(f"`given` must be of shape {(n, *shape)}, not {tuple(given.shape)}.")
    if known is not None and (known.dtype != torch.bool or known.shape not in (shape[1:], (n, 1, *shape[1:]))):
        raise ConfigError(
            f"`known` must be boolean and of shape {shape[1:]} or {(n, 1, *shape[1:])}, "
            f"not {known.dtype} and {tuple(known.shape)}."
        )
    expected = (n, *likelihood.noise_shape(*shape))
    if uniforms is None:
        device = next(net.parameters()).device
        drawn = torch.rand(expected, generator=generator, device=device if generator is None else generator.device)
        return drawn.clamp(min=2.0**-25).to(device)  # rand gives multiples of 2^-24, 0 among them, and never 1
    if uniforms.shape != expected:
        raise ConfigError(f"`uniforms` must be of shape {expected}, not {tuple(uniforms.shape)}.")
    return uniforms

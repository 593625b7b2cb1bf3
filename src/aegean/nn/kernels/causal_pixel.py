"""One pixel of a PixelCNN's horizontal stack and head in one call, in float32 (`causal_pixel.cpp`)."""

import ctypes
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from aegean.nn.kernels import enabled, library, pointers

if TYPE_CHECKING:
    from aegean.nn.pixelcnn import PixelCNN


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("inputs", "channels", "gated", "residual", "taps")),
        *((name, ctypes.c_void_p) for name in ("row", "link", "kernel", "out", "bias")),
    ]


class _Stack(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("images", "layers", "columns", "outputs", "threads")),
        *((name, ctypes.c_void_p) for name in ("layer", "hidden", "hidden_bias", "output", "output_bias")),
    ]


def available(net: "PixelCNN") -> bool:
    """Whether this machine has the kernel, for a network where it is and of its number format."""
    weight = net.output.weight
    fits = weight.device.type == "cpu" and weight.dtype == torch.float32
    return fits and enabled() and library("causal_pixel", torch.float32) is not None


class PixelKernel:
    """The horizontal stack of all layers in the row being drawn, and the layers after it.

    Args:
        net: the network, with float32 weights on the CPU.
        n: how many images.
        width: their width.
    """

    def __init__(self, net: "PixelCNN", n: int, width: int) -> None:
        self.layers = net.causal_layers
        self._kept: list[Tensor] = []  # what the structures point to
        self._structures = (_Layer * len(self.layers))()
        self._links: list[Tensor] = []
        for layer, to in zip(self.layers, self._structures, strict=True):
            inputs = layer.horizontal.in_channels
            to.inputs, to.channels, to.gated = inputs, layer.out.in_channels, int(layer.gated)
            to.residual, to.taps = int(layer.residual), layer.taps
            to.row = self._keep(torch.zeros(n, layer.taps - 1 + width, inputs))
            # (outputs, inputs, 1, taps) to (taps x inputs, outputs)
            to.kernel = self._keep(layer.horizontal.weight[:, :, 0].permute(2, 1, 0).flatten(0, 1))
            to.out = self._keep(layer.out.weight.flatten(1).t())
            to.bias = self._keep(_bias(layer.out))
        self._stack = _Stack(
            images=n,
            layers=len(self.layers),
            columns=width,
            outputs=net.output.out_channels,
            threads=torch.get_num_threads(),
            layer=ctypes.cast(self._structures, ctypes.c_void_p),
            hidden=self._keep(net.hidden.weight.flatten(1).t()),
            hidden_bias=self._keep(_bias(net.hidden)),
            output=self._keep(net.output.weight.flatten(1).t()),
            output_bias=self._keep(_bias(net.output)),
        )
        self.params = torch.zeros(n, net.output.out_channels)
        found = library("causal_pixel", torch.float32)
        assert found is not None  # noqa: S101 - see `available`
        self._function = found.causal_pixel

    def _keep(self, tensor: Tensor) -> int:
        tensor = tensor.detach().float().contiguous()
        self._kept.append(tensor)
        return tensor.data_ptr()

    def begin_row(self, links: list[Tensor]) -> None:
        """Take each layer's link from the vertical stack, with the condition's bias: (n, width, 1, w)."""
        self._links = []
        for layer, link, to in zip(self.layers, links, self._structures, strict=True):
            by_column = (link[:, :, 0] + _bias(layer.horizontal)[:, None]).permute(2, 0, 1).float().contiguous()
            self._links.append(by_column)
            to.link = by_column.data_ptr()

    def advance(self, left: Tensor, j: int) -> Tensor:
        """Map what the first layer sees at column j, (n, inputs), to the parameters there, (n, outputs)."""
        left = left.contiguous()
        self._function(ctypes.byref(self._stack), j, *pointers(left, self.params))
        return self.params


def _bias(layer: torch.nn.Conv2d) -> Tensor:
    assert layer.bias is not None  # noqa: S101 - these layers have one
    return layer.bias

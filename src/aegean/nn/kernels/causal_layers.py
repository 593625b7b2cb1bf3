"""The layers of a PixelCNN as one differentiable operation in bfloat16 or float32 (`causal_layers.cpp`).

The mathematics is that of `aegean.nn.pixelcnn`; sums are kept in float32 where PyTorch rounds each operation's result.
"""

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aegean.nn.kernels import enabled, library, pointers

if TYPE_CHECKING:
    from aegean.nn.pixelcnn import CausalLayer

_MULTIPLE = 32  # of channels


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            *("images", "height", "width", "channels", "gated", "blocks", "rows", "columns"),
            *("inputs", "first_rows", "first_columns", "threads"),
        )
    ]


def available(channels: int, dtype: torch.dtype = torch.bfloat16) -> bool:
    """Whether this machine has the kernel, for so many channels in a format."""
    return enabled() and channels % _MULTIPLE == 0 and _library(dtype) is not None


@lru_cache
def _library(dtype: torch.dtype) -> ctypes.CDLL | None:
    found = library("causal_layers", dtype)
    if found is not None:
        found.causal_layers_kept.restype = ctypes.c_long
    # Tiles may be used only after the system was asked, once a process.
    return found if found is not None and found.causal_layers_kind() > 0 else None


def apply_layers(
    v: Tensor,
    h: Tensor | None,
    layers: "Sequence[CausalLayer]",
    hidden: nn.Conv2d,
    condition: Tensor | None,
    dtype: torch.dtype = torch.bfloat16,
    keep: bool = False,
) -> Tensor:
    """Return relu(hidden(relu(h'))), where h' is what the horizontal stack makes in all layers.

    Args:
        v: input of the vertical stack, (n, channels, h, w); or, with the first layer, the rescaled image, which then
            gets no gradient.
        h: input of the horizontal stack, (n, channels, h, w); None with the first layer.
        layers: residual blocks of the same settings, one or more; before them perhaps the first layer.
        hidden: a 1 × 1 convolution that keeps the number of channels.
        condition: biases (n, layers, 2, width) of the vertical and the horizontal stack, or None.
        dtype: format of the feature maps, `torch.bfloat16` or `torch.float32`.
        keep: keep what the layers compute for the backward pass instead of computing it again there.

    Returns:
        (n, channels, h, w), of that format, channels last.
    """
    parts = [part for layer in layers for part in (layer.vertical, layer.horizontal, layer.link, layer.out)]
    weights = [weight for part in (*parts, hidden) for weight in (part.weight, part.bias) if weight is not None]
    parameters = torch.cat([weight.reshape(-1) for weight in weights])
    first, block = layers[0].vertical if h is None else None, layers[-1]
    rows, columns = block.vertical.kernel_size
    settings = {"channels": block.out.in_channels, "gated": int(block.gated), "rows": rows, "columns": columns}
    settings["blocks"] = len(layers) - (first is not None)
    if first is not None:
        settings |= dict(
            zip(("inputs", "first_rows", "first_columns"), (first.in_channels, *first.kernel_size), strict=True)
        )
    entering = _pixels(v, dtype)
    beside = None if h is None else _pixels(h, dtype)
    output: Tensor = _Layers.apply(  # type: ignore[no-untyped-call]
        entering.detach() if h is None else entering, beside, parameters, condition, settings, keep
    )
    return output.permute(0, 3, 1, 2)


def _pixels(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype).permute(0, 2, 3, 1).contiguous()


class _Layers(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        v: Tensor,
        h: Tensor | None,
        parameters: Tensor,
        condition: Tensor | None,
        settings: dict[str, int],
        keep: bool,
    ) -> Tensor:
        parameters = parameters.float().contiguous()
        condition = None if condition is None else condition.float().contiguous()
        n, height, width, _ = v.shape
        ctx.shape = _Shape(images=n, height=height, width=width, threads=torch.get_num_threads(), **settings)
        kept = None
        if keep:
            found = _library(v.dtype)
            assert found is not None  # noqa: S101 - see `available`
            kept = torch.empty(n, found.causal_layers_kept(ctypes.byref(ctx.shape)), dtype=v.dtype)
        ctx.save_for_backward(v, h, parameters, condition, kept)
        output = torch.empty(n, height, width, settings["channels"], dtype=v.dtype)
        _call("causal_layers_forward", v.dtype, ctx.shape, parameters, condition, v, h, output, kept)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        v, h, parameters, condition, kept = ctx.saved_tensors
        shape = ctx.shape
        gradient = gradient.to(v.dtype).contiguous()
        dv, dh = (None, None) if h is None else (torch.empty_like(v), torch.empty_like(h))
        d_parameters = torch.empty_like(parameters)
        width, layers = (1 + shape.gated) * shape.channels, shape.blocks + (shape.inputs > 0)
        d_condition = torch.empty(shape.images, layers, 2, width)
        tensors = (parameters, condition, v, h, gradient, dv, dh, d_parameters, d_condition, kept)
        _call("causal_layers_backward", v.dtype, shape, *tensors)
        return dv, dh, d_parameters, None if condition is None else d_condition, None, None


def _call(name: str, dtype: torch.dtype, shape: _Shape, *tensors: Tensor | None) -> None:
    if getattr(_library(dtype), name)(ctypes.byref(shape), *pointers(*tensors)):
        raise MemoryError("There is not enough memory for the PixelCNN; lower the batch size.")

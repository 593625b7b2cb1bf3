"""All residual blocks of a PixelCNN and the hidden layer after them, as one operation (`causal_blocks.cpp`).

The mathematics is that of `aegean.nn.pixelcnn`; sums are kept in float32 where PyTorch rounds each operation's result.
"""

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aegean.nn.kernels import enabled, library

if TYPE_CHECKING:
    from aegean.nn.pixelcnn import CausalLayer

_MULTIPLE = 32  # of channels


class _Shape(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int)
        for name in ("images", "height", "width", "channels", "gated", "blocks", "rows", "columns", "threads")
    ]


def available(channels: int) -> bool:
    """Whether this machine has the kernel, for so many channels."""
    return enabled() and channels % _MULTIPLE == 0 and _library() is not None


@lru_cache
def _library() -> ctypes.CDLL | None:
    found = library("causal_blocks")
    # Tiles may be used only after the system was asked, once a process.
    return found if found is not None and found.causal_blocks_kind() > 0 else None


def apply_blocks(
    v: Tensor, h: Tensor, blocks: "Sequence[CausalLayer]", hidden: nn.Conv2d, condition: Tensor | None
) -> Tensor:
    """Return relu(hidden(relu(h'))), where h' is what the horizontal stack makes of the inputs of both stacks.

    Args:
        v: input of the vertical stack, (n, channels, h, w).
        h: input of the horizontal stack, of the same shape.
        blocks: residual blocks of the same settings.
        hidden: a 1 × 1 convolution that keeps the number of channels.
        condition: biases (n, blocks, 2, width) of the vertical and the horizontal stack, or None.

    Returns:
        (n, channels, h, w), bfloat16, channels last.
    """
    layers = [layer for block in blocks for layer in (block.vertical, block.horizontal, block.link, block.out)]
    weights = [weight for layer in (*layers, hidden) for weight in (layer.weight, layer.bias) if weight is not None]
    parameters = torch.cat([weight.reshape(-1) for weight in weights])
    layout = (blocks[0].gated, len(blocks), blocks[0].rows, blocks[0].vertical.kernel_size[1])
    output: Tensor = _Blocks.apply(_pixels(v), _pixels(h), parameters, condition, layout)  # type: ignore[no-untyped-call]
    return output.permute(0, 3, 1, 2)


def _pixels(x: Tensor) -> Tensor:
    return x.to(torch.bfloat16).permute(0, 2, 3, 1).contiguous()


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, h: Tensor, parameters: Tensor, condition: Tensor | None, layout: Any) -> Tensor:
        parameters = parameters.float().contiguous()
        condition = None if condition is None else condition.float().contiguous()
        ctx.shape = _shape(v, layout)
        ctx.save_for_backward(v, h, parameters, condition)
        output = torch.empty_like(h)
        _call("causal_blocks_forward", ctx.shape, parameters, condition, v, h, output)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        v, h, parameters, condition = ctx.saved_tensors
        shape = ctx.shape
        gradient = gradient.to(torch.bfloat16).contiguous()
        dv, dh, d_parameters = torch.empty_like(v), torch.empty_like(h), torch.empty_like(parameters)
        width = 2 * shape.channels if shape.gated else shape.channels
        d_condition = torch.empty(shape.images, shape.blocks, 2, width)
        tensors = (parameters, condition, v, h, gradient, dv, dh, d_parameters, d_condition)
        _call("causal_blocks_backward", shape, *tensors)
        return dv, dh, d_parameters, None if condition is None else d_condition, None


def _shape(v: Tensor, layout: tuple[bool, int, int, int]) -> _Shape:
    n, height, width, channels = v.shape
    gated, blocks, rows, columns = layout
    return _Shape(n, height, width, channels, int(gated), blocks, rows, columns, torch.get_num_threads())


def _call(name: str, shape: _Shape, *tensors: Tensor | None) -> None:
    pointers = [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]
    if getattr(_library(), name)(ctypes.byref(shape), *pointers):
        raise MemoryError("There is not enough memory for the PixelCNN; lower the batch size.")

"""Max-pooling of 2 × 2, as one differentiable operation in bfloat16 (`max_pool.cpp`)."""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn

from aegean.nn.kernels import library, pointers, takes


class MaxPoolHalf(nn.MaxPool2d):
    """`nn.MaxPool2d` of 2 × 2, which keeps the last row and column of an odd size."""

    def __init__(self) -> None:
        super().__init__(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to half the height and width, rounded up."""
        if not takes(x, "max_pool"):
            pooled: Tensor = super().forward(x)
            return pooled
        output: Tensor = _MaxPool.apply(x.permute(0, 2, 3, 1))  # type: ignore[no-untyped-call]
        return output.permute(0, 3, 1, 2)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        n, height, width, channels = x.shape
        y = x.new_empty(n, (height + 1) // 2, (width + 1) // 2, channels)
        _call("max_pool_forward", x, y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        dx = torch.empty_like(x)
        _call("max_pool_backward", x, gradient.to(torch.bfloat16).contiguous(), dx)
        return dx


def _call(name: str, x: Tensor, *others: Tensor) -> None:
    sizes = [ctypes.c_int(size) for size in (*x.shape, torch.get_num_threads())]
    getattr(library("max_pool"), name)(*sizes, *pointers(x, *others))

"""Batch normalisation followed by ReLU, as one differentiable operation in bfloat16 (`batch_norm_relu.cpp`)."""

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aegean.nn.kernels import library, pointers, takes


class BatchNormReLU(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, then ReLU: the same weights, statistics and results, up to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        if not (self.training and self.momentum is not None and takes(x, "batch_norm_relu")):
            return F.relu(super().forward(x), inplace=True)
        output, mean, variance = _BatchNormReLU.apply(x.permute(0, 2, 3, 1), self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        self._follow(mean, variance, x.numel() // x.shape[1])
        result: Tensor = output.permute(0, 3, 1, 2)
        return result

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, pixels: int) -> None:
        """Move the running statistics towards the batch's, of which the variance is made unbiased."""
        assert self.running_mean is not None  # noqa: S101 - track_running_stats is always on here
        assert self.running_var is not None  # noqa: S101
        assert self.num_batches_tracked is not None  # noqa: S101
        momentum = self.momentum or 0.0
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (pixels / max(pixels - 1, 1)), momentum)
        self.num_batches_tracked += 1


class _BatchNormReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        x, channels = x.contiguous(), x.shape[-1]
        y, (mean, variance, inverse) = torch.empty_like(x), torch.empty(3, channels)
        tensors = (x, weight, bias, y, mean, variance, inverse)
        _call("batch_norm_relu_forward", x, (ctypes.c_float(eps),), tensors)
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        gradient = gradient.to(torch.bfloat16).contiguous()
        dx, d_weight, d_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
        tensors = (x, gradient, weight, bias, mean, inverse, dx, d_weight, d_bias)
        _call("batch_norm_relu_backward", x, (), tensors)
        return dx, d_weight, d_bias, None


def _call(name: str, x: Tensor, settings: tuple[ctypes.c_float, ...], tensors: tuple[Tensor, ...]) -> None:
    pixels, channels = x.numel() // x.shape[-1], x.shape[-1]
    sizes = (ctypes.c_long(pixels), ctypes.c_int(channels), ctypes.c_int(torch.get_num_threads()))
    getattr(library("batch_norm_relu"), name)(*sizes, *settings, *pointers(*tensors))

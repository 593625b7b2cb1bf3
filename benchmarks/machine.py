"""What this machine can do at best: multiplications of matrices, and movement of memory."""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F


def median_seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """Median time of a piece of work after one warm-up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matmul_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Floating-point operations a second of a large matrix product."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    out = torch.empty(size, size, dtype=dtype)
    return 2 * size**3 / median_seconds(lambda: torch.mm(a, b, out=out))


def memory_bandwidth(megabytes: int = 256) -> float:
    """Bytes a second, reads and writes together, of an addition of arrays that fit no cache."""
    n = megabytes * 1_000_000 // 4
    a, b, out = torch.ones(n), torch.ones(n), torch.empty(n)
    return 3 * 4 * n / median_seconds(lambda: torch.add(a, b, out=out))


def convolution_rate(dtype: torch.dtype, batch: int = 100) -> float:
    """Operations a second of a large convolution, channels last."""
    x = torch.randn(batch, 64, 28, 28).to(dtype).contiguous(memory_format=torch.channels_last)
    w = torch.randn(64, 64, 5, 5).to(dtype).contiguous(memory_format=torch.channels_last)
    return 2 * batch * 784 * 64 * 64 * 25 / median_seconds(lambda: F.conv2d(x, w, padding=2))


def steps_per_second(step: Callable[[], object], seconds: float) -> float:
    """How often a step is done in a second, measured for so many seconds after three steps of warm-up."""
    for _ in range(3):
        step()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
        done += 1
    return done / (time.perf_counter() - start)

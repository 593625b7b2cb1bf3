"""What this machine can do at best: multiplications of matrices, and movement of memory."""

import statistics
import time
from collections.abc import Callable

import torch


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

"""Parzen-window log-likelihood of MNIST-shaped images: how near its pairs come to the speed of a matrix product.

A pair of a centre and an image costs a product of two vectors of 784 numbers. Table 1 of "Adversarial Autoencoders"
takes ten million centres and ten thousand test images. The time to make the centres is not in these figures.
"""

import json
import math
import statistics
import time

import torch
from torch import Tensor

from aegean.evaluate.parzen import log_density
from benchmarks.machine import matmul_rate

PIXELS, CENTRES, IMAGES, SIGMAS, REPEATS = 784, 20_000, 4_000, (0.167, 0.15), 5


def images(n: int, seed: int) -> Tensor:
    """Images in [0, 1] with dark and bright pixels; speed does not depend on what they show."""
    generator = torch.Generator().manual_seed(seed)
    strokes = torch.rand(20, PIXELS, generator=torch.Generator().manual_seed(99)) < 0.1
    which = torch.rand(n, 20, generator=generator) < 0.15
    noise = 0.1 * torch.rand(n, PIXELS, generator=generator)
    return ((which.float() @ strokes.float()).clamp(max=1) * 0.9 + noise).clamp(0, 1)


def relative_error(centres: Tensor, x: Tensor, sigma: float) -> float:
    """Relative error of the mean log-likelihood against the formula in float64."""
    found = log_density(lambda start, stop: centres[start:stop], len(centres), x, [sigma]).mean()
    c, exact = centres.double(), x.double()
    squares = torch.stack([(c - image).square().sum(dim=1) for image in exact])
    volume = math.log(len(c)) + PIXELS / 2 * math.log(2 * math.pi * sigma**2)
    expected = (torch.logsumexp(-squares / (2 * sigma**2), dim=1) - volume).mean()
    return abs(float(found / expected) - 1)


def measure() -> dict[str, float]:
    """Everything, as numbers by name."""
    centres, x = images(CENTRES, 0), images(IMAGES, 1)
    log_density(lambda start, stop: centres[start:stop], 4000, x, SIGMAS)  # warm-up
    rates, shares = [], []
    for _ in range(REPEATS):  # in turns, because the clock of a processor and its other work change
        limit = matmul_rate(torch.float32)
        start = time.perf_counter()
        log_density(lambda start, stop: centres[start:stop], CENTRES, x, SIGMAS)
        rates.append(CENTRES * IMAGES / (time.perf_counter() - start))
        shares.append(2 * PIXELS * rates[-1] / limit)
    pairs = statistics.median(rates)
    return {
        "pairs a second, 1e6": pairs / 1e6,
        "minutes for 10 million centres and 10,000 images": 1e7 * 1e4 / pairs / 60,
        "share of the rate of float32 matrix products": statistics.median(shares),
        "relative error of the mean against float64, 1e-6": 1e6 * relative_error(centres[:5000], x[:100], 0.167),
        "threads": float(torch.get_num_threads()),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))

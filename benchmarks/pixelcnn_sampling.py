"""Drawing images from a PixelCNN: the cached sampler beside the naive one, which runs the whole network for each pixel.

Both have the same weights and noise, and their images are compared. The naive sampler is timed on the first pixels of
each image and its time scaled to all, as each costs the same.

    python -m benchmarks.pixelcnn_sampling
"""

import json
import time

import torch

from aegean.likelihoods import Bernoulli, DiscretizedLogisticMixture
from aegean.nn import PixelCNNConfig
from aegean.nn.pixelcnn_sampling import sample, sample_naive


def seconds(work) -> float:
    """Time of one run after none of warm-up."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure() -> dict[str, float]:
    """Everything, as numbers by name."""
    torch.manual_seed(0)
    likelihood, shape, n = Bernoulli(), (1, 28, 28), 16
    net = PixelCNNConfig(blocks=6, channels=32).build(10, shape, 1).eval()
    condition = torch.randn(n, 10)
    uniforms = torch.rand(n, *likelihood.noise_shape(*shape)).clamp(min=2.0**-25)

    def cached() -> torch.Tensor:
        return sample(net, likelihood, condition, n, shape, uniforms=uniforms)

    fast = min(seconds(cached) for _ in range(5))
    images = cached()
    start = time.perf_counter()
    slow_images = sample_naive(net, likelihood, condition, n, shape, uniforms=uniforms)
    slow = time.perf_counter() - start

    large = (3, 32, 32)
    mixture = DiscretizedLogisticMixture(components=10)
    deep = PixelCNNConfig(blocks=20, channels=64, gated=True).build(10, large, mixture.outputs(3)).eval()
    colour = seconds(lambda: sample(deep, mixture, torch.randn(64, 10), 64, large))
    return {
        "16 images of 28x28, 6 blocks of 32: seconds": fast,
        "the same, naive sampler: seconds": slow,
        "ratio": slow / fast,
        "share of equal pixels": float((images == slow_images).float().mean()),
        "64 images of 32x32x3, 20 gated blocks of 64: seconds": colour,
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))

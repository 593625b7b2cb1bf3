"""Training a PixelCNN: beside pytorch-generative's, and the semi-supervised PixelGAN recipe of MNIST.

A Gated PixelCNN with six layers of 32 channels after the first, 28x28, batches of 100, forward and backward pass and
Adam. The peer has the form of pytorch-generative's `GatedPixelCNN`: 1 x N after N x 1 convolutions with padding and
cropping, float32, contiguous. Where the environment variable PYTORCH_GENERATIVE names a copy of its source, that is
run; otherwise `PlainGatedPixelCNN`, the same layers written down again. Ours has the same kernels, N = 7 and N = 3.

Each measurement is a process of its own; they take turns, and medians are compared.

    python -m benchmarks.pixelcnn_training          all
    python -m benchmarks.pixelcnn_training ours     one measurement
"""

import json
import os
import statistics
import subprocess
import sys
from unittest.mock import MagicMock, patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.machine import convolution_rate, steps_per_second

BATCH, LAYERS, CHANNELS, REPEATS, SECONDS = 100, 6, 32, 3, 6.0


def batch() -> Tensor:
    """Random binary images of MNIST's shape; speed does not depend on what they show."""
    return (torch.rand(BATCH, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.2).float()


class PlainLayer(nn.Module):
    """One layer of the peer's form."""

    def __init__(self, inputs: int, channels: int, kernel: int, first: bool) -> None:
        super().__init__()
        pad, half = kernel // 2, kernel // 2 + 1
        self.first = first
        self.across = nn.Conv2d(inputs, channels, (1, kernel), padding=(0, pad))
        self.down = nn.Conv2d(channels, 2 * channels, (half, 1), padding=(pad + 1, 0))
        self.beside = nn.Conv2d(inputs, 2 * channels, 1)
        self.link = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.horizontal = nn.Conv2d(inputs, 2 * channels, (1, half), padding=(0, pad + first))
        self.out = nn.Conv2d(channels, channels, 1)
        self.skip = nn.Conv2d(channels, channels, 1)

    def forward(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map both stacks to both stacks and the skip connection."""
        height, width = v.shape[2:]
        u = self.down(self.across(v))[:, :, :height]
        s = self.link(u) + self.horizontal(h)[:, :, :, :width]
        u = u + self.beside(v)
        g = _gate(s)
        out = self.out(g)
        return _gate(u), out if self.first else out + h, self.skip(g)


class PlainGatedPixelCNN(nn.Module):
    """The peer's network."""

    def __init__(self) -> None:
        super().__init__()
        self.first = PlainLayer(1, CHANNELS, 7, True)
        self.layers = nn.ModuleList([PlainLayer(CHANNELS, CHANNELS, 3, False) for _ in range(LAYERS)])
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(CHANNELS, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, 1, h, w) to logits."""
        v, h, total = self.first(x, x)
        for layer in self.layers:
            v, h, skip = layer(v, h)
            total = total + skip
        logits: Tensor = self.head(total)
        return logits


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


def peer_network() -> nn.Module:
    """The peer's own network where its source is at hand, else the same form."""
    source = os.environ.get("PYTORCH_GENERATIVE")
    if not source:
        return PlainGatedPixelCNN()
    sys.path.insert(0, source)
    # Its scripts need these, its network does not.
    unused = ("torchvision", "torchvision.datasets", "torch.utils.tensorboard", "tqdm", "IPython")
    with patch.dict(sys.modules, {name: MagicMock() for name in unused if name not in sys.modules}):
        from pytorch_generative.models.autoregressive.gated_pixel_cnn import GatedPixelCNN

    network: nn.Module = GatedPixelCNN(1, 1, n_gated=LAYERS, gated_channels=CHANNELS, head_channels=32)
    return network


def rate_of(step) -> float:
    """Images a second of a step."""
    return BATCH * steps_per_second(step, SECONDS)


def peer() -> float:
    """Images a second of the peer."""
    torch.manual_seed(0)
    net, x = peer_network(), batch()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def step() -> None:
        loss = F.binary_cross_entropy_with_logits(net(x), x, reduction="sum") / BATCH
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return rate_of(step)


def ours(precision: str = "auto") -> float:
    """Images a second of the same network in our form, trained by our loop."""
    from aegean.data import SplitSettings, from_arrays
    from aegean.models import PixelCNNModelConfig, create
    from aegean.nn import PixelCNNConfig
    from aegean.train import Adam, TrainConfig, Trainer

    splits = SplitSettings(test=0).split(from_arrays((255 * batch()[:, 0]).byte().numpy()))
    network = PixelCNNConfig(blocks=LAYERS, filter=(2, 3), first_filter=(4, 7), channels=CHANNELS, gated=True)
    settings = TrainConfig(batch_size=BATCH, precision=precision, device="cpu", optimizers={"default": Adam(rate=1e-3)})
    model = create(PixelCNNModelConfig(network=network), splits.shape)
    return rate_of(Trainer(model, settings, splits.streams(BATCH, BATCH, seed=0)).run_step)


def recipe_trainer(precision: str = "auto"):
    """The trainer of `pixelgan-mnist-100`, all phases, on random images."""
    from aegean.data import SplitSettings, from_arrays
    from aegean.models import create
    from aegean.recipes import get
    from aegean.train import Trainer

    experiment = get("pixelgan-mnist-100").override({"train.device": "cpu", "train.precision": precision})
    pixels = (255 * batch()[:, 0]).byte().numpy()
    splits = SplitSettings(test=0).split(from_arrays(pixels, torch.arange(BATCH).remainder(10).numpy()))
    streams = splits.streams(BATCH, BATCH, seed=0)
    return Trainer(create(experiment.model, splits.shape, splits.classes), experiment.train, streams)


def recipe(precision: str = "auto") -> float:
    """Images a second of `pixelgan-mnist-100`."""
    return rate_of(recipe_trainer(precision).run_step)


def operations() -> float:
    """Multiplications and additions an image of `pixelgan-mnist-100`, counted by torch without our kernels."""
    from torch.utils.flop_counter import FlopCounterMode

    os.environ["AEGEAN_KERNELS"] = "off"
    trainer = recipe_trainer()
    trainer.run_step()
    with FlopCounterMode(display=False) as counter:
        trainer.run_step()
    return counter.get_total_flops() / BATCH


def best_rate() -> float:
    """Operations a second of a large convolution in the precision that is chosen here."""
    from aegean.train.precision import choose_device, choose_precision

    return convolution_rate(choose_precision("auto", choose_device("cpu")), BATCH)


MEASUREMENTS = {
    "ours": ours,
    "ours_float32": lambda: ours("float32"),
    "peer": peer,
    "recipe": recipe,
    "operations": operations,
    "convolution_rate": best_rate,
}


def measure() -> dict[str, float]:
    """Everything, as numbers by name."""
    found: dict[str, list[float]] = {name: [] for name in MEASUREMENTS}
    variants = {"recipe without kernels": {"AEGEAN_KERNELS": "off"}}
    found |= {name: [] for name in variants}
    for _ in range(REPEATS):
        for name, values in found.items():
            command = [sys.executable, "-m", "benchmarks.pixelcnn_training", name.split()[0]]
            environment = os.environ | variants.get(name, {})
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            values.append(float(done.stdout.strip().splitlines()[-1]))
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {
        "gated PixelCNN, images a second, aegean": medians["ours"],
        "gated PixelCNN, images a second, aegean in float32": medians["ours_float32"],
        "gated PixelCNN, images a second, peer": medians["peer"],
        "the peer is its own source": float("PYTORCH_GENERATIVE" in os.environ),
        "ratio to the peer": medians["ours"] / medians["peer"],
        "ratio to the peer, both in float32": medians["ours_float32"] / medians["peer"],
        "pixelgan-mnist-100, images a second": medians["recipe"],
        "pixelgan-mnist-100 without kernels, images a second": medians["recipe without kernels"],
        "pixelgan-mnist-100, 1e9 operations an image": medians["operations"] / 1e9,
        "convolution, 1e12 operations a second": medians["convolution_rate"] / 1e12,
        "pixelgan-mnist-100, share of that": medians["recipe"] * medians["operations"] / medians["convolution_rate"],
    }


if __name__ == "__main__":
    which = sys.argv[1] if len(sys.argv) > 1 else "all"
    print(MEASUREMENTS[which]() if which in MEASUREMENTS else json.dumps(measure(), indent=2))

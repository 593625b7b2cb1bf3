"""AAE training, 784-1000-1000-8 and its mirror, batch 100, MNIST-shaped data, beside pythae's AdversarialTrainer.

Both train the same encoder, decoder and discriminator with Adam. Ours does the paper's three alternating phases, with a
forward pass of the encoder for each of the two kinds; pythae differentiates all losses over one pass. Each measurement
is a process of its own, the two libraries take turns, and the medians are compared.

    python -m benchmarks.aae_training          both, and the machine's limit
    python -m benchmarks.aae_training ours     one measurement
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time

import torch

BATCH, STEPS, WARM_UP, CODE, HIDDEN, CRITIC = 100, 100, 20, 8, (1000, 1000), (256,)
REPEATS = 5


def images(n: int) -> torch.Tensor:
    """Random images of MNIST's shape; speed does not depend on what they show."""
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def our_trainer(precision: str = "auto"):
    """A trainer with the benchmark's networks."""
    from aegean.data import SplitSettings, from_arrays
    from aegean.models import AAEConfig, create
    from aegean.nn import MLPConfig
    from aegean.priors import Gaussian
    from aegean.train import Adam, TrainConfig, Trainer

    splits = SplitSettings(test=0).split(from_arrays(images(10_000)[:, 0].numpy()))
    config = AAEConfig(
        prior=Gaussian(dim=CODE),
        encoder=MLPConfig(widths=HIDDEN),
        decoder=MLPConfig(widths=HIDDEN),
        discriminator=MLPConfig(widths=CRITIC),
    )
    settings = TrainConfig(batch_size=BATCH, precision=precision, device="cpu", optimizers={"default": Adam(rate=1e-4)})
    return Trainer(create(config, splits.shape), settings, splits.streams(BATCH, BATCH, seed=0))


def ours(precision: str = "auto") -> float:
    """Images a second of our trainer."""
    trainer = our_trainer(precision)
    for _ in range(WARM_UP):
        trainer.run_step()
    start = time.perf_counter()
    for _ in range(STEPS):
        trainer.run_step()
    return BATCH * STEPS / (time.perf_counter() - start)


def pythae() -> float:
    """Images a second of pythae's trainer, in the same number of steps after the same warm-up."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import Adversarial_AE, Adversarial_AE_Config
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
    from pythae.trainers import AdversarialTrainer, AdversarialTrainerConfig
    from torch import nn

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Flatten(), nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, CODE)
            )

        def forward(self, x: torch.Tensor) -> ModelOutput:
            z = self.net(x)
            return ModelOutput(embedding=z, log_covariance=torch.zeros_like(z))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(CODE, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 784), nn.Sigmoid()
            )

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.net(z).reshape(-1, 1, 28, 28))

    class Discriminator(BaseDiscriminator):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(CODE, CRITIC[0]), nn.ReLU(), nn.Linear(CRITIC[0], 1), nn.Sigmoid())

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(embedding=self.net(z))

    n = BATCH * STEPS
    config = Adversarial_AE_Config(input_dim=(1, 28, 28), latent_dim=CODE, deterministic_posterior=True)
    model = Adversarial_AE(config, Encoder(), Decoder(), Discriminator())
    with tempfile.TemporaryDirectory() as folder:
        settings = AdversarialTrainerConfig(
            output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH, no_cuda=True, amp=False
        )
        trainer = AdversarialTrainer(model, BaseDataset(images(n), torch.zeros(n)), training_config=settings)
        trainer.prepare_training()
        trainer.callback_handler.on_train_begin(training_config=settings, model_config=config)
        trainer.train_step(1)  # warm-up
        start = time.perf_counter()
        trainer.train_step(2)
        return n / (time.perf_counter() - start)


def needs() -> tuple[float, float]:
    """Operations and bytes of one of our steps.

    Operations are counted by torch. Bytes are the least that each phase must move for its weights: Adam reads weight,
    gradient and two moments and writes weight and moments (28 a weight), the gradient is written once (4), the weight
    is read and cast (6), and read in bfloat16 by the forward and the backward product (4). Activations stay in cache.
    """
    from torch.utils.flop_counter import FlopCounterMode

    trainer = our_trainer()
    trainer.run_step()
    with FlopCounterMode(display=False) as counter:
        trainer.run_step()
    weights = sum(weight.numel() for parameters in trainer.parameters.values() for weight in parameters)
    return float(counter.get_total_flops()), 42.0 * weights


def measure() -> dict[str, float]:
    """Everything, as numbers by name."""
    from benchmarks.machine import matmul_rate, memory_bandwidth

    rates: dict[str, list[float]] = {"ours": [], "ours_float32": [], "pythae": []}
    for _ in range(REPEATS):
        for name, found in rates.items():
            command = [sys.executable, "-m", "benchmarks.aae_training", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(float(done.stdout.strip().splitlines()[-1]))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    operations, moved = needs()
    trainer = our_trainer()
    flops, bandwidth = matmul_rate(trainer.precision), memory_bandwidth()
    limit = BATCH / max(operations / flops, moved / bandwidth)
    return {
        "images a second, aegean": medians["ours"],
        "images a second, aegean in float32": medians["ours_float32"],
        "images a second, pythae": medians["pythae"],
        "ratio to pythae": medians["ours"] / medians["pythae"],
        "ratio to pythae, both in float32": medians["ours_float32"] / medians["pythae"],
        "operations a step, 1e9": operations / 1e9,
        "matrix products, 1e9 operations a second": flops / 1e9,
        "bytes a step, 1e6": moved / 1e6,
        "memory, 1e9 bytes a second": bandwidth / 1e9,
        "share of the machine's limit": medians["ours"] / limit,
    }


if __name__ == "__main__":
    which = sys.argv[1] if len(sys.argv) > 1 else "all"
    single = {"ours": ours, "ours_float32": lambda: ours("float32"), "pythae": pythae}
    print(single[which]() if which in single else json.dumps(measure(), indent=2))

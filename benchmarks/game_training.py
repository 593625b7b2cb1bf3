"""Training of the models that learn from games on images, each recipe as it is, on random images of MNIST's shape.

Of each recipe: images a second, the multiplications and additions of an image in all phases as PyTorch counts them, and
the product of the two as a share of what a large convolution reaches on this machine. Each measurement is a process of
its own.

    python -m benchmarks.game_training              all recipes
    python -m benchmarks.game_training gan-mnist    one: images a second and operations an image
"""

import json
import subprocess
import sys

import torch

from benchmarks.machine import convolution_rate, steps_per_second

RECIPES = (
    "gan-mnist",
    "infogan-mnist",
    "ali-mnist",
    "implicit-mnist-20d",
    "implicit-mnist-10d",
    "implicit-mnist-30",
    "implicit-mnist-100",
    "flipped-implicit-mnist-15d",
    "flipped-implicit-mnist-10",
)
SECONDS = 10


def trainer_of(recipe: str):
    """The trainer of a recipe on one batch of images, and the size of the batch."""
    from aegean.data import SplitSettings, from_arrays
    from aegean.models import create
    from aegean.recipes import get
    from aegean.train import Trainer

    experiment = get(recipe).override({"train.device": "cpu"})
    batch = experiment.train.batch_size
    pixels = torch.randint(256, (batch, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    splits = SplitSettings(test=0).split(from_arrays(pixels.numpy(), torch.arange(batch).remainder(10).numpy()))
    streams = splits.streams(batch, experiment.train.labelled_batch_size, seed=0)
    return Trainer(create(experiment.model, splits.shape, splits.classes), experiment.train, streams), batch


def one(recipe: str) -> dict[str, float]:
    """Images a second of a recipe, and operations an image."""
    from torch.utils.flop_counter import FlopCounterMode

    trainer, batch = trainer_of(recipe)
    rate = batch * steps_per_second(trainer.run_step, SECONDS)
    with FlopCounterMode(display=False) as counter:
        trainer.run_step()
    return {"rate": rate, "operations": counter.get_total_flops() / batch}


def measure() -> dict[str, float]:
    """Everything, as numbers by name."""
    from aegean.train.precision import choose_device, choose_precision

    limit = convolution_rate(choose_precision("auto", choose_device("cpu")))
    figures = {}
    for recipe in RECIPES:
        command = [sys.executable, "-m", "benchmarks.game_training", recipe]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        figures[f"{recipe}, images a second"] = found["rate"]
        figures[f"{recipe}, 1e9 operations an image"] = found["operations"] / 1e9
        figures[f"{recipe}, share of the convolution's rate"] = found["rate"] * found["operations"] / limit
    return figures | {"convolution, 1e12 operations a second": limit / 1e12}


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1]) if len(sys.argv) > 1 else measure(), indent=2))

"""Peak memory of a training step of PixelGAN recipes, and how it grows with the batch.

A process for each recipe and batch size takes two steps on random images of the recipe's shape; its largest resident
set less what it held before the first step is the figure. Without kernels PyTorch keeps every layer's maps.

    python -m benchmarks.pixelcnn_memory                                  all
    python -m benchmarks.pixelcnn_memory pixelgan-mnist-100 100           one measurement, in megabytes
"""

import json
import os
import resource
import subprocess
import sys

RECIPES = {
    "pixelgan-mnist-100": (28, 28),
    "pixelgan-mnist-30": (28, 28),
    "pixelgan-mnist-deep-dependent": (28, 28),
    "pixelgan-mnist-100-grey": (28, 28),
    "pixelgan-svhn-1000": (16, 16, 3),
    "pixelgan-norb-1000": (32, 32),
}


def peak(recipe: str, batch: int) -> float:
    """Megabytes of two steps of a recipe with so many images a batch."""
    import torch

    from aegean.data import SplitSettings, from_arrays
    from aegean.models import create
    from aegean.recipes import get
    from aegean.train import Trainer

    experiment = get(recipe).override({"train.device": "cpu", "train.batch_size": batch})
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, *RECIPES[recipe]), generator=generator).byte().numpy()
    prior = getattr(experiment.model, "prior", None)
    classes = getattr(prior, "categories", 0) if getattr(experiment.model, "supervised", False) else 0
    labels = torch.arange(batch).remainder(classes).numpy() if classes else None
    splits = SplitSettings(test=0).split(from_arrays(images, labels))
    streams = splits.streams(batch, batch, seed=0)
    trainer = Trainer(create(experiment.model, splits.shape, splits.classes), experiment.train, streams)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        trainer.run_step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def measure() -> dict[str, float]:
    """Everything, as numbers by name."""
    figures = {}
    for recipe in RECIPES:
        for name, batch, kernels in (("", 100, "on"), (", 200 images", 200, "on"), (" without kernels", 100, "off")):
            command = [sys.executable, "-m", "benchmarks.pixelcnn_memory", recipe, str(batch)]
            environment = os.environ | {"AEGEAN_KERNELS": kernels}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            figures[f"{recipe}{name}, MB"] = float(done.stdout.strip().splitlines()[-1])
    return figures


if __name__ == "__main__":
    print(peak(sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 2 else json.dumps(measure(), indent=2))

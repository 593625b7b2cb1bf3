"""Training small networks beside other programs: what the spinning of idle threads costs."""

import os
import statistics
import subprocess
import sys

from aegean.cli import SPINS
from benchmarks.machine import steps_per_second

#: Turns of GNU OpenMP where nothing is set.
USUAL = "300000"
RECIPE, SECONDS, TURNS = "digits-pixelgan-100", 4.0, 5
BUSY = "import torch; torch.set_num_threads(1); a = torch.randn(512, 512)\nwhile True: a @ a"


def measure() -> dict[str, float]:
    """Images a second by all cores: alone, and beside a busy thread of lower priority a core; medians, taking turns."""
    found: dict[str, float] = {}
    for load, name in ((0, "alone"), (os.cpu_count() or 1, "beside busy cores")):
        busy = [subprocess.Popen(["nice", "-n", "5", sys.executable, "-c", BUSY]) for _ in range(load)]
        try:
            rates: dict[str, list[float]] = {USUAL: [], SPINS: []}
            for _ in range(TURNS):
                for spins, measured in rates.items():
                    measured.append(_rate(spins))
        finally:
            for process in busy:
                process.kill()
        usual, ours = (statistics.median(measured) for measured in rates.values())
        found |= {
            f"{name}, images a second": ours,
            f"{name}, images a second where idle threads spin as usual": usual,
            f"{name}, ratio": ours / usual,
        }
    return found


def _rate(spins: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-m", "benchmarks.waiting"]
    done = subprocess.run(
        command, env=environment | {"GOMP_SPINCOUNT": spins}, capture_output=True, check=True, text=True
    )
    return float(done.stdout)


def _train() -> float:
    from aegean import recipes
    from aegean.build import build_trainer

    experiment = recipes.get(RECIPE)
    trainer = build_trainer(experiment, experiment.data.load())
    return experiment.train.batch_size * steps_per_second(trainer.run_step, SECONDS)


if __name__ == "__main__":
    print(_train())

"""What the benchmarks of classes and clusters share: the data, their codes, the command line."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aegean.data import MNIST, Digits
from benchmarks.seeds import FOLDER, Figures, Methods, collect

#: Principal components that keep most of the variance of digits.
COMPONENTS = 30
#: Of training images, in tries of settings: the test images are not looked at.
VALIDATION = 360


class Data(NamedTuple):
    """Training images with some labels, the labels that nobody may see, and images to judge by.

    Images are uint8, (n, h, w).
    """

    train: NDArray[np.uint8]
    labels: NDArray[np.int64]
    truth: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_truth: NDArray[np.int64]

    def rows(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Training and test images as numbers in [0, 1], (n, d)."""
        train, test = (part.reshape(len(part), -1).astype(np.float32) / 255 for part in (self.train, self.test))
        return train, test

    def components(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Their codes by the principal components of the training images."""
        from sklearn.decomposition import PCA

        train, test = self.rows()
        pca = PCA(COMPONENTS, random_state=0).fit(train)
        return pca.transform(train).astype(np.float32), pca.transform(test).astype(np.float32)


def load(settings: dict[str, Any], labels_per_class: int, seed: int) -> Data:
    """Scikit-learn's digits, split by seed, or MNIST with its own test images; or validation images in their place."""
    validation = settings["judged on"] == "validation images"
    if settings["data"] == "mnist":
        splits = MNIST(labels_per_class=labels_per_class, label_seed=seed).load()
    else:
        held_out = VALIDATION if validation else 0
        splits = Digits(labels_per_class=labels_per_class, label_seed=seed, split_seed=seed, validation=held_out).load()
    judged = splits.validation if validation else splits.test
    return Data(
        splits.train.images[:, 0].numpy(),
        splits.train.labels.numpy(),
        splits.train_truth.numpy(),
        judged.images[:, 0].numpy(),
        judged.labels.numpy(),
    )


class Stopwatch:
    """Seconds since it was made, on the clock and of this process."""

    def __init__(self) -> None:
        self._started, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Figures:
        """Both, as figures."""
        return {
            "seconds a fit": time.perf_counter() - self._started,
            "CPU seconds a fit": time.process_time() - self._cpu,
        }


def measure(
    name: str,
    methods: Callable[[dict[str, Any], int], Methods],
    settings: dict[str, Any],
    seeds: range = range(5),
    folder: Path = FOLDER,
) -> Figures:
    """Everything that is not on record yet, as numbers by name, on one thread."""
    torch.set_num_threads(1)
    return collect(name, lambda seed: methods(settings, seed), seeds, settings, folder)


def settings_of(data: str = "digits", minutes: float | None = None, **others: Any) -> dict[str, Any]:
    """What must be equal for seeds to be compared."""
    return {"data": data, "minutes": minutes, "judged on": "test images"} | others


def main(name: str, methods: Callable[[dict[str, Any], int], Methods], **others: tuple[int, str]) -> None:
    """Run one benchmark with options; each kind of data and of time allowed has a record of its own.

    Args:
        name: of the benchmark.
        methods: of settings and a seed.
        others: further whole numbers as options: their usual value and help.
    """
    from benchmarks.run import keep

    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--minutes", type=float, help="time allowed for a fit; by default chosen")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed; those on record are not measured again")
    parser.add_argument("--validation", action="store_true", help="judge by validation images, and keep nothing")
    parser.add_argument("--no-record", action="store_true", help="print only")
    for option, (value, text) in others.items():
        parser.add_argument(f"--{option}", type=int, default=value, help=text)
    given = parser.parse_args()
    if given.seeds < 1 or given.first < 0:
        parser.error("--seeds must be 1 or more, and --first 0 or more")
    settings = settings_of(given.data, given.minutes, **{option: getattr(given, option) for option in others})
    settings["judged on"] = "validation images" if given.validation else "test images"
    parts = [name, *(["mnist"] if given.data == "mnist" else [])]
    parts += [f"{given.minutes:g}-minutes"] if given.minutes else []
    parts += [
        f"{getattr(given, option)}-{option}" for option, (value, _) in others.items() if getattr(given, option) != value
    ]
    full = "-".join(parts)
    seeds = range(given.first, given.first + given.seeds)
    write = not (given.no_record or given.validation)
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure(full, methods, settings, seeds, FOLDER if write else Path(temporary))
    keep(full, figures, write=write)

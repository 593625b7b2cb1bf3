"""What the benchmarks of classes and clusters share: the data, the command line, means over seeds."""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aegean.data import MNIST, Digits, Splits

#: Principal components that keep most of the variance of digits.
COMPONENTS = 30


def load(data: str, labels_per_class: int, seed: int) -> Splits:
    """Scikit-learn's digits, split by seed, or MNIST with its own test images."""
    if data == "mnist":
        return MNIST(labels_per_class=labels_per_class, label_seed=seed).load()
    return Digits(labels_per_class=labels_per_class, label_seed=seed, split_seed=seed).load()


def images(splits: Splits) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Training and test images, uint8 (n, h, w)."""
    return splits.train.images[:, 0].numpy(), splits.test.images[:, 0].numpy()


def components(train: NDArray[np.uint8], test: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """Codes of both by the principal components of the training images."""
    from sklearn.decomposition import PCA

    rows = [part.reshape(len(part), -1).astype(np.float32) / 255 for part in (train, test)]
    pca = PCA(COMPONENTS, random_state=0).fit(rows[0])
    return tuple(pca.transform(part).astype(np.float32) for part in rows)


def summary(found: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over seeds, and its standard deviation where it is an error."""
    figures = {}
    for name in found[0]:
        values = [one[name] for one in found]
        figures[name] = statistics.mean(values)
        if "error" in name and len(values) > 1:
            figures[f"{name}, standard deviation"] = statistics.stdev(values)
    return figures | {"seeds": float(len(found))}


def main(name: str, measure: Callable[..., dict[str, float]]) -> None:
    """Run one benchmark with options; results on MNIST are a record of their own."""
    from benchmarks.run import keep

    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--minutes", type=float, help="time allowed for a fit; by default chosen")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--no-record", action="store_true", help="print only")
    given = parser.parse_args()
    name = name if given.data == "digits" else f"{name}-{given.data}"
    keep(name, measure(given.data, given.minutes, given.seeds), write=not given.no_record)

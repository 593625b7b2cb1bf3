"""AdversarialClusterer without any setting, beside k-means on three codes and beside VaDE.

All methods make as many clusters of the training images, without labels. A cluster is then named after the most
frequent class of its training images, and the error is that of the names on held-out images.

python -m benchmarks.cluster                                            scikit-learn's digits, five seeds
python -m benchmarks.cluster --data mnist --minutes 20                  MNIST
python -m benchmarks.cluster --data mnist --minutes 20 --first 3 --seeds 1    one of its seeds

VaDE (Jiang et al. 2017) is ClustPy's, where that can be imported, with its own settings: fully connected layers of 500,
500 and 2,000 units, a code of ten numbers, and 100 epochs before and 150 after a mixture of Gaussians. With `--minutes`
both are shortened in proportion until the epochs alone take the time allowed. What is measured is kept after each
method, so that a run can be stopped and go on (`benchmarks/seeds.py`).
"""

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks import labels
from benchmarks.seeds import Figures, Methods

CLUSTERS = 10
#: Of the autoencoder: dimensions of its code, hidden units, images a step, and at least so many steps and epochs.
CODE, HIDDEN, BATCH, STEPS, EPOCHS = 10, 500, 100, 3000, 20
#: Of VaDE: epochs before and after its mixture is made, images a step, and steps that are timed.
BEFORE, AFTER, VADE_BATCH, TIMED = 100, 150, 256, 10

Codes = tuple[NDArray[np.float32], NDArray[np.float32]]


def error(train: NDArray[Any], test: NDArray[Any], data: labels.Data) -> float:
    """Percent of test images in a cluster named after another class, by majority of the training images."""
    names = np.zeros(1 + max(train.max(), test.max()), dtype=np.int64)
    for k in np.unique(train):
        names[k] = np.bincount(data.truth[train == k]).argmax()
    return float(100 * np.mean(names[test] != data.test_truth))


def ours(data: labels.Data, clusters: int, minutes: float | None, seed: int) -> Figures:
    """Error of the estimator, and its time."""
    from aegean import AdversarialClusterer

    watch = labels.Stopwatch()
    clusterer = AdversarialClusterer(clusters, minutes=minutes, random_state=seed).fit(data.train)
    time = watch.read()
    return {"majority error %": error(clusterer.labels_, clusterer.predict(data.test), data)} | time


def kmeans(codes: Callable[[], Codes], data: labels.Data, clusters: int, seed: int) -> Figures:
    """Error of k-means with ten beginnings."""
    from sklearn.cluster import KMeans

    train, test = codes()
    found = KMeans(clusters, n_init=10, random_state=seed).fit(train)
    return {"majority error %": error(found.labels_, found.predict(test), data)}


def autoencoder_codes(data: labels.Data, seed: int) -> Codes:
    """Codes of an autoencoder with the squared error, trained by Adam."""
    torch.manual_seed(seed)
    train, test = data.rows()
    d = train.shape[1]
    encoder = nn.Sequential(
        nn.Linear(d, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CODE)
    )
    decoder = nn.Sequential(
        nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, d)
    )
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    x = torch.from_numpy(train)
    for _ in range(max(STEPS, EPOCHS * len(x) // BATCH)):
        batch = x[torch.randint(len(x), (BATCH,))]
        optimizer.zero_grad()
        (decoder(encoder(batch)) - batch).square().sum(dim=1).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return encoder(x).numpy(), encoder(torch.from_numpy(test)).numpy()


def vade(data: labels.Data, clusters: int, minutes: float | None, seed: int) -> Figures:
    """Error of ClustPy's VaDE, and its time."""
    from clustpy.deep import VaDE

    train, test = data.rows()
    before, after = BEFORE, AFTER
    if minutes is not None:
        possible = int(60 * minutes / _seconds_an_epoch(train, clusters))
        before = max(1, min(BEFORE, possible * BEFORE // (BEFORE + AFTER)))
        after = max(1, min(AFTER, possible - before))
    watch = labels.Stopwatch()
    model = VaDE(clusters, VADE_BATCH, pretrain_epochs=before, clustering_epochs=after, random_state=seed).fit(train)
    time = watch.read()
    found = {"majority error %": error(model.labels_, model.predict(test), data)}
    return found | time | {"epochs": float(before + after)}


def _seconds_an_epoch(train: NDArray[np.float32], clusters: int) -> float:
    """Of VaDE, from two epochs of a few steps; the mixture of Gaussians comes on top, in VaDE's favour."""
    from clustpy.deep import VaDE

    few = train[: TIMED * VADE_BATCH]

    def seconds(epochs: int) -> float:
        started = time.perf_counter()
        few_tries = {"n_init": 1, "max_iter": 1, "covariance_type": "diag"}
        model = VaDE(clusters, VADE_BATCH, pretrain_epochs=epochs, clustering_epochs=epochs, random_state=0)
        model.set_params(initial_clustering_params=few_tries).fit(few)
        return time.perf_counter() - started

    seconds(1)  # memory is taken
    two = max(seconds(3) - seconds(1), 1e-3) / 2  # one epoch before and one after the mixture
    return two / 2 * len(train) / len(few)


def methods(settings: dict[str, Any], seed: int) -> Methods:
    """Ours, k-means on each kind of code, and VaDE if it is installed."""
    data, clusters, minutes = labels.load(settings, 0, seed), settings["clusters"], settings["minutes"]
    codes: dict[str, Callable[[], Codes]] = {
        "pixels": data.rows,
        "principal components": data.components,
        "an autoencoder's code": partial(autoencoder_codes, data, seed),
    }
    found: dict[str, Callable[[], Figures]] = {"AdversarialClusterer": partial(ours, data, clusters, minutes, seed)}
    for name, code in codes.items():
        found[f"k-means on {name}"] = partial(kmeans, code, data, clusters, seed)
    if importlib.util.find_spec("clustpy"):
        found["VaDE (ClustPy)"] = partial(vade, data, clusters, minutes, seed)
    else:
        print("VaDE is left out, because clustpy is not installed (pip install clustpy).", flush=True)
    return found


def measure() -> Figures:
    """Digits, as numbers by name."""
    return labels.measure("cluster", methods, labels.settings_of(clusters=CLUSTERS))


if __name__ == "__main__":
    labels.main("cluster", methods, clusters=(CLUSTERS, "how many clusters all methods make"))

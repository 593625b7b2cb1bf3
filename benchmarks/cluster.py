"""AdversarialClusterer without any setting, beside k-means on pixels, principal components and an autoencoder's code.

All methods make ten clusters of the training images without labels. A cluster is then named after the most frequent
class of its training images, and the error is that of the names on held-out images.

python -m benchmarks.cluster                                  scikit-learn's digits, five seeds
python -m benchmarks.cluster --data mnist --minutes 20        MNIST
"""

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks import labels

CLUSTERS = 10
#: Of the autoencoder: dimensions of its code, hidden units, images a step, steps.
CODE, HIDDEN, BATCH, STEPS = 10, 500, 100, 3000


def error(train: NDArray[np.int64], test: NDArray[np.int64], y: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Percent of test images in a cluster named after another class, by majority of the training images."""
    names = np.array([np.bincount(y[train == k], minlength=10).argmax() for k in range(CLUSTERS)])
    return float(100 * np.mean(names[test] != truth))


def autoencoder_codes(train: NDArray[np.float32], test: NDArray[np.float32], seed: int) -> tuple[NDArray, NDArray]:
    """Codes of an autoencoder with the squared error, trained by Adam."""
    torch.manual_seed(seed)
    d = train.shape[1]
    encoder = nn.Sequential(
        nn.Linear(d, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CODE)
    )
    decoder = nn.Sequential(
        nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, d)
    )
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    x = torch.from_numpy(train)
    for _ in range(STEPS):
        batch = x[torch.randint(len(x), (BATCH,))]
        optimizer.zero_grad()
        (decoder(encoder(batch)) - batch).square().sum(dim=1).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return encoder(x).numpy(), encoder(torch.from_numpy(test)).numpy()


def one_seed(data: str, minutes: float | None, seed: int) -> dict[str, float]:
    """Errors in percent of all methods on the same split."""
    from sklearn.cluster import KMeans

    from aegean import AdversarialClusterer

    splits = labels.load(data, 0, seed)
    train, test = labels.images(splits)
    y, truth = splits.train_truth.numpy(), splits.test.labels.numpy()
    started, cpu = time.perf_counter(), time.process_time()
    clusterer = AdversarialClusterer(CLUSTERS, minutes=minutes, random_state=seed).fit(train)
    seconds = {"seconds a fit": time.perf_counter() - started, "CPU seconds a fit": time.process_time() - cpu}
    found = {"majority error %, AdversarialClusterer": error(clusterer.labels_, clusterer.predict(test), y, truth)}
    rows = [part.reshape(len(part), -1).astype(np.float32) / 255 for part in (train, test)]
    codes = {
        "pixels": rows,
        "principal components": labels.components(train, test),
        "an autoencoder's code": autoencoder_codes(*rows, seed),
    }
    for name, (of_train, of_test) in codes.items():
        kmeans = KMeans(CLUSTERS, n_init=10, random_state=seed).fit(of_train)
        found[f"majority error %, k-means on {name}"] = error(kmeans.labels_, kmeans.predict(of_test), y, truth)
    print(f"seed {seed}:", ", ".join(f"{name} {value:.2f}" for name, value in (found | seconds).items()), flush=True)
    return found | seconds


def measure(data: str = "digits", minutes: float | None = None, seeds: int = 5) -> dict[str, float]:
    """Everything, as numbers by name, on one thread."""
    torch.set_num_threads(1)
    return labels.summary([one_seed(data, minutes, seed) for seed in range(seeds)])


if __name__ == "__main__":
    labels.main("cluster", measure)

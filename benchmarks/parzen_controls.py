"""Parzen estimates of images that no model has drawn, on MNIST: what the figures of models should be seen beside."""

import torch

from aegean.data import MNIST, as_float
from aegean.evaluate.parzen import kmeans_centroids, parzen

#: Images of each control; models are judged with as many samples.
SAMPLES = 10_000


def measure() -> dict[str, float]:
    """Mean log-likelihood of the test images in nats, and its standard error, with the official grid of sigma."""
    splits = MNIST().load()
    train, validation, test = (
        as_float(part.images).flatten(1) for part in (splits.train, splits.validation, splits.test)
    )
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:SAMPLES]
    figures = {}
    for name, centres in (("training images", train[chosen]), ("k-means centroids", kmeans_centroids(train, SAMPLES))):
        found = parzen(lambda start, stop, of=centres: of[start:stop], SAMPLES, validation, test)
        figures[f"nats, 10,000 {name}"] = found.official.log_likelihood
        figures[f"standard error, 10,000 {name}"] = found.official.standard_error
    return figures

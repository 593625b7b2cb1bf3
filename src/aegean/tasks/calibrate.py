"""Probabilities that mean what they say: one temperature, learned from predictions of images with hidden labels."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from aegean.errors import DataError

#: Temperatures that are tried lie between these.
COLDEST, HOTTEST = 0.1, 20.0
#: Logarithms of probabilities are not taken for lower than this.
LOWEST_LOG = -50.0


def fit_temperature(log_q: Tensor, labels: Tensor) -> float:
    """Return the temperature whose probabilities, softmax(log q / T), have the highest likelihood (Guo et al. 2017).

    Right answers count as (n + 1) / (n + k) and each wrong one as 1 / (n + k), after Platt (1999): without a mistake
    among few labels the likelihood alone would make every probability one.

    Args:
        log_q: logarithms of predicted probabilities, (n, k), of images whose label training did not see.
        labels: their classes, int64 (n,).

    Raises:
        DataError: no labels, or lengths differ.
    """
    n, classes = log_q.shape
    if not n or labels.shape != (n,):
        raise DataError(f"{n} predictions and labels of shape {tuple(labels.shape)}; give one label a prediction.")
    logits: NDArray[np.float64] = log_q.double().clamp(min=LOWEST_LOG).numpy()
    targets = np.full((n, classes), 1 / (n + classes))
    targets[np.arange(n), labels.numpy()] = (n + 1) / (n + classes)

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        log_p = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        return float(-(targets * log_p).sum() / n)

    found = minimize_scalar(loss, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded")
    return float(math.exp(found.x))


def cross_fitted(log_q: Tensor, labels: Tensor, parts: Tensor) -> Tensor:
    """Return probabilities whose temperature was learned from other images than those that it is applied to.

    Args:
        log_q: as for `fit_temperature`.
        labels: likewise.
        parts: which part each image belongs to, from 0, int64 (n,). Of one part alone, every
            second image makes another.

    Returns:
        (n, k).
    """
    if not bool(parts.any()):
        parts = torch.arange(len(parts)) % 2
    probabilities = torch.empty_like(log_q)
    for part in range(int(parts.max()) + 1):
        inside, outside = parts == part, parts != part
        temperature = fit_temperature(log_q[outside], labels[outside]) if outside.any() else 1.0
        probabilities[inside] = (log_q[inside] / temperature).softmax(dim=1)
    return probabilities

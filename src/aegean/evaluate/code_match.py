"""How well the aggregated posterior q(z) matches the prior p(z): what papers show by eye, as numbers."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from aegean.errors import DataError

#: Random directions of the sliced Wasserstein distance.
DIRECTIONS = 500
#: Codes of each kind that the classifier sees at most: more only make it slower.
MOST_CODES = 10_000


@dataclass(frozen=True)
class CodeMatch:
    """Distances between codes of images and draws of the prior.

    Attributes:
        accuracy: share of held-out codes that a classifier assigns to the right side; 0.5 is a perfect match.
        p_value: probability of such an accuracy or more if both distributions were the same.
        sliced_wasserstein: distance in the units of the code.
        floor: the same distance between two independent draws of the prior of that size: what a perfect match gives.
    """

    accuracy: float
    p_value: float
    sliced_wasserstein: float
    floor: float


def match_codes(codes: Tensor, prior: Tensor, more_prior: Tensor, seed: int = 0) -> CodeMatch:
    """Compare codes with draws of the prior.

    Args:
        codes: of held-out images, float (n, d).
        prior: as many draws of the prior, (n, d).
        more_prior: as many independent draws, (n, d).
        seed: of the directions, the split and the classifier.

    Raises:
        DataError: the shapes differ, a value is not finite, or there are fewer than 20 codes.
    """
    if not codes.shape == prior.shape == more_prior.shape or codes.dim() != 2 or len(codes) < 20:
        raise DataError(
            f"expected as many codes as draws of the prior, 20 or more, each (n, d); found {tuple(codes.shape)}, "
            f"{tuple(prior.shape)} and {tuple(more_prior.shape)}."
        )
    if not all(values.isfinite().all() for values in (codes, prior, more_prior)):
        raise DataError("a code is not finite; the model has diverged.")
    accuracy, p_value = classifier_two_sample_test(codes, prior, seed)
    return CodeMatch(
        accuracy, p_value, sliced_wasserstein(codes, prior, seed=seed), sliced_wasserstein(prior, more_prior, seed=seed)
    )


def sliced_wasserstein(a: Tensor, b: Tensor, directions: int = DIRECTIONS, seed: int = 0) -> float:
    """Return the sliced 2-Wasserstein distance of two samples of equal size (Bonneel et al., 2015).

    The square root of the mean, over random directions, of the squared one-dimensional Wasserstein distance of the
    projections, which is the mean squared difference of their order statistics.

    Args:
        a: float (n, d).
        b: float (n, d).
        directions: how many.
        seed: of the directions.
    """
    generator = torch.Generator().manual_seed(seed)
    axes = torch.randn(a.shape[1], directions, generator=generator, dtype=torch.float64)
    axes /= axes.norm(dim=0)
    first, second = ((values.double() @ axes).sort(dim=0).values for values in (a, b))  # (n, directions)
    return math.sqrt(float((first - second).square().mean()))


def classifier_two_sample_test(a: Tensor, b: Tensor, seed: int = 0) -> tuple[float, float]:
    """Train a classifier to tell two samples apart, and return its accuracy on the other half of them.

    The test of Lopez-Paz and Oquab (2017), with two hidden layers of 64 units. If both distributions are the same, the
    accuracy on m held-out codes is normal with mean 1/2 and variance 1/(4m), which gives the p-value (equation 4).

    Args:
        a: float (n, d).
        b: float (n, d).
        seed: of the split and the classifier.

    Returns:
        Accuracy in [0, 1], and the p-value.
    """
    codes = np.concatenate([values[:MOST_CODES].double().numpy() for values in (a, b)])
    side = np.repeat([0, 1], [min(len(a), MOST_CODES), min(len(b), MOST_CODES)])
    x, x_test, y, y_test = train_test_split(codes, side, test_size=0.5, stratify=side, random_state=seed)
    # On small samples there is nothing to hold out for early stopping.
    network = MLPClassifier((64, 64), early_stopping=len(x) >= 1000, max_iter=200, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a classifier stopped early is still a valid test
        accuracy = float(make_pipeline(StandardScaler(), network).fit(x, y).score(x_test, y_test))
    return accuracy, 0.5 * math.erfc((accuracy - 0.5) * math.sqrt(2 * len(y_test)))

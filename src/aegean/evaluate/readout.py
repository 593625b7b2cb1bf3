"""How well the label can be read from a code: what scatter plots of codes show by eye, as numbers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from aegean.data.labels import stratified_split
from aegean.errors import DataError
from aegean.evaluate.classification import Array, as_labels

#: Training codes that the classifiers see at most: more only make them slower.
MOST_CODES = 10_000
#: Neighbours that vote.
NEIGHBOURS = 5


@dataclass(frozen=True)
class ReadOut:
    """What classifiers of codes reach on test codes.

    Attributes:
        linear_error_percent: mistakes of logistic regression, in percent.
        neighbour_error_percent: mistakes of the majority of five nearest training codes, in percent.
        label_information: how much the code says about the label, at least; in nats. The information I(y; z) =
            H(y) - H(y|z) is no less than H(y) minus the expected cross-entropy of any classifier q(y|z), by the
            divergence between p(y|z) and q (Barber and Agakov, 2003). Here q is the logistic regression, which saw no
            test code, and both terms are estimated on test codes; so the bound holds up to the error of that
            estimate. It is at most H(y), log 10 = 2.30 for ten balanced classes; it is far below the
            information where the classes lie so that no linear reader tells them apart, and below 0 for a reader
            that is worse than none.
    """

    linear_error_percent: float
    neighbour_error_percent: float
    label_information: float


def read_labels(codes: Array, labels: Array, test_codes: Array, test_labels: Array, seed: int = 0) -> ReadOut:
    """Train a linear and a nearest-neighbour classifier of codes, and judge them on test codes.

    Every dimension of the code is first scaled to mean 0 and variance 1 on the training codes. The logistic
    regression is multinomial, with scikit-learn's default penalty (C = 1).

    Args:
        codes: of training images, shape `(n, d)`; of more than `MOST_CODES`, so many are drawn, every class in
            its proportion.
        labels: their classes, shape `(n,)`.
        test_codes: shape `(m, d)`.
        test_labels: shape `(m,)`.
        seed: of the draw.

    Raises:
        DataError: shapes do not fit, a code is not finite, a label is negative, or the training codes are fewer than
            five, of fewer than two classes, or of none of a class of the test codes.
    """
    x, x_test = (np.asarray(values, dtype=np.float64) for values in (codes, test_codes))
    y, y_test = as_labels(labels, "labels"), as_labels(test_labels, "test_labels")
    if x.ndim != 2 or x_test.shape[1:] != x.shape[1:] or len(x) != len(y) or len(x_test) != len(y_test):
        raise DataError(
            f"codes {x.shape} with {len(y)} labels and test codes {x_test.shape} with {len(y_test)} do not fit; give "
            "one label for each code, and codes (n, d) of one dimension."
        )
    if not (np.isfinite(x).all() and np.isfinite(x_test).all()):
        raise DataError("a code is not finite; the model has diverged.")
    if len(x) > MOST_CODES:
        drawn = stratified_split(torch.from_numpy(y), [MOST_CODES], seed)[0].numpy()
        x, y = x[drawn], y[drawn]
    classes = np.unique(y)
    if len(x) < NEIGHBOURS or len(classes) < 2:
        raise DataError(
            f"{len(x)} training codes of {len(classes)} classes; give {NEIGHBOURS} or more, of two or more."
        )
    unseen = np.setdiff1d(y_test, classes)
    if len(unseen):
        raise DataError(f"test codes are of class {unseen[0]}, training codes are not; give some of every class.")
    scaler = StandardScaler().fit(x)
    x, x_test = scaler.transform(x), scaler.transform(x_test)
    linear = LogisticRegression(max_iter=10_000).fit(x, y)
    neighbours = KNeighborsClassifier(NEIGHBOURS).fit(x, y)
    scores = linear.decision_function(x_test)
    if len(classes) == 2:  # one score, the log odds of the second class
        scores = np.stack((np.zeros_like(scores), scores), axis=1)
    return ReadOut(
        linear_error_percent=float(100 * np.mean(classes[scores.argmax(axis=1)] != y_test)),
        neighbour_error_percent=float(100 * np.mean(neighbours.predict(x_test) != y_test)),
        label_information=_entropy(y_test) - _cross_entropy(scores, np.searchsorted(classes, y_test)),
    )


def _entropy(labels: npt.NDArray[np.int64]) -> float:
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(share * np.log(share)).sum())


def _cross_entropy(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    log_q = log_softmax(scores, axis=1)  # not the logarithm of a probability, which may have become 0
    return float(-log_q[np.arange(len(labels)), labels].mean())

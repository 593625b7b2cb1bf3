"""How often predicted classes are right, where they are wrong, and whether confidence can be trusted."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from aegean.errors import DataError

#: What the functions of this room take: a NumPy array or a torch tensor on the CPU.
Array = npt.NDArray[Any] | torch.Tensor


@dataclass(frozen=True, eq=False)
class Classification:
    """Counts of the predictions against the truth; every other figure follows from them.

    Attributes:
        confusion: int64, shape `(classes, classes)`; rows are the true classes, columns the predicted ones.
        calibration_error: expected calibration error in [0, 1]; None where no confidence was given.
    """

    confusion: npt.NDArray[np.int64]
    calibration_error: float | None = None

    @property
    def examples(self) -> int:
        """Number of images that were classified."""
        return int(self.confusion.sum())

    @property
    def mistakes(self) -> int:
        """Number of images whose predicted class is not the true one."""
        return self.examples - int(np.trace(self.confusion))

    @property
    def error_percent(self) -> float:
        """Share of mistakes, in percent."""
        return 100.0 * self.mistakes / self.examples

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Share of each class that was recognised, in [0, 1], shape `(classes,)`; NaN for an absent class."""
        of_class = self.confusion.sum(axis=1)
        return np.where(of_class > 0, np.diag(self.confusion) / np.maximum(of_class, 1), np.nan)

    def most_confused(self, most: int = 5) -> list[tuple[int, int, int]]:
        """Return up to `most` triples (true class, predicted class, count), most frequent mistakes first."""
        mistakes = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
        pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, mistakes.shape), strict=True)]
        return [
            (true, predicted, int(mistakes[true, predicted])) for true, predicted in pairs if mistakes[true, predicted]
        ]


def evaluate_classification(
    labels: Array, predictions: Array, classes: int | None = None, confidence: Array | None = None
) -> Classification:
    """Compare predicted classes with the true ones.

    Args:
        labels: true classes, integers from 0, shape `(n,)`.
        predictions: predicted classes, integers from 0, shape `(n,)`.
        classes: number of classes; by default one more than the largest label or prediction.
        confidence: probability that the model gave to its prediction, in [0, 1], shape `(n,)`.

    Raises:
        DataError: there are no examples, shapes differ, or a class is out of range (-1, unlabelled, too).
    """
    true, predicted = as_labels(labels, "labels"), as_labels(predictions, "predictions")
    if len(true) != len(predicted):
        raise DataError(f"{len(true)} labels and {len(predicted)} predictions; give one prediction for each label.")
    known = int(max(true.max(), predicted.max())) + 1
    count = known if classes is None else classes
    if known > count:
        raise DataError(f"class {known - 1} occurs, but there are only {count} classes (0 to {count - 1}).")
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (true, predicted), 1)
    if confidence is None:
        return Classification(confusion)
    return Classification(confusion, expected_calibration_error(true == predicted, confidence))


def expected_calibration_error(correct: Array, confidence: Array, bins: int = 15) -> float:
    """Return how far confidence and accuracy lie apart (Guo et al. 2017, equation 3).

    Predictions are sorted into `bins` equally wide bins of confidence; the result is the mean distance
    between a bin's mean confidence and its accuracy, weighted by the bin's size.

    Args:
        correct: whether each prediction is right, shape `(n,)`.
        confidence: probability of the predicted class, in [0, 1], shape `(n,)`.
        bins: number of bins.

    Returns:
        A number in [0, 1]; 0 is perfectly calibrated.

    Raises:
        DataError: shapes differ, there is nothing, or a confidence is not in [0, 1].
    """
    right, sure = np.asarray(correct, dtype=np.float64), np.asarray(confidence, dtype=np.float64)
    if right.shape != sure.shape or right.ndim != 1 or not right.size:
        raise DataError(f"expected two lists of one length, found shapes {right.shape} and {sure.shape}.")
    if not ((sure >= 0) & (sure <= 1)).all():
        raise DataError("a confidence is not in [0, 1]; give the probability of the predicted class.")
    where = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(where, weights=sure - right, minlength=bins)  # size of the bin times its signed distance
    return float(np.abs(gaps).sum() / right.size)


def as_labels(values: Array, name: str) -> npt.NDArray[np.int64]:
    """Return class numbers as int64, shape `(n,)`.

    Raises:
        DataError: not one-dimensional, empty, not integers, or negative.
    """
    array = np.asarray(values)
    if array.ndim != 1 or not array.size or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name}: expected integers of shape (n,), found {array.dtype} of shape {array.shape}.")
    if array.min() < 0:
        raise DataError(f"{name}: {array.min()} is not a class; leave unlabelled examples out before comparing.")
    return array.astype(np.int64)

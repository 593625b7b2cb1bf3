"""What simple methods reach with the same labels on the same split.

Settings are the usual ones and were chosen without any test set: 7 neighbours (scikit-learn's default), C =
10 and gamma = 1 / (features x variance), and, for self-training, half the margin, chosen on MNIST *training*
images. On scikit-learn's digits (100 labels, 1437 / 360 images, stratified splits) they err on 3.9 ± 2.5, 3.1
± 1.2 and 7.1 ± 1.2 % of the test images (label spreading, self-training SVM, SVM; five seeds).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aegean.errors import DataError
from aegean.evaluate.classification import Array, as_labels

if TYPE_CHECKING:
    from sklearn.svm import SVC

_Floats = npt.NDArray[np.float32]
_Labels = npt.NDArray[np.int64]


def svm(images: Array, labels: Array, queries: Array, *, penalty: float = 10.0, gamma: float = 1.0) -> _Labels:
    """Predict with a support vector machine (radial basis functions) that sees the labelled images only.

    Args:
        images: shape `(n, ...)`; pixels are the features.
        labels: shape `(n,)`, -1 = unlabelled.
        queries: images to classify, shape `(m, ...)`.
        penalty: C.
        gamma: of the basis functions, in units of 1 / (features x variance).

    Returns:
        Predicted classes, int64, shape `(m,)`.

    Raises:
        DataError: shapes do not fit, or fewer than two classes are labelled.
    """
    x, y, new = _prepare(images, labels, queries)
    return _fit_svm(x[y >= 0], y[y >= 0], penalty, gamma).predict(new).astype(np.int64)  # type: ignore[no-any-return]


def self_training_svm(
    images: Array, labels: Array, queries: Array, *, penalty: float = 10.0, gamma: float = 1.0
) -> _Labels:
    """Predict with a support vector machine that labels the unlabelled images for itself.

    Each round labels the images of which it is certain: those beyond half the margin of *every* two-class
    machine that the predicted class takes part in. The rounds end when no such image is left. Time grows
    with the square of `n`.

    Arguments, result and errors are those of `svm`.
    """
    x, y, new = _prepare(images, labels, queries)
    y = y.copy()
    while True:
        model = _fit_svm(x[y >= 0], y[y >= 0], penalty, gamma)
        rest = np.flatnonzero(y < 0)
        if not rest.size:
            break
        margins = _margins(model, x[rest])
        certain = margins.max(axis=1) >= 0.5
        if not certain.any():
            break
        y[rest[certain]] = model.classes_[margins[certain].argmax(axis=1)]
    return model.predict(new).astype(np.int64)  # type: ignore[no-any-return]


def label_spreading(
    images: Array, labels: Array, queries: Array, *, neighbours: int = 7, alpha: float = 0.2
) -> _Labels:
    """Predict by spreading the labels over the graph of nearest neighbours (Zhou et al. 2004).

    Images, labels, queries, result and errors are those of `svm`.

    Args:
        images: shape `(n, ...)`.
        labels: shape `(n,)`.
        queries: shape `(m, ...)`.
        neighbours: of each image in the graph.
        alpha: how much an image takes from its neighbours, in (0, 1).
    """
    from sklearn.semi_supervised import LabelSpreading  # noqa: PLC0415 - slow to import

    x, y, new = _prepare(images, labels, queries)
    model = LabelSpreading(kernel="knn", n_neighbors=min(neighbours, len(x) - 1), alpha=alpha, max_iter=1000)
    with np.errstate(invalid="ignore"):  # no label may reach an image; such an image gets the first class
        return model.fit(x, y).predict(new).astype(np.int64)  # type: ignore[no-any-return]


#: The baselines by the names that tables and reports print.
BASELINES: dict[str, Callable[..., _Labels]] = {
    "label spreading": label_spreading,
    "self-training SVM": self_training_svm,
    "SVM": svm,
}


def compare_baselines(
    images: Array, labels: Array, test_images: Array, test_labels: Array, unlabelled_limit: int = 5000
) -> dict[str, float]:
    """Return the test error of every baseline, in percent, by name.

    Args:
        images: training images, shape `(n, ...)`, with and without labels.
        labels: shape `(n,)`, -1 = unlabelled.
        test_images: shape `(m, ...)`.
        test_labels: shape `(m,)`.
        unlabelled_limit: of more unlabelled images than this, evenly spaced ones are used (all labelled ones
            always are): with 5000 of 28x28 pixels the comparison takes about a minute on one core.

    Raises:
        DataError: shapes do not fit, or fewer than two classes are labelled.
    """
    x, y, new = _prepare(images, labels, test_images)
    truth = as_labels(test_labels, "test_labels")
    if len(truth) != len(new):
        raise DataError(f"{len(new)} test images and {len(truth)} test labels; give one label for each image.")
    unlabelled = np.flatnonzero(y < 0)
    if len(unlabelled) > unlabelled_limit:
        unlabelled = unlabelled[np.linspace(0, len(unlabelled) - 1, unlabelled_limit).astype(int)]
    used = np.sort(np.concatenate([np.flatnonzero(y >= 0), unlabelled]))
    return {
        name: float(100.0 * np.mean(predict(x[used], y[used], new) != truth)) for name, predict in BASELINES.items()
    }


def _prepare(images: Array, labels: Array, queries: Array) -> tuple[_Floats, _Labels, _Floats]:
    x, y, new = (
        np.asarray(images, dtype=np.float32),
        np.asarray(labels),
        np.asarray(queries, dtype=np.float32),
    )
    if y.shape != (len(x),) or x.shape[1:] != new.shape[1:]:
        raise DataError(
            f"images {x.shape}, labels {y.shape} and images to classify {new.shape} do not fit; give one "
            "label for each image (-1 = unlabelled) and images of one size."
        )
    if len(np.unique(y[y >= 0])) < 2:
        raise DataError("labels of fewer than two classes; label examples of at least two.")
    return x.reshape(len(x), -1), y.astype(np.int64), new.reshape(len(new), -1)


def _fit_svm(x: _Floats, y: _Labels, penalty: float, gamma: float) -> "SVC":
    from sklearn.svm import SVC  # noqa: PLC0415 - slow to import

    variance = float(x.var())
    unit = 1.0 / (x.shape[1] * variance) if variance else 1.0  # what scikit-learn calls "scale"
    return SVC(C=penalty, gamma=gamma * unit, decision_function_shape="ovo").fit(x, y)


def _margins(model: "SVC", x: _Floats) -> npt.NDArray[np.float64]:
    """Return for each image and class the smallest margin against any other class, shape `(n, classes)`."""
    classes = len(model.classes_)
    against = np.full((len(x), classes, classes), np.inf)
    first, second = np.triu_indices(classes, k=1)  # the order of the columns of a one-versus-one decision
    decision = model.decision_function(x).reshape(len(x), -1)
    # With two classes scikit-learn's sign is the other way round: positive stands for the second class.
    decision = -decision if classes == 2 else decision
    against[:, first, second], against[:, second, first] = decision, -decision
    return against.min(axis=2)  # type: ignore[no-any-return]

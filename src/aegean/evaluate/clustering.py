"""What unsupervised clusters are worth: the papers' rule, and the usual measures beside it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aegean.errors import DataError
from aegean.evaluate.classification import Array, as_labels
from aegean.train.health import COLLAPSED_SHARE


@dataclass(frozen=True, eq=False)
class Clustering:
    """How well clusters agree with classes, on the test set. Always state `clusters` beside an error rate.

    Every way of naming the clusters is decided on the validation set alone.

    Attributes:
        clusters: K, the number of clusters the model has.
        classes: number of classes in the labels.
        examples: number of test images.
        error_percent: test error under the papers' rule (see `evaluate_clustering`).
        majority_error_percent: test error when a cluster takes the most frequent label of its validation
            images.
        hungarian_error_percent: test error under the best one-to-one naming; None unless clusters = classes.
        nmi: normalised mutual information (arithmetic mean) of clusters and classes, in [0, 1].
        ari: adjusted Rand index, 1 for a perfect match, about 0 by chance.
        empty: clusters to which no test image belongs.
        collapsed: clusters with less than `COLLAPSED_SHARE` of the images that a fair part would be; empty
            ones too.
        heads: index of the validation image that names each cluster, shape `(clusters,)`.
        cluster_labels: label of each cluster under the papers' rule, shape `(clusters,)`.
        sizes: number of test images in each cluster, shape `(clusters,)`.
    """

    clusters: int
    classes: int
    examples: int
    error_percent: float
    majority_error_percent: float
    hungarian_error_percent: float | None
    nmi: float
    ari: float
    empty: int
    collapsed: int
    heads: npt.NDArray[np.int64]
    cluster_labels: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def evaluate_clustering(
    validation_q: Array,
    validation_labels: Array,
    test_q: Array,
    test_labels: Array,
    classes: int | None = None,
) -> Clustering:
    """Name the clusters on the validation set, and count the mistakes on the test set.

    The papers' rule (PixelGAN autoencoders, section 3.1): cluster i takes the label of the
    validation image with the largest q(z_i|x), over the *whole* validation set and not only over the images
    assigned to i. An image belongs to the cluster with its largest q.

    Args:
        validation_q: q(z|x), or its logarithm, for the validation images, shape `(m, clusters)`. Only the
            order matters. Prefer the float64 logarithm: float32 probabilities saturate at 1, and then the
            first of many equal images names the cluster.
        validation_labels: shape `(m,)`.
        test_q: the same for the test images, shape `(n, clusters)`.
        test_labels: shape `(n,)`.
        classes: number of classes; by default one more than the largest label.

    Raises:
        DataError: shapes do not fit, or q is NaN.
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - slow to import
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # noqa: PLC0415 - as well

    validation_q, test_q = _posterior(validation_q, "validation_q"), _posterior(test_q, "test_q")
    named, truth = as_labels(validation_labels, "validation_labels"), as_labels(test_labels, "test_labels")
    if len(validation_q) != len(named) or len(test_q) != len(truth) or validation_q.shape[1] != test_q.shape[1]:
        raise DataError(
            f"{validation_q.shape} and {test_q.shape} posteriors do not fit {len(named)} and {len(truth)} "
            "labels; give one row an image and one column a cluster."
        )
    clusters = validation_q.shape[1]
    known = int(max(named.max(), truth.max())) + 1
    count = known if classes is None else classes
    if known > count:
        raise DataError(f"class {known - 1} occurs, but there are only {count} classes (0 to {count - 1}).")

    members, of = validation_q.argmax(axis=1), test_q.argmax(axis=1)
    heads = validation_q.argmax(axis=0)
    votes = np.zeros((clusters, count), dtype=np.int64)
    np.add.at(votes, (members, named), 1)
    # A cluster without validation images cannot be named by a vote: its test images count as mistakes.
    majority = np.where(votes.any(axis=1), votes.argmax(axis=1), -1)
    sizes = np.bincount(of, minlength=clusters)

    def error_percent(names: npt.NDArray[np.int64]) -> float:
        return float(100.0 * np.mean(names[of] != truth))

    return Clustering(
        clusters=clusters,
        classes=count,
        examples=len(truth),
        error_percent=error_percent(named[heads]),
        majority_error_percent=error_percent(majority),
        # The assignment lists its rows in order, so its columns are the names of clusters 0, 1, ...
        hungarian_error_percent=(
            error_percent(linear_sum_assignment(votes, maximize=True)[1]) if clusters == count else None
        ),
        nmi=float(normalized_mutual_info_score(truth, of)),
        ari=float(adjusted_rand_score(truth, of)),
        empty=int((sizes == 0).sum()),
        collapsed=int((sizes * clusters < COLLAPSED_SHARE * len(truth)).sum()),
        heads=heads,
        cluster_labels=named[heads],
        sizes=sizes,
    )


def _posterior(q: Array, name: str) -> npt.NDArray[np.float64]:
    array = np.asarray(q, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise DataError(f"{name}: expected shape (images, clusters), found {array.shape}.")
    if np.isnan(array).any():
        raise DataError(f"{name}: contains NaN; the model has diverged.")
    return array

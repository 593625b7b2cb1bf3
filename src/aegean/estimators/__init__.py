"""scikit-learn estimators: clusters, classes from few labels, coordinates.

They take images, (n, h, w) or (n, h, w, c), or rows of numbers (n, features), which are vectors unless `image_shape`
says what images they are. Settings are chosen from the data (`aegean.choose`); `overrides` goes before every choice.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from aegean.choose.networks import ModelName, Task
from aegean.errors import ConfigError, DataError
from aegean.estimators.base import AdversarialEstimator, RandomState
from aegean.estimators.files import load_estimator, save_estimator


class _Filed(ClassNamePrefixFeaturesOutMixin, TransformerMixin, AdversarialEstimator):  # type: ignore[misc]
    """A transformer with files."""

    def __sklearn_tags__(self) -> Tags:
        """Codes are float32, whatever the data is."""
        tags: Tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def save(self, path: str | Path) -> None:
        """Write a folder without pickle: the model as `aegean.Model.from_pretrained` reads it, and what else is needed.

        Raises:
            OutputError: it cannot be written.
        """
        check_is_fitted(self)
        save_estimator(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            CheckpointError: missing, damaged, or of another estimator.
        """
        estimator = cls()
        load_estimator(estimator, Path(path))
        return estimator


class AdversarialClusterer(ClusterMixin, _Filed):  # type: ignore[misc]
    """Clusters by an autoencoder whose code is a category, matched to equally frequent ones by an adversary.

    Args:
        n_clusters: how many at most; more than there are kinds is usual, since several clusters can be of one kind.
        model: `"aae"`, `"pixelgan"` (for images) or `"implicit"`.
        image_shape: (h, w) or (h, w, c) of rows that are images; None for vectors, and for images as arrays.
        epochs: passes over the data; by default chosen.
        minutes: time allowed for training, in place of `epochs`.
        starts: trainings from different beginnings, of which the best is kept; by default 5 where data or time allow.
        overrides: settings of the experiment by dotted keys, such as `{"train.batch_size": 50}`.
        random_state: of weights, noise and order; an integer repeats a fit.
        verbose: 1 prints choices and progress.

    Attributes:
        labels_: the cluster of each training example, int64 (n,); cluster 0 is the largest.
        experiment_: every setting that was used.
        reasons_: why, a sentence each.
    """

    _task: Task = "cluster"

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        model: ModelName = "aae",
        image_shape: Sequence[int] | None = None,
        epochs: int | None = None,
        minutes: float | None = None,
        starts: int | None = None,
        overrides: Mapping[str, object] | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.model = model
        self.image_shape = image_shape
        self.epochs = epochs
        self.minutes = minutes
        self.starts = starts
        self.overrides = overrides
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: None = None) -> Self:
        """Find clusters; y is ignored.

        Raises:
            DataError: values are not finite, or shapes do not fit.
            ConfigError: settings do not fit.
        """
        if not isinstance(self.n_clusters, int | np.integer) or self.n_clusters < 1:
            raise ConfigError(f"n_clusters is {self.n_clusters!r}; ask for 1 or more.")
        rows, _ = self._checked(X, fitting=True)
        data = self._form.data(rows)
        self._train(data, clusters=int(self.n_clusters), starts=self.starts)
        found = self._in_batches(self._model.predict, self._form.scale(rows)).argmax(dim=1)
        sizes = torch.bincount(found, minlength=int(self.n_clusters))
        self._order = sizes.argsort(descending=True, stable=True).numpy()
        self.labels_ = self._order.argsort()[found.numpy()]
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return the cluster of each image or vector, int64 (n,)."""
        best: NDArray[np.int64] = self.predict_proba(X).argmax(axis=1)
        return best

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return the probability of each cluster, (n, n_clusters)."""
        found = self._apply("predict", X)
        return found[:, self._order]

    def _place_of(self, label: Any) -> int:
        if not 0 <= label < len(self._order):
            raise ConfigError(f"There is no cluster {label!r}; they are 0 to {len(self._order) - 1}.")
        return int(self._order[label])


class SemiSupervisedClassifier(ClassifierMixin, _Filed):  # type: ignore[misc]
    """Classes from few labels: an adversarial autoencoder that sees all examples, and the labels that there are.

    Examples without label have y = -1, as in `sklearn.semi_supervised`. Labels are integers, or text in an array of
    dtype object, in which -1 (or, in an array of text, "-1") is no label.

    Args:
        model: `"aae"`, `"pixelgan"` (for images) or `"implicit"`.
        image_shape: (h, w) or (h, w, c) of rows that are images; None for vectors, and for images as arrays.
        epochs: passes over the data; by default chosen.
        minutes: time allowed for training, in place of `epochs`.
        overrides: settings of the experiment by dotted keys, such as `{"train.batch_size": 50}`.
        random_state: of weights, noise and order; an integer repeats a fit.
        verbose: 1 prints choices and progress.

    Attributes:
        classes_: the labels, sorted.
        transduction_: the class of each training example: its label, or the prediction.
        experiment_: every setting that was used.
        reasons_: why, a sentence each.
    """

    _task: Task = "classify"

    def __init__(
        self,
        *,
        model: ModelName = "aae",
        image_shape: Sequence[int] | None = None,
        epochs: int | None = None,
        minutes: float | None = None,
        overrides: Mapping[str, object] | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.image_shape = image_shape
        self.epochs = epochs
        self.minutes = minutes
        self.overrides = overrides
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from all examples and the labels that there are.

        Raises:
            DataError: labels of fewer than two classes, values that are not finite, or shapes that do not fit.
            ConfigError: settings do not fit.
        """
        if y is None:
            raise DataError("SemiSupervisedClassifier requires y to be passed, but the target y is None.")
        rows, y = self._checked(X, _labels(y), fitting=True)
        known = _known(y)
        check_classification_targets(y[known])
        self.classes_, codes = np.unique(y[known], return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"Labels of {len(self.classes_)} class; label examples of at least two (-1 is no label).")
        labels = np.full(len(y), -1, dtype=np.int64)
        labels[known] = codes
        self._train(self._form.data(rows, labels, len(self.classes_)))
        found = self._in_batches(self._model.predict, self._form.scale(rows)).argmax(dim=1).numpy()
        self.transduction_ = self.classes_[np.where(known, labels, found)]
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each image or vector, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        found: NDArray[Any] = self.classes_[best]
        return found

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return the probability of each class, (n, classes)."""
        return self._apply("predict", X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of correct predictions among the examples with a label.

        Raises:
            DataError: none has a label.
        """
        truth = _labels(y)
        known = _known(truth)
        if not known.any():
            raise DataError("No example has a label to compare with; y is -1 everywhere.")
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        return float(accuracy_score(truth[known], self.predict(X)[known], sample_weight=weight))

    def _place_of(self, label: Any) -> int:
        place = np.flatnonzero(self.classes_ == label)
        if not len(place):
            raise ConfigError(f"There is no class {label!r}; they are {', '.join(map(str, self.classes_))}.")
        return int(place[0])


class AdversarialEmbedding(_Filed):
    """A few coordinates for each example, spread like a Gaussian by an adversary, with a way back.

    Args:
        n_components: how many coordinates.
        model: `"aae"`, `"pixelgan"` (for images) or `"implicit"`.
        image_shape: (h, w) or (h, w, c) of rows that are images; None for vectors, and for images as arrays.
        epochs: passes over the data; by default chosen.
        minutes: time allowed for training, in place of `epochs`.
        overrides: settings of the experiment by dotted keys, such as `{"train.batch_size": 50}`.
        random_state: of weights, noise and order; an integer repeats a fit.
        verbose: 1 prints choices and progress.

    Attributes:
        embedding_: coordinates of the training examples, float32 (n, n_components).
        experiment_: every setting that was used.
        reasons_: why, a sentence each.
    """

    _task: Task = "embed"

    def __init__(
        self,
        n_components: int = 2,
        *,
        model: ModelName = "aae",
        image_shape: Sequence[int] | None = None,
        epochs: int | None = None,
        minutes: float | None = None,
        overrides: Mapping[str, object] | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.model = model
        self.image_shape = image_shape
        self.epochs = epochs
        self.minutes = minutes
        self.overrides = overrides
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: None = None) -> Self:
        """Learn coordinates; y is ignored.

        Raises:
            DataError: values are not finite, or shapes do not fit.
            ConfigError: settings do not fit.
        """
        if not isinstance(self.n_components, int | np.integer) or self.n_components < 1:
            raise ConfigError(f"n_components is {self.n_components!r}; ask for 1 or more.")
        rows, _ = self._checked(X, fitting=True)
        self._train(self._form.data(rows), dim=int(self.n_components))
        self.embedding_ = self._in_batches(self._model.encode, self._form.scale(rows)).numpy()
        return self

    def inverse_transform(self, Z: Any) -> NDArray[Any]:
        """Return the images or vectors of coordinates (n, n_components), in the form of the training data."""
        check_is_fitted(self)
        z = torch.from_numpy(np.asarray(Z, dtype=np.float32))
        if z.ndim != 2 or z.shape[1] != self.n_components:
            raise DataError(f"Coordinates have the shape {tuple(z.shape)}; expected (n, {self.n_components}).")
        generator = torch.Generator().manual_seed(0)
        return self._form.restore(self._in_batches(lambda part: self._model.decode(part, generator), z))


def _labels(y: Any) -> NDArray[Any]:
    """Labels as an array, (n,); a column is taken with a warning, as scikit-learn does."""
    labels: NDArray[Any] = column_or_1d(y, warn=True)
    return labels


def _known(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Where there is a label."""
    if y.dtype.kind in "US":
        return np.asarray(y != y.dtype.type("-1"))
    if y.dtype.kind == "O":
        return np.array([not (isinstance(label, int | np.integer) and label == -1) and label != "-1" for label in y])
    return np.asarray(y != -1)


__all__ = ["AdversarialClusterer", "AdversarialEmbedding", "SemiSupervisedClassifier"]

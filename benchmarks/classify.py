"""SemiSupervisedClassifier without any setting, beside the usual methods, on the same 100 labels and held-out images.

python -m benchmarks.classify                                            scikit-learn's digits, five seeds
python -m benchmarks.classify --data mnist --minutes 20                  MNIST
python -m benchmarks.classify --data mnist --minutes 20 --first 3 --seeds 1    one of its seeds

What is measured is kept after each method, so that a run can be stopped and go on (`benchmarks/seeds.py`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks import labels, peers
from benchmarks.seeds import Figures, Methods

LABELS_PER_CLASS = 10


def ours(data: labels.Data, minutes: float | None, seed: int) -> Figures:
    """Error of the estimator, and its time."""
    from aegean import SemiSupervisedClassifier

    watch = labels.Stopwatch()
    classifier = SemiSupervisedClassifier(minutes=minutes, random_state=seed).fit(data.train, data.labels)
    time = watch.read()
    return {"error %": _error(classifier.predict(data.test), data)} | time


def _peer(predict: Callable[..., Any], features: str, tuned: bool, data: labels.Data) -> Figures:
    train, test = data.rows() if features == "pixels" else data.components()
    return {"error %": _error(predict(train, data.labels, test, tuned), data)}


def _error(predicted: Any, data: labels.Data) -> float:
    return float(100 * np.mean(predicted != data.test_truth))


def methods(settings: dict[str, Any], seed: int) -> Methods:
    """Ours, and each peer on pixels and on principal components, with the usual and with chosen settings."""
    data = labels.load(settings, LABELS_PER_CLASS, seed)
    found: dict[str, Callable[[], Figures]] = {
        "SemiSupervisedClassifier": partial(ours, data, settings["minutes"], seed)
    }
    for name, predict in (("label spreading", peers.spread), ("self-training SVM", peers.self_train)):
        for features in ("pixels", "principal components"):
            for tuned in (False, True):
                how = ", cross-validated" if tuned else ""
                found[f"{name} on {features}{how}"] = partial(_peer, predict, features, tuned, data)
    return found


def measure() -> Figures:
    """Digits, as numbers by name."""
    return labels.measure("classify", methods, labels.settings_of())


if __name__ == "__main__":
    labels.main("classify", methods)

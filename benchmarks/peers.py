"""Usual methods of few labels, with their usual settings and with those that cross-validation of the labels chooses."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from aegean.evaluate import label_spreading, self_training_svm, svm

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

#: Self-training takes time with the square of the images, and cross-validation is many fits: so many without label.
FEWER = 5000
FOLDS = 5
#: What is tried. Where two do equally well, the first is taken: the usual settings.
LABEL_SPREADING = [
    {"neighbours": neighbours, "alpha": alpha}
    for neighbours, alpha in itertools.product((7, 3, 5, 10, 20), (0.2, 0.05, 0.5, 0.9))
]
SVM = [
    {"penalty": penalty, "gamma": gamma} for penalty, gamma in itertools.product((10.0, 1.0, 100.0), (1.0, 0.3, 3.0))
]


def spread(x: Images, y: Labels, new: Images, tuned: bool) -> Labels:
    """Label spreading over all images."""
    settings = _best(label_spreading, LABEL_SPREADING, *fewer(x, y)) if tuned else {}
    return label_spreading(x, y, new, **settings)


def self_train(x: Images, y: Labels, new: Images, tuned: bool) -> Labels:
    """A self-training support vector machine; its settings are chosen for the machine that sees the labels only."""
    settings = _best(svm, SVM, x[y >= 0], y[y >= 0]) if tuned else {}
    return self_training_svm(*fewer(x, y), new, **settings)


def fewer(x: Images, y: Labels) -> tuple[Images, Labels]:
    """All images with a label, and evenly spaced ones of the others."""
    unlabelled = np.flatnonzero(y < 0)
    if len(unlabelled) > FEWER:
        unlabelled = unlabelled[np.linspace(0, len(unlabelled) - 1, FEWER).astype(int)]
    used = np.sort(np.concatenate([np.flatnonzero(y >= 0), unlabelled]))
    return x[used], y[used]


def _best(predict: Callable[..., Labels], grid: list[dict[str, Any]], x: Images, y: Labels) -> dict[str, Any]:
    """The settings with the fewest errors where a fold's labels are hidden and predicted."""
    known = np.flatnonzero(y >= 0)
    folds = min(FOLDS, int(np.bincount(y[known]).min()))
    if folds < 2:
        return grid[0]
    mistakes = np.zeros(len(grid))
    for _, place in StratifiedKFold(folds, shuffle=True, random_state=0).split(known, y[known]):
        held = known[place]
        hidden = y.copy()
        hidden[held] = -1
        for k, settings in enumerate(grid):
            mistakes[k] += np.sum(predict(x, hidden, x[held], **settings) != y[held])
    return grid[int(mistakes.argmin())]

"""How often the predictions are right, from images whose labels are hidden in turn.

Labels are few, so none is given up for good. They are cut into parts; for each part a model of the same settings learns
from all images and from the labels of the other parts, and predicts the part. All of these trainings together make as
many passes as the training of the run: with five parts each makes a fifth, so the estimate is rather too high.
Where labels are many, one part is enough, and its model makes all passes.
"""

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from aegean.build import build_trainer
from aegean.choose import with_epochs
from aegean.data import Splits
from aegean.evaluate.apply import Advance, apply
from aegean.evaluate.classification import Classification, evaluate_classification
from aegean.files import atomic_write_json, read_bounded
from aegean.run import Run
from aegean.tasks.calibrate import cross_fitted, fit_temperature
from aegean.train import Progress

#: Predictions that are enough for an estimate; parts beyond these are not trained.
ENOUGH = 200
#: In the folder of a run: the predictions of the parts that are done.
FOLDS = "folds.json"
MAX_FOLDS_BYTES = 500_000_000


@dataclass(frozen=True, eq=False)
class Unseen:
    """Predictions of images by models that had not seen their labels.

    Attributes:
        index: of the images in the part of the data where they are, int64 (n,).
        labels: their classes, int64 (n,).
        log_q: logarithms of predicted probabilities, (n, k).
        parts: which model predicted each, int64 (n,).
        held_out: whether the images are the data's test images, predicted by the run's own model; otherwise they are
            training images whose labels were hidden in turn.
        passes: of each model over the images; 0 for the run's own.
    """

    index: Tensor
    labels: Tensor
    log_q: Tensor
    parts: Tensor
    held_out: bool = False
    passes: int = 0

    @classmethod
    def joined(cls, parts: list[dict[str, Any]], labels: Tensor, passes: int) -> Self:
        """Join the predictions of several models."""
        index = torch.tensor([index for part in parts for index in part["index"]])
        log_q = torch.tensor([row for part in parts for row in part["log_q"]])
        numbers = torch.tensor([number for number, part in enumerate(parts) for _ in part["index"]])
        return cls(index, labels[index], log_q, numbers, passes=passes)

    @property
    def models(self) -> int:
        """How many models predicted."""
        return int(self.parts.max()) + 1

    @cached_property
    def temperature(self) -> float:
        """The temperature of calibrated probabilities."""
        return fit_temperature(self.log_q, self.labels)

    @cached_property
    def probabilities(self) -> Tensor:
        """Calibrated, each by a temperature that its image had no part in, (n, k)."""
        return cross_fitted(self.log_q, self.labels, self.parts)

    def judge(self) -> Classification:
        """Compare with the labels."""
        confidence, predicted = self.probabilities.max(dim=1)
        return evaluate_classification(self.labels, predicted, self.log_q.shape[1], confidence)


def predict_unseen(run: Run, folds: int, advance: Advance | None = None, train: bool = True) -> Unseen | None:
    """Predict images with hidden labels: the test images, where some have labels, or else by cross-validation.

    Parts that are done are kept in the run's folder; after an interruption the others follow.

    Args:
        run: trained to its end.
        folds: parts of the labels; 0 for no cross-validation.
        advance: told of the progress.
        train: whether models may be trained; otherwise only predictions that are there already are used.

    Returns:
        None where no class has two labels, or `folds` is 0 and no test image has a label.

    Raises:
        KeyboardInterrupt: Ctrl-C; what is done is kept.
    """
    test = run.splits.test.with_known_labels()
    if len(test):
        log_q = apply(run.model(), run.model().log_predict, test.images, run.precision, run.splits.binarize)
        index = torch.nonzero(run.splits.test.labels >= 0).flatten()
        return Unseen(index, test.labels, log_q, torch.zeros(len(test), dtype=torch.int64), held_out=True)
    splits = run.splits
    parts = _parts(splits, folds, run.experiment.seed)
    if not parts:
        return None
    passes = max(1, math.ceil(run.experiment.train.epochs / len(parts)))
    done = _read(run.folder / FOLDS, passes, len(parts))
    if not train and len(done) < len(parts):
        return None
    for number, hidden in enumerate(parts[len(done) :], start=len(done)):
        done.append(
            {
                "index": hidden.tolist(),
                "log_q": _predict_part(run, hidden, passes, _teller(advance, number, len(parts))),
            }
        )
        atomic_write_json(run.folder / FOLDS, {"passes": passes, "models": len(parts), "parts": done})
    return Unseen.joined(done, splits.train.labels, passes)


def _parts(splits: Splits, folds: int, seed: int) -> list[Tensor]:
    """Indices of the training images whose labels are hidden from each model; every class in its proportion."""
    known = splits.labelled
    labels = splits.train.labels[known]
    largest = int(torch.bincount(labels).max()) if len(labels) else 0
    count = min(folds, largest)
    if count < 2:
        return []
    enough = min(count, math.ceil(ENOUGH / (len(known) / count)))
    folder = StratifiedKFold(count, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class of fewer labels than parts is missing in some, which is all right
        cut = [known[torch.from_numpy(hidden)] for _, hidden in folder.split(known, labels)]
    return cut[:enough]


def _predict_part(run: Run, hidden: Tensor, passes: int, progress: Callable[[Progress], None]) -> list[list[float]]:
    """Train without the labels of a part, from new weights, and predict it."""
    train = run.splits.train
    keep = run.splits.labelled
    without = train.without_labels(keep[~torch.isin(keep, hidden)])
    splits = replace(run.splits, train=without)
    trainer = build_trainer(with_epochs(run.experiment, passes), splits)
    if trainer.fit(progress).ended == "interrupted":
        raise KeyboardInterrupt
    with trainer.for_evaluation():
        log_q = apply(
            trainer.model, trainer.model.log_predict, train.images[hidden], trainer.precision, splits.binarize
        )
    rows: list[list[float]] = log_q.clamp(min=-1e4).tolist()
    return rows


def _teller(advance: Advance | None, number: int, models: int) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        if advance is not None:
            advance("estimating the error", number * progress.steps + progress.step, models * progress.steps)

    return tell


def _read(path: Path, passes: int, models: int) -> list[dict[str, Any]]:
    """Return the parts that are done already, if they are of the same plan."""
    if not path.is_file():
        return []
    try:
        values = json.loads(read_bounded(path, MAX_FOLDS_BYTES))
        if (values["passes"], values["models"]) != (passes, models):
            return []
        return [{"index": part["index"], "log_q": part["log_q"]} for part in values["parts"]]
    except (ValueError, KeyError, TypeError):
        return []  # damaged: they are trained again

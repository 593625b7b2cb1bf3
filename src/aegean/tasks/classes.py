"""Classes from few labels: a table of calibrated probabilities, an estimate of the error, what to label next."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from aegean.data import ImageData
from aegean.evaluate.apply import Advance, progress_of
from aegean.files import atomic_write_json, write_csv
from aegean.report.words import error_interval, percent
from aegean.run import CALIBRATION, Run
from aegean.tasks.folds import Unseen
from aegean.tasks.next_labels import choose_next
from aegean.tasks.settings import TaskSettings
from aegean.use import codes, predictions
from aegean.writing import names_of, write_predictions


@dataclass(frozen=True, eq=False)
class Classes:
    """Images and what a model says of them.

    Attributes:
        data: the training images, with the labels that training saw.
        q: calibrated probability of each class, (n, k).
        unseen: predictions of images whose labels were hidden; None where the error was not estimated.
        next: indices of images to be labelled next, the most uncertain first.
    """

    data: ImageData
    q: Tensor
    unseen: Unseen | None
    next: Tensor

    @classmethod
    def of(cls, run: Run, settings: TaskSettings, unseen: Unseen | None, advance: Advance | None = None) -> Self:
        """Predict the training images by the run's model and temperature, and choose what to label next."""
        model, data = run.model(), run.splits.train
        q = predictions(run, model, data, progress_of(advance, "predicting", len(data)))
        unknown = torch.nonzero(data.labels < 0).flatten()
        chosen = unknown
        if len(unknown):
            z = codes(run, model, data.subset(unknown), progress_of(advance, "encoding", len(unknown)))
            chosen = unknown[choose_next(q[unknown], z, settings.next)]
        return cls(data, q, unseen, chosen)

    def sentences(self) -> tuple[str, ...]:
        """Say what was found, and how far it can be trusted."""
        unknown = int((self.data.labels < 0).sum())
        what = "vectors" if self.data.shape[1:] == (1, 1) else "images"
        given = f"{unknown:,} {what} without a label were given one of {self.data.classes} classes."
        if self.unseen is None:
            return given, "How often that is right is not known: the error was not estimated."
        judged = self.unseen.judge()
        low, high = error_interval(judged.mistakes, judged.examples)
        kind = f"held-out {what}" if self.unseen.held_out else f"{what} whose label was hidden"
        found = [
            f"{judged.examples - judged.mistakes:,} of {judged.examples:,} {kind} were labelled correctly: an error of "
            f"{percent(judged.error_percent)}, and with 95\u202f% confidence between {low:.1f} and {percent(high)}."
        ]
        guessing = 100 * (1 - float(self.unseen.labels.bincount().max()) / judged.examples)
        if high >= guessing:
            found.append("That may be no better than guessing: train longer (--minutes), or label more images.")
        found.append(given)
        if not self.unseen.held_out:
            found.append(_how_estimated(self.unseen.models, self.unseen.passes))
        return tuple(found)


def calibrate(run: Run, unseen: Unseen | None) -> None:
    """Keep the temperature that the run's probabilities need; without hidden labels they stay as they are.

    Raises:
        OutputError: it cannot be written.
    """
    if unseen is not None:
        atomic_write_json(run.folder / CALIBRATION, {"temperature": unseen.temperature})
        run.temperature = unseen.temperature


def write_classes(run: Run, found: Classes) -> list[Path]:
    """Write `predictions.csv` and `label-next.csv`.

    Raises:
        OutputError: something cannot be written.
    """
    data, names = found.data, names_of(found.data)
    confidence, best = (values.tolist() for values in found.q.max(dim=1))
    kinds = data.class_names
    files = [run.folder / "predictions.csv"]
    write_predictions(files[0], kinds, data, found.q, given=data.labels)
    if len(found.next):
        files.append(run.folder / "label-next.csv")
        proposed = ([names[i], "", kinds[best[i]], f"{confidence[i]:.4f}"] for i in found.next.tolist())
        write_csv(files[-1], ["file", "label", "guess", "confidence"], proposed)
    return files


def _how_estimated(models: int, passes: int) -> str:
    times = "pass" if passes == 1 else "passes"
    if models == 1:
        return f"Labels were hidden from one more model, trained for as many passes ({passes})."
    return (
        f"Labels were hidden in turn from {models} models of {passes} {times} each; the model that is kept saw all "
        "labels, and was trained no shorter, so its error is probably lower."
    )

"""Rounds of labelling: a classifier goes on from the weights of the last round, with more labels.

What an earlier round left is moved into `rounds/1`, `rounds/2`, ... of the run's folder.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from aegean.build import build_trainer
from aegean.choose.networks import Task
from aegean.data import Splits
from aegean.errors import AegeanError, CheckpointError, OutputError
from aegean.experiment import Experiment
from aegean.models import Model, create
from aegean.models.base import load_weights
from aegean.run import CALIBRATION, DATA, Run
from aegean.tasks.settings import SETTINGS, TaskSettings, labels_digest, settings_of

#: Files of a round, in the order in which they are moved; without the last one a folder holds no run.
FILES = (
    "checkpoints", "metrics.jsonl", "folds.json", CALIBRATION, "evaluation.json", "predictions.csv", "label-next.csv",
    "report.html", "command.txt", "environment.json", DATA, SETTINGS, "experiment.yaml",
)  # fmt: skip


@dataclass(frozen=True)
class Round:
    """An earlier round.

    Attributes:
        run: its run.
        settings: what that was made for.
        model: its model.
        number: from 1.
        labels: its table of labels, where it has one.
        checkpoint: the weights to go on from; None where they do not fit.
        sentence: what will be done with them.
    """

    run: Run
    settings: TaskSettings
    model: Model
    number: int
    labels: Path | None
    checkpoint: Path | None = None
    sentence: str = ""

    @property
    def next_labels(self) -> str:
        """Name of the next round's table of labels."""
        return f"labels-{self.number + 1}.csv"

    def if_it_fits(self, experiment: Experiment, splits: Splits) -> "Round":
        """Return the round with its weights, if the new round's model has the same classes and networks.

        Raises:
            OutputError: there is no label that the earlier round did not have.
        """
        if labels_digest(splits) == self.settings.labels_digest:
            raise OutputError(
                f"{self.run.folder}: holds a run with these very labels. Add labels (label-next.csv there says which "
                "help most), or choose another folder with --out."
            )
        if splits.train.class_names != self.settings.classes:
            return replace(self, sentence="The classes are others than before, so the training starts anew.")
        if not _alike(self.model, create(experiment.model, splits.shape, splits.classes, experiment.seed)):
            return replace(self, sentence="The networks are others than before, so the training starts anew.")
        sentence = (
            f"Round {self.number + 1}: the training goes on from the weights of the last round, with "
            f"{len(splits.labelled)} labels instead of {self.settings.labelled}."
        )
        return replace(self, checkpoint=self.run.checkpoint(), sentence=sentence)

    def put_away(self) -> None:
        """Move what the round left into a folder of its own.

        Raises:
            OutputError: it cannot be moved, or another process trains in the folder.
        """
        target = self.run.folder / "rounds" / str(self.number)
        with self.run.alone():
            try:
                target.mkdir(parents=True, exist_ok=True)
                for name in FILES:
                    if (self.run.folder / name).exists():
                        (self.run.folder / name).rename(target / name)
            except OSError as error:
                raise OutputError(f"{target}: cannot be written ({error.strerror}); choose another --out.") from None

    def start(self, run: Run) -> None:
        """Give a new run the weights of this round, as its first checkpoint.

        Raises:
            CheckpointError: they are damaged.
            OutputError: the checkpoint cannot be written.
        """
        if self.checkpoint is None:
            return
        moved = run.folder / "rounds" / str(self.number) / "checkpoints" / self.checkpoint.name
        trainer = build_trainer(run.experiment, run.splits, run.folder)
        load_weights(trainer.model, moved / "model.safetensors")
        if trainer.ema is not None:
            trainer.ema.load(trainer.model.state_dict(), 0)
        trainer.save()


def earlier_round(folder: Path, task: Task, source: str) -> Round | None:
    """Return the finished round of a classifier of these images in a folder; None where the folder holds no run.

    Raises:
        OutputError: it holds another run, or one that is not finished.
    """
    if not (folder / "experiment.yaml").exists():
        return None
    run = Run.open(folder)
    settings = settings_of(run)
    same = getattr(run.experiment.data, "path", None) == source
    if task != "classify" or settings is None or settings.task != "classify" or not same:
        raise OutputError(f"{folder}: holds another run already; choose another folder with --out.")
    if not (folder / "predictions.csv").is_file():
        raise OutputError(f"{folder}: holds a run that has not finished; go on with: aegean resume {folder}")
    try:
        model = Model.from_pretrained(run.checkpoint())
    except AegeanError as error:
        raise CheckpointError(f"{error} Choose another folder with --out to train anew.") from None
    number = 1 + len(list((folder / "rounds").glob("*")))
    labels = getattr(run.experiment.data, "labels_file", None)
    return Round(run, settings, model, number, Path(labels) if labels else None)


def _alike(one: Model, other: Model) -> bool:
    """Whether two models can have the same weights."""
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (one, other)]
    return type(one) is type(other) and shapes[0] == shapes[1]

"""Several trainings from different beginnings, of which one is kept: that whose clusters suit the data best.

Without labels nobody can see which clusters are right. What can be seen is how far a training has come with what the
term of consistency asks for: how much the clusters of an image and of changed copies of it tell of each other. On
scikit-learn's digits that tells trainings in which two digits share a cluster from the others
(docs/decisions/0026-one-of-several-starts-is-kept.md).
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from aegean.build import build_trainer
from aegean.data import Splits
from aegean.errors import CheckpointError, OutputError
from aegean.evaluate.apply import apply
from aegean.experiment import Experiment
from aegean.files import atomic_write_json, read_bounded
from aegean.models.consistency import consistency_of, mutual_information
from aegean.train import Outcome, Progress, Trainer
from aegean.train.checkpoint import list_checkpoints
from aegean.train.distributed import ALONE, Processes

#: In a run's folder: the trainings until one is kept, and afterwards what was found of each.
FOLDER, STARTS = "starts", "starts.json"
MAX_BYTES = 100_000
#: Training images that are looked at, and changed copies of each.
LOOKED_AT, COPIES = 10_000, 4
#: Between the seeds of two starts, so that those of seed 0 are not those of seed 1.
APART = 1_000_003

#: From a trainer to what it is evaluated by, if at all.
Judge = Callable[[Trainer], Callable[[], Mapping[str, float]] | None]


def train_starts(
    experiment: Experiment,
    splits: Splits,
    folder: Path | None = None,
    processes: Processes = ALONE,
    progress: Callable[[Progress], None] | None = None,
    judge: Judge = lambda trainer: None,
) -> tuple[Trainer, Outcome]:
    """Train as often as `experiment.starts` says, from other weights each time, and keep one; or go on with that.

    Args:
        experiment: all settings.
        splits: the data.
        folder: of the run, for checkpoints and logs; None writes nothing. What is there already is gone on with.
        processes: those that train together.
        progress: told of all trainings as if they were one.
        judge: of the metrics on validation images, which have no part in the choice.

    Returns:
        The trainer that is kept, and how the training ended, whose steps are that one's and whose seconds are all.

    Raises:
        AegeanError: anything that a `Trainer` raises.
    """
    if experiment.starts == 1:
        return _train(experiment, splits, folder, processes, progress, judge)
    if folder is not None and list_checkpoints(folder / "checkpoints"):
        # Without that file they are another training's weights, which were given to start from.
        number = _read(folder)[1] if (folder / STARTS).is_file() else 1
        return _train(_start(experiment, number), splits, folder, processes, progress, judge)
    kept: tuple[Trainer, Outcome] | None = None
    found: list[float] = []
    seconds = 0.0
    for number in range(1, experiment.starts + 1):
        own = folder / FOLDER / str(number) if folder is not None else None
        told = None if progress is None else _teller(progress, number, experiment.starts)
        trainer, outcome = _train(_start(experiment, number), splits, own, processes, told, judge)
        seconds += outcome.seconds
        if outcome.ended == "interrupted":
            return trainer, replace(outcome, seconds=seconds)
        found.append(shared_information(trainer, splits))
        if kept is None or found[-1] > max(found[:-1]):
            kept = trainer, outcome
    assert kept is not None  # noqa: S101 - there is at least one start
    trainer, outcome = kept
    trainer.seconds = seconds
    if folder is not None and processes.first:
        _keep(trainer, folder, found)
    processes.wait()
    return trainer, replace(outcome, seconds=seconds)


def shared_information(trainer: Trainer, splits: Splits) -> float:
    """Return how much the clusters of an image and of changed copies of it tell of each other, in nats, 0 to ln k.

    Args:
        trainer: of a model with a term of consistency, which says what the changes are; judged by its averaged weights,
            if it has such.
        splits: whose training images are looked at, at most `LOOKED_AT` of them.
    """
    model, consistency = trainer.model, consistency_of(trainer.model.config)
    assert consistency is not None  # noqa: S101 - `build_trainer` has seen to it
    images = splits.train.images[:: -(-len(splits.train.images) // LOOKED_AT)]
    generator = torch.Generator(model.device).manual_seed(0)  # all starts see the same copies

    def predict(x: Tensor) -> Tensor:
        copies = [consistency.change.apply(x, generator) for _ in range(COPIES)]
        return torch.stack([model.predict(one) for one in (x, *copies)], dim=1)

    with trainer.for_evaluation():
        q = apply(model, predict, images, trainer.precision, splits.binarize)  # (n, 1 + copies, k)
    return float(mutual_information(q[:, :1].expand(-1, COPIES, -1).flatten(0, 1), q[:, 1:].flatten(0, 1)))


def describe_starts(folder: Path) -> str:
    """Say which of several starts a run's folder has kept and why; nothing where there was one.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not (folder / STARTS).is_file():
        return ""
    information, kept = _read(folder)
    nats = ", ".join(f"{value:.2f}" for value in information)
    return (
        f"Training {kept} of {len(information)} was kept, in which the clusters of an image and of changed copies of "
        f"it share the most information ({nats} nats)."
    )


def _start(experiment: Experiment, number: int) -> Experiment:
    """One of the trainings, from 1; the first is that of an experiment without starts."""
    return experiment.override({"seed": experiment.seed + (number - 1) * APART, "starts": 1})


def _read(folder: Path) -> tuple[list[float], int]:
    """What was found of each start, and which was kept, from 1."""
    path = folder / STARTS
    try:
        values = json.loads(read_bounded(path, MAX_BYTES, CheckpointError))
        information, kept = [float(value) for value in values["information"]], int(values["kept"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path}: damaged; it says which start the checkpoints are of.") from None
    return information, kept


def _train(
    experiment: Experiment,
    splits: Splits,
    folder: Path | None,
    processes: Processes,
    progress: Callable[[Progress], None] | None,
    judge: Judge,
) -> tuple[Trainer, Outcome]:
    trainer = build_trainer(experiment, splits, folder if processes.first else None, processes)
    done = list_checkpoints(folder / "checkpoints") if folder is not None else []
    if done:
        trainer.load(done[-1])
    return trainer, trainer.fit(progress, judge(trainer))


def _teller(progress: Callable[[Progress], None], number: int, starts: int) -> Callable[[Progress], None]:
    def tell(one: Progress) -> None:
        epochs, steps = one.epochs, one.steps
        per_step = one.seconds_left / (steps - one.step) if one.step < steps else 0.0
        progress(
            replace(
                one,
                epoch=one.epoch + (number - 1) * epochs,
                epochs=epochs * starts,
                step=one.step + (number - 1) * steps,
                steps=steps * starts,
                seconds_left=one.seconds_left + (starts - number) * steps * per_step,
            )
        )

    return tell


def _keep(trainer: Trainer, folder: Path, found: list[float]) -> None:
    """Put the log and the checkpoint of the start that is kept into the run's folder; the others are removed.

    Until the checkpoint is there, all of it would be done again.
    """
    number = found.index(max(found)) + 1
    try:
        shutil.copytree(folder / FOLDER / str(number), folder, dirs_exist_ok=True, ignore=lambda *_: ["checkpoints"])
    except (OSError, shutil.Error) as error:
        raise OutputError(f"{folder}: cannot be written ({error}).") from None
    atomic_write_json(folder / STARTS, {"information": found, "kept": number})
    trainer.folder = folder
    trainer.save()
    shutil.rmtree(folder / FOLDER, ignore_errors=True)

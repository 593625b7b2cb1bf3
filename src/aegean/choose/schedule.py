"""How long to train, and in what portions: from the number of examples, or from the time allowed."""

import math
import time
from typing import Any

from aegean.build import build_trainer
from aegean.choose.networks import FEW, Choice, ModelName, Task
from aegean.choose.summary import DataSummary
from aegean.data import Splits
from aegean.errors import ConfigError
from aegean.experiment import Experiment
from aegean.models.consistency import consistency_of

#: Steps that 1,500 examples take, by task; their number grows with the third root of the examples.
STEPS: dict[Task, int] = {"classify": 600, "cluster": 700, "embed": 2500}
FEWEST_STEPS, MOST_STEPS = 300, 10_000
#: Training longer than so many times the recommended steps is not tried, however much time there is.
LONGEST = 5

#: Trainings of a clustering where time allows, and of few examples without `minutes`.
STARTS = 5

#: Settings that are epochs of a schedule.
_EPOCHS = ("neighbour_epochs", "finer_epochs", "warm_up")

#: Steps that are not timed (kernels are compiled, memory is taken), and the seconds of those that are.
WARM_UP, TIMED_SECONDS = 3, 3.0
#: The share of the time allowed that is planned for training; the rest is for reading, checking and saving.
PLANNED = 0.9


def choose_schedule(task: Task, model: ModelName, data: DataSummary, groups: int) -> Choice:
    """Choose batch size and epochs."""
    choice = Choice()
    largest = 250 if task == "cluster" else 200
    # Few examples: small batches, so that an epoch has enough steps. Clusters: several examples of each in a batch.
    batch = max(min(largest, data.n // 15), 16, min(5 * groups, largest) if task == "cluster" else 0)
    batch = min(batch, data.n)
    per_epoch = max(1, data.n // batch)
    steps = STEPS[task] * (data.n / 1500) ** (1 / 3) * (2 if model == "implicit" else 1)
    epochs = math.ceil(max(FEWEST_STEPS, min(MOST_STEPS, steps)) / per_epoch)
    why = ", few, so that few examples still make many steps" if batch < min(100, data.n) else ""
    choice.add(f"{batch} {data.what} at a time{why}.", train__batch_size=batch)
    if task == "classify":
        choice.add("", train__labelled_batch_size=max(1, min(100, data.labelled)))
    if data.vectors and data.numbers < 64:
        choice.add("", train__precision="float32")  # networks so small would spend their time on casts
    choice.add(f"{epochs} passes over the {data.what}, about {epochs * per_epoch} steps.", train__epochs=epochs)
    return choice


def choose_starts(task: Task, data: DataSummary, minutes: float | None) -> int:
    """Choose of how many trainings the best is kept: clusters made without labels depend on where a training begins.

    Args:
        task: only "cluster" has several.
        data: what it is for.
        minutes: time allowed; `within_minutes` then sees how many it is enough for.
    """
    return STARTS if task == "cluster" and (minutes is not None or data.n <= FEW) else 1


def with_epochs(experiment: Experiment, epochs: int) -> Experiment:
    """Return the experiment with another number of epochs, and all that changes over epochs in the same proportion.

    Args:
        experiment: whose schedules are meant for its own `train.epochs`.
        epochs: at least 1.

    Raises:
        ConfigError: fewer than 1.
    """
    if epochs < 1:
        raise ConfigError(f"Training for {epochs} epochs is none; ask for 1 or more.")
    factor = epochs / experiment.train.epochs
    values = _stretched(experiment.to_dict(), factor)
    values["train"]["epochs"] = epochs
    return Experiment.from_dict(values)


def _stretched(value: Any, factor: float) -> Any:
    """Multiply the epochs of schedules: of every `Anneal`, of drops of rates, and those in `_EPOCHS`."""
    if isinstance(value, list):
        return [_stretched(item, factor) for item in value]
    if not isinstance(value, dict):
        return value
    if {"start", "end", "epochs", "begin"} <= set(value):
        return value | {"epochs": value["epochs"] * factor, "begin": value["begin"] * factor}
    return {key: _stretched_item(key, item, factor) for key, item in value.items()}


def _stretched_item(key: str, item: Any, factor: float) -> Any:
    if key == "drops":
        return [[epoch * factor, by] for epoch, by in item]
    return item * factor if key in _EPOCHS else _stretched(item, factor)


def within_minutes(
    experiment: Experiment, splits: Splits, minutes: float, fixed: bool = True
) -> tuple[Experiment, str]:
    """Choose the epochs by the time allowed, after timing the first steps for a few seconds on this machine.

    Args:
        experiment: with the epochs that are recommended; at most five times as many are trained.
        splits: the data.
        minutes: time allowed for training, more than 0.
        fixed: make all of the experiment's starts; otherwise as many as can make the epochs that are recommended.

    Returns:
        The experiment with another number of epochs, at least 1, and the reason.

    Raises:
        ConfigError: no time at all.
    """
    if not 0 < minutes < math.inf:
        raise ConfigError(f"{minutes:g} minutes are no time to train in; allow more than 0.")
    # Neighbours are looked for once, and an image more of each is soon read; with finer categories, phases wait.
    off = {"neighbours": 0, "neighbour_epochs": 0.0, "finer": 0, "finer_epochs": 0.0}
    at_once = {} if consistency_of(experiment.model) is None else {f"model.consistency.{k}": v for k, v in off.items()}
    trainer = build_trainer(experiment.override(at_once), splits)
    for _ in range(WARM_UP):
        trainer.run_step()
    seconds = min(TIMED_SECONDS, 60 * minutes / 20)
    started, steps = time.monotonic(), 0
    while steps == 0 or time.monotonic() - started < seconds:
        trainer.run_step()
        steps += 1
    step = (time.monotonic() - started) / steps
    possible = int(PLANNED * 60 * minutes / (step * trainer.steps_per_epoch))
    recommended = experiment.train.epochs
    starts = experiment.starts if fixed else max(1, min(experiment.starts, possible // recommended))
    epochs = max(1, min(possible // starts, LONGEST * recommended))
    unit = "minute is" if minutes == 1 else "minutes are"
    reason = f"{epochs} passes instead, because {minutes:g} {unit} allowed and a step takes {1000 * step:.0f} ms."
    return with_epochs(experiment.override({"starts": starts}), epochs), reason

"""From an experiment and its data to a trainer."""

from dataclasses import replace
from pathlib import Path

from aegean.data import Splits
from aegean.errors import ConfigError
from aegean.experiment import Experiment
from aegean.likelihoods import Likelihood
from aegean.models import create
from aegean.models.consistency import consistency_of, neighbours_of
from aegean.train import Trainer
from aegean.train.distributed import ALONE, Processes
from aegean.train.interruptions import is_end_of_memory


def build_trainer(
    experiment: Experiment, splits: Splits, folder: Path | None = None, processes: Processes = ALONE
) -> Trainer:
    """Put an experiment's parts together, for one training; `aegean.starts` makes several of them.

    Args:
        experiment: all settings.
        splits: the images of `experiment.data`, or others of the same shape.
        folder: for checkpoints and logs; None writes nothing.
        processes: those that train together.

    Raises:
        ConfigError: model, data and training do not fit each other.
        DataError: the first mini-batch holds no images in [0, 1].
    """
    settings = experiment.train
    try:
        model = create(experiment.model, splits.shape, splits.classes, experiment.seed)
    except (MemoryError, RuntimeError) as error:
        if not is_end_of_memory(error):
            raise
        raise ConfigError(
            "The networks do not fit into memory; make those of model (widths, channels) smaller."
        ) from None
    consistency = consistency_of(experiment.model)
    if consistency is not None and consistency.finer_epochs >= settings.epochs:
        raise ConfigError(
            f"model.consistency.finer_epochs={consistency.finer_epochs:g} of train.epochs={settings.epochs}: "
            "finer categories would never be merged, and the other phases never begin; set it to about a quarter."
        )
    if experiment.starts > 1 and consistency is None:
        raise ConfigError(
            f"starts is {experiment.starts}, and they are compared by what model.consistency asks for, but this model "
            "has none; set starts=1."
        )
    streams = splits.streams(
        settings.batch_size,
        settings.labelled_batch_size,
        experiment.seed,
        neighbours_of(experiment.model),
        0 if consistency is None else consistency.batch_size,
    )
    likelihood = getattr(model, "likelihood", None)
    if isinstance(likelihood, Likelihood):  # streams of a user's own may hold anything
        for stream in streams.values():
            likelihood.check(replace(stream, neighbours=0).batch(0).x)
    return Trainer(model, settings, streams, folder, processes)

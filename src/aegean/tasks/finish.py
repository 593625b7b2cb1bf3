"""After the training: results in words and files, and the report."""

from pathlib import Path

from aegean.errors import ConfigError
from aegean.evaluate.apply import Advance
from aegean.run import Run
from aegean.tasks.classes import Classes, calibrate, write_classes
from aegean.tasks.clusters import Clusters, write_clusters
from aegean.tasks.coordinates import Coordinates, write_coordinates
from aegean.tasks.folds import predict_unseen
from aegean.tasks.page import Found, write_page
from aegean.tasks.settings import Result, TaskSettings, settings_of


def finish(run: Run, advance: Advance | None = None) -> Result:
    """Write the files that a run was made for, from its newest model.

    Args:
        run: made by `prepare`, and trained.
        advance: told of the progress.

    Raises:
        ConfigError: the run was made by `aegean train`, for nothing but itself.
        OutputError: something cannot be written.
        KeyboardInterrupt: Ctrl-C; `finish` again goes on.
    """
    settings = _settings(run)
    found = _found(run, settings, advance, train=True)
    match found:
        case Clusters():
            files = write_clusters(run, settings, found, advance)
        case Classes():
            files = write_classes(run, found)
        case Coordinates():
            files = write_coordinates(run, found)
    if len(run.splits.test):
        run.evaluate(advance)
    return Result(run, found.sentences(), (*files, write_page(run, settings, found, advance=advance)))


def write_report(run: Run, out: Path | None = None, advance: Advance | None = None) -> Path:
    """Write the report alone, from what is there.

    Args:
        run: made by `prepare`, with a checkpoint.
        out: the file; by default `report.html` in the run's folder.
        advance: told of the progress.

    Raises:
        CheckpointError: there is no model yet.
        OutputError: it cannot be written.
    """
    settings = _settings(run)
    return write_page(run, settings, _found(run, settings, advance, train=False), out, advance)


def _settings(run: Run) -> TaskSettings:
    settings = settings_of(run)
    if settings is None:
        raise ConfigError(f"{run.folder}: was made by aegean train; there are no files to finish it with.")
    return settings


def _found(run: Run, settings: TaskSettings, advance: Advance | None, train: bool) -> Found:
    match settings.task:
        case "cluster":
            return Clusters.of(run, advance)
        case "embed":
            return Coordinates.of(run, advance)
        case "classify":
            unseen = predict_unseen(run, settings.folds, advance, train)
            calibrate(run, unseen)
            return Classes.of(run, settings, unseen, advance)

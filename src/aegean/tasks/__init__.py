"""What people want of a folder of images: clusters, classes, coordinates. One call each, from files to report.

For example::

    from aegean.tasks import cluster

    result = cluster("photos", clusters=30, minutes=20)
    print(result.sentences)

The same in steps, which is what the command line does: `prepare` reads the data and chooses every setting,
`Prepared.create` makes the run's folder, `Run.train` trains, `finish` writes what was wanted.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aegean.choose.networks import ModelName
from aegean.tasks.finish import finish, write_report
from aegean.tasks.prepare import Prepared, prepare
from aegean.tasks.settings import Result, TaskSettings, settings_of
from aegean.train import Progress

Tell = Callable[[Progress], None]


def cluster(
    source: str | Path,
    clusters: int | None = None,
    *,
    model: ModelName = "aae",
    minutes: float | None = None,
    epochs: int | None = None,
    starts: int | None = None,
    size: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    sheets: bool = False,
    folders: bool = False,
    overrides: Mapping[str, object] | None = None,
    progress: Tell | None = None,
) -> Result:
    """Put images into clusters, without any label.

    Writes `clusters.csv` (file, cluster, confidence), `report.html`, and on request `sheets/` (a picture a cluster) and
    `clusters/` (copies of the images, a folder a cluster).

    Args:
        source: folder, archive, table or array of images, or file of vectors; see `aegean.tasks.prepare.prepare`, also
            for all others.
        clusters: how many at most; by default one for twenty images, 2 to 30.
        model: which family.
        minutes: time allowed for training.
        epochs: passes over the images instead.
        starts: trainings, of which the best is kept; by default chosen, see `aegean.choose.choose`.
        size: of all images, height x width.
        seed: of weights, noise and order.
        out: folder of the run.
        sheets: write them.
        folders: write them.
        overrides: settings by dotted keys.
        progress: told of the training.

    Raises:
        AegeanError: data or settings do not fit, or something cannot be written.
        KeyboardInterrupt: Ctrl-C; the run is saved, and `aegean resume` goes on.
    """
    prepared = prepare(
        "cluster", source, model=model, clusters=clusters, minutes=minutes, epochs=epochs, starts=starts, size=size,
        seed=seed, out=out, overrides=overrides, sheets=sheets, folders=folders,
    )  # fmt: skip
    return _run(prepared, progress)


def classify(
    source: str | Path,
    labels: str | Path | Sequence[str | Path] = (),
    *,
    model: ModelName = "aae",
    minutes: float | None = None,
    epochs: int | None = None,
    size: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    folds: int = 5,
    next_labels: int = 20,
    overrides: Mapping[str, object] | None = None,
    progress: Tell | None = None,
) -> Result:
    """Label all images from the labels of some.

    Writes `predictions.csv` (file, label, confidence, the given label, a calibrated probability of each class),
    `label-next.csv` (which images to label next) and `report.html`. With `out` naming a finished run of the same
    images, labels are added to those of that run, and the training goes on from its weights.

    Args:
        source: as for `cluster`; without `labels`, an image in a subfolder is of the class of that name.
        labels: CSV files with the columns `file` and `label`.
        model: as for `cluster`; likewise the others that are not named here.
        minutes: time allowed, half of it for training and half for the estimate of the error.
        epochs: passes over the images instead.
        size: of all images.
        seed: of weights, noise and order.
        out: folder of the run.
        folds: parts of the labels that are hidden in turn to estimate the error; 0 estimates none.
        next_labels: how many images to propose.
        overrides: settings by dotted keys.
        progress: told of the training.

    Raises:
        AegeanError: data or settings do not fit, there are labels of fewer than two classes, or something cannot be
            written.
        KeyboardInterrupt: see `cluster`.
    """
    files = [labels] if isinstance(labels, str | Path) else labels
    prepared = prepare(
        "classify", source, labels=files, model=model, minutes=minutes, epochs=epochs, size=size, seed=seed, out=out,
        overrides=overrides, folds=folds, next_labels=next_labels,
    )  # fmt: skip
    return _run(prepared, progress)


def embed(
    source: str | Path,
    dim: int = 2,
    *,
    model: ModelName = "aae",
    minutes: float | None = None,
    epochs: int | None = None,
    size: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
    progress: Tell | None = None,
) -> Result:
    """Give each image a few coordinates, so that similar ones are near each other.

    Writes `coordinates.csv`, a map (`map.png`; of vectors `map.svg`) and `report.html`. The arguments are those of
    `cluster`, and `dim`, the number of coordinates.

    Raises:
        AegeanError: data or settings do not fit, or something cannot be written.
        KeyboardInterrupt: see `cluster`.
    """
    prepared = prepare(
        "embed", source, model=model, dim=dim, minutes=minutes, epochs=epochs, size=size, seed=seed, out=out,
        overrides=overrides,
    )  # fmt: skip
    return _run(prepared, progress)


def _run(prepared: Prepared, progress: Tell | None) -> Result:
    run = prepared.create()
    if run.train(progress).ended == "interrupted":
        raise KeyboardInterrupt
    return finish(run)


__all__ = [
    "Prepared",
    "Result",
    "TaskSettings",
    "classify",
    "cluster",
    "embed",
    "finish",
    "prepare",
    "settings_of",
    "write_report",
]

"""Run a recipe with a seed from start to record."""

import datetime
from collections.abc import Callable, Iterable
from pathlib import Path

from aegean.data import Splits
from aegean.data.images import as_float
from aegean.errors import TrainingError
from aegean.evaluate.baselines import compare_baselines
from aegean.evaluate.records import RunRecord, read_records, render_benchmarks, render_tables, write_record
from aegean.experiment import Experiment
from aegean.files import atomic_write
from aegean.recipes import get, names, with_seed
from aegean.run import Run
from aegean.train import Outcome


def reproduce_seed(
    experiment: Experiment,
    seed: int,
    runs: Path,
    results: Path,
    command: str,
    with_baselines: bool = False,
    train: Callable[[Run], Outcome] = Run.train,
) -> RunRecord:
    """Train and judge a recipe with one seed, and write its run record.

    An interrupted run is gone on with; a finished one is only judged again.

    Args:
        experiment: the recipe.
        seed: sets every seed of the experiment.
        runs: folder of run folders.
        results: folder of run records.
        command: that gives these records, whatever folders were used.
        with_baselines: add the error of the baselines on the same labels and split.
        train: trains a run; replaced by the command line to show progress.

    Raises:
        TrainingError: it was interrupted (the run is saved), or became NaN.
    """
    folder = runs / f"{experiment.name}-seed-{seed}"
    if (folder / "experiment.yaml").exists():
        run = Run.open(folder)
    else:
        run = Run.create(folder, with_seed(experiment, seed), command)
    outcome = train(run)
    if outcome.ended == "interrupted":
        raise TrainingError(f"Interrupted and saved; the same command goes on with {folder}.")
    metrics = run.evaluate()
    if with_baselines:
        metrics |= {
            f"{name.lower().replace(' ', '_').replace('-', '_')}_error": error
            for name, error in baselines(run.splits).items()
        }
    environment = run.started_in()
    record = RunRecord(
        recipe=run.experiment.name,
        kind=run.experiment.row,
        seed=seed,
        epochs=float(run.experiment.train.epochs),
        steps=outcome.step,
        minutes=round(outcome.seconds / 60, 2),
        hardware=environment.hardware,
        threads=environment.threads,
        python=environment.python,
        torch=environment.torch,
        aegean=environment.aegean,
        commit=environment.commit,
        metrics=metrics,
        command=command,
        date=datetime.datetime.now(tz=datetime.UTC).date(),
    )
    write_record(results, record)
    return record


def baselines(splits: Splits) -> dict[str, float]:
    """Return the test error in percent of the baselines on the same images and labels."""
    images, test = (as_float(part.images, splits.binarize) for part in (splits.train, splits.test))
    return compare_baselines(images, splits.train.labels, test, splits.test.labels)


def update_tables(documents: Iterable[Path], results: Path, write: bool = True) -> list[Path]:
    """Fill the marked tables of Markdown files from the run records; see `aegean.evaluate.records`.

    Args:
        documents: files, or folders whose Markdown files are meant.
        results: folder of run records.
        write: false to find out only which files would change.

    Returns:
        The files that changed, or would.

    Raises:
        DataError: a record is damaged, or a document has a marker that is not closed.
    """
    records = read_records(results)
    paper = {name: get(name).paper for name in names()}
    changed = []
    for document in documents:
        for path in sorted(document.rglob("*.md")) if document.is_dir() else [document]:
            text = path.read_text(encoding="utf-8")
            rendered = render_benchmarks(render_tables(text, records, paper), results / "benchmarks")
            if rendered != text:
                changed.append(path)
                if write:
                    atomic_write(path, rendered)
    return changed

"""Run a recipe with a seed from start to record."""

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import JsonValue

from aegean.choose import with_epochs
from aegean.data import Splits
from aegean.data.images import as_float
from aegean.errors import ConfigError, TrainingError
from aegean.evaluate.baselines import compare_baselines
from aegean.evaluate.protocols import ProtocolName
from aegean.evaluate.records import (
    RunRecord,
    read_records,
    summarise,
    write_record,
)
from aegean.experiment import Experiment
from aegean.files import check_writable
from aegean.recipes import get, names, with_seed
from aegean.run import Run
from aegean.train import Outcome


def _evaluate(run: Run, protocols: tuple[ProtocolName, ...]) -> dict[str, float]:
    return run.evaluate(protocols=protocols)


def reproduce_seed(
    experiment: Experiment,
    seed: int,
    runs: Path,
    results: Path,
    command: str,
    with_baselines: bool = False,
    train: Callable[[Run], Outcome] = Run.train,
    evaluate: Callable[[Run, tuple[ProtocolName, ...]], dict[str, float]] = _evaluate,
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
        evaluate: judges a run by the recipe's protocols; replaced likewise.

    Raises:
        ConfigError: the run's folder holds a run with other settings.
        OutputError: no record can be written there.
        TrainingError: it was interrupted (the run is saved), or became NaN.
    """
    check_writable(results / experiment.name / f"seed-{seed}.json")
    folder, wanted = runs / f"{experiment.name}-seed-{seed}", with_seed(experiment, seed)
    if (folder / "experiment.yaml").exists():
        run = Run.open(folder)
        if _trained(run.experiment) != _trained(wanted):
            raise ConfigError(
                f"{folder}: holds a run with other settings than {experiment.name} has now (see its experiment.yaml); "
                "delete it, or choose another folder with --out."
            )
    else:
        run = Run.create(folder, wanted, command)
    outcome = train(run)
    if outcome.ended == "interrupted":
        raise TrainingError(f"Interrupted and saved; the same command goes on with {folder}.")
    metrics = evaluate(run, experiment.protocols)
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
        errors_by_epoch={row["epoch"]: row["validation/error"] for row in run.metrics() if "validation/error" in row},
        settings=_trained(run.experiment),
        command=command,
        date=datetime.datetime.now(tz=datetime.UTC).date(),
    )
    write_record(results, record)
    return record


def outdated(record: RunRecord, experiment: Experiment) -> list[str]:
    """Return the settings of a record that its recipe has no longer, such as `model.input_noise: 0.3, now 0.2`.

    A setting that is newer than the record is none of them: it comes with a default that leaves all as it was. A record
    without settings has nothing to compare.

    Args:
        record: of a run.
        experiment: its recipe, as it is now.
    """
    if not record.settings:
        return []
    if record.epochs != experiment.train.epochs:
        experiment = with_epochs(experiment, int(record.epochs))
    return list(_changes(record.settings, _trained(with_seed(experiment, record.seed)), ""))


def _changes(then: JsonValue, now: JsonValue, name: str) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key, value in then.items():
            where = f"{name}.{key}" if name else key
            if key in now:
                yield from _changes(value, now[key], where)
            else:
                yield f"{where}: {value}, now gone"
    elif then != now:
        yield f"{name}: {then}, now {now}"


def _trained(experiment: Experiment) -> dict[str, JsonValue]:
    """What training depends on. How a run is named and judged may change after it."""
    values = experiment.to_dict()
    return {part: values[part] for part in ("data", "model", "train", "seed", "starts")}


def baselines(splits: Splits) -> dict[str, float]:
    """Return the test error in percent of the baselines on the same images and labels."""
    images, test = (
        as_float(part.images, splits.binarize, torch.Generator().manual_seed(0)) for part in (splits.train, splits.test)
    )
    return compare_baselines(images, splits.train.labels, test, splits.test.labels)


@dataclass(frozen=True)
class Line:
    """A recipe in one line: what it shows, and how ours stands beside the paper's.

    Attributes:
        name: of the recipe.
        kind: faithful, stabilised or extended.
        source: paper and place.
        paper: the paper's figures, such as `error 1.90 ± 0.10`; empty if it prints none.
        ours: the same metrics on record, or else all that are; with the number of seeds. Empty without records.
    """

    name: str
    kind: str
    source: str
    paper: str
    ours: str


def overview(results: Path) -> list[Line]:
    """Return every recipe with what is on record under a folder.

    Raises:
        DataError: a record is damaged.
    """
    records = read_records(results) if results.is_dir() else []
    lines = []
    for name in names():
        experiment = get(name)
        runs = [record for record in records if record.recipe == name]
        summary = summarise(runs) if runs else {}
        shown = [metric for metric in experiment.paper if metric in summary] or list(summary)[:1]
        ours = ", ".join(f"{metric.replace('_', ' ')} {summary[metric]}" for metric in shown)
        lines.append(
            Line(
                name=name,
                kind=experiment.row,
                source=experiment.source,
                paper=", ".join(f"{metric.replace('_', ' ')} {value}" for metric, value in experiment.paper.items()),
                ours=f"{ours}, seeds: {len(runs)}" if runs else "",
            )
        )
    return lines

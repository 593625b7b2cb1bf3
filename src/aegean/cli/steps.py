"""What several commands do: find an experiment or a run, train it, judge it, write its report."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aegean.cli.show import complain, evaluate_with_progress, print_results, reading, train_with_progress

if TYPE_CHECKING:
    from aegean.experiment import Experiment
    from aegean.run import Run
    from aegean.train import Outcome


def experiment_of(name: str) -> "Experiment":
    """Return the experiment of a file or a recipe."""
    from aegean.experiment import Experiment
    from aegean.recipes import get

    is_file = Path(name).suffix in (".yaml", ".yml", ".json") or Path(name).is_file()
    return Experiment.from_file(name) if is_file else get(name)


def open_run(folder: Path) -> "Run":
    """Open the run in a folder."""
    from aegean.run import Run

    return Run.open(folder)


def start(experiment: "Experiment", out: Path | None) -> "Run":
    """Make the folder of a run, and say what will be trained on what."""
    from aegean.run import Run, free_folder

    with reading():
        run = Run.create(out or free_folder(Path("runs"), experiment.name), experiment, command_line())
    print(f"{experiment.title}\n{run.splits.description}\nrun: {run.folder}")
    return run


def train_with_warnings(run: "Run") -> "Outcome":
    """Train with a bar, then print what the training warned of."""
    outcome = train_with_progress(run)
    for warning in outcome.warnings:
        complain(f"warning: {warning}")
    if outcome.ended == "interrupted":
        print(f"Interrupted and saved at step {outcome.step}. Go on with: aegean resume {run.folder}")
    return outcome


def finish(run: "Run") -> None:
    """Train to the end, judge, and say what to do next; an interrupted run ends with status 130."""
    with reading():
        _ = run.splits  # before the bar of the training
    if train_with_warnings(run).ended == "interrupted":
        raise typer.Exit(130)
    print_results(evaluate_with_progress(run))
    print(f"run: {run.folder}   next: aegean report {run.folder}")


def write_report(run: "Run", out: Path | None = None, baselines: dict[str, float] | None = None) -> None:
    """Write the report and say where it is."""
    from aegean.report import build

    path = build.write_report(run, out, baselines)
    print(f"report: {path.resolve()}")


def use_threads(threads: int | None) -> None:
    """Set the number of CPU threads, if one is given."""
    if threads:
        import torch

        torch.set_num_threads(threads)


def command_line() -> str:
    """Return what was typed."""
    return shlex.join(["aegean", *sys.argv[1:]])

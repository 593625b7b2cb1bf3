"""What several commands do: find an experiment or a run, train it, judge it, write its report."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aegean.cli.show import complain, counters, evaluate_with_progress, print_results, reading, train_with_progress

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
    if not is_first():
        raise typer.Exit(130 if outcome.ended == "interrupted" else 0)  # the first process speaks for all
    for warning in outcome.warnings:
        complain(f"warning: {warning}")
    if outcome.ended == "interrupted":
        say_interrupted(run, f" at step {outcome.step}")
    return outcome


def say_interrupted(run: "Run", where: str = "") -> None:
    """Say how to go on."""
    print(f"Interrupted and saved{where}. Go on with: aegean resume {run.folder}")


def finish(run: "Run") -> None:
    """Train to the end, judge, and say what to do next; an interrupted run ends with status 130."""
    from aegean.tasks import settings_of

    with reading():
        _ = run.splits  # before the bar of the training
    if train_with_warnings(run).ended == "interrupted":
        raise typer.Exit(130)
    if settings_of(run) is not None:
        finish_task(run)
        return
    print_results(evaluate_with_progress(run))
    print(f"run: {run.folder}   next: aegean report {run.folder}")


def finish_task(run: "Run") -> None:
    """Write what a run was made for, and say in words what it is; Ctrl-C ends with status 130."""
    from aegean.tasks import finish

    try:
        with counters() as advance:
            result = finish(run, advance)
    except KeyboardInterrupt:
        say_interrupted(run)
        raise typer.Exit(130) from None
    print("", *result.sentences, "", *(f"wrote {path}" for path in result.files), sep="\n")
    names = {path.name for path in result.files}
    if "label-next.csv" in names:
        source = getattr(run.experiment.data, "path", "PHOTOS")
        print(
            f"Better with more labels: fill the column label of {run.folder / 'label-next.csv'}, then\n"
            f"  aegean classify {source} --labels {run.folder / 'label-next.csv'} --out {run.folder}"
        )
    if names & {"predictions.csv", "clusters.csv"}:
        print(f"New images later: aegean predict {run.folder} FOLDER")


def write_report(run: "Run", out: Path | None = None, baselines: dict[str, float] | None = None) -> None:
    """Write the report and say where it is."""
    from aegean.report import build
    from aegean.tasks import settings_of, write_report

    of_a_task = settings_of(run) is not None
    with counters() as advance:
        path = write_report(run, out, advance) if of_a_task else build.write_report(run, out, baselines, advance)
    print(f"report: {path.resolve()}")


def is_first() -> bool:
    """Whether this is the first, or the only one, of the processes that torchrun has started."""
    from aegean.train.distributed import launched

    return launched()[0] == 0


def use_threads(threads: int | None) -> None:
    """Set the number of CPU threads, if one is given."""
    if threads:
        import torch

        torch.set_num_threads(threads)


def command_line() -> str:
    """Return what was typed."""
    return shlex.join(["aegean", *sys.argv[1:]])

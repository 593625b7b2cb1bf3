"""Commands that train: demo, train, resume, reproduce."""

from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aegean.cli.app import MAX_SEED, RunArgument, Threads, app
from aegean.cli.show import evaluate_with_progress, print_comparison, print_table, train_with_progress
from aegean.cli.steps import experiment_of, finish, open_run, start, train_with_warnings, use_threads, write_report

if TYPE_CHECKING:
    from aegean.experiment import Experiment

Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        min=1,
        help="Passes over the images, in place of the recipe's; what changes over epochs, such as rates, keeps its "
        "proportion (train.epochs=N leaves it alone).",
    ),
]


@app.command(epilog="Example: aegean demo --out runs/demo")
def demo(
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run (default: runs/NAME).")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Of split, labels, weights and noise.")] = 0,
    epochs: Epochs = None,
    threads: Threads = None,
) -> None:
    """Label scikit-learn's handwritten digits from ten examples a class, beside three baselines, in minutes."""
    from aegean.recipes import get, with_seed
    from aegean.reproduce import baselines

    use_threads(threads)
    experiment = with_seed(get("digits-pixelgan-100"), seed)
    run = start(_for(experiment, epochs), out)
    outcome = train_with_warnings(run)
    if outcome.ended == "finished":
        results = evaluate_with_progress(run)
        compared = baselines(run.splits)
        print_comparison(run, results, compared)
        write_report(run, baselines=compared)


@app.command(
    epilog="Examples: aegean train pixelgan-mnist-100 --epochs 3 · "
    "aegean train my.yaml train.batch_size=50 model.input_noise=0.2"
)
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE|FILE", help="Name of a recipe, or a YAML file.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override any setting of the recipe.")
    ] = None,
    epochs: Epochs = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=MAX_SEED, help="Of labels, weights, noise and order.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run (default: runs/NAME).")] = None,
    threads: Threads = None,
) -> None:
    """Train a recipe, or a configuration file, and judge it on the test images."""
    from aegean.config import parse_overrides

    use_threads(threads)
    experiment = experiment_of(recipe)
    if seed is not None:
        from aegean.recipes import with_seed

        experiment = with_seed(experiment, seed)
    if settings:
        experiment = experiment.override(parse_overrides(settings))
    finish(start(_for(experiment, epochs), out))


@app.command(epilog="Example: aegean resume runs/pixelgan-mnist-100 --epochs 20")
def resume(
    run: RunArgument,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Epochs in all, those done included, by the same schedule."),
    ] = None,
    threads: Threads = None,
) -> None:
    """Go on exactly where a run was interrupted, or train it longer."""
    use_threads(threads)
    opened = open_run(run)
    if epochs is not None:
        opened.extend(epochs)
    finish(opened)


@app.command(epilog="Example: aegean reproduce digits-pixelgan-100 --seeds 5 --results results")
def reproduce(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="Name of a recipe.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds, from --first on.")] = 1,
    epochs: Epochs = None,
    first: Annotated[int, typer.Option("--first", min=0, max=MAX_SEED, help="The first seed.")] = 0,
    results: Annotated[Path, typer.Option("--results", help="Where the run records go.")] = Path("results"),
    out: Annotated[Path, typer.Option("--out", help="Where the runs go.")] = Path("runs"),
    with_baselines: Annotated[bool, typer.Option("--baselines", help="Also run the three baselines.")] = False,
    list_all: Annotated[
        bool, typer.Option("--list", help="List every experiment, the paper's figures and ours.")
    ] = False,
    threads: Threads = None,
) -> None:
    """Run a recipe with several seeds, write a run record for each, and print mean and standard deviation."""
    from aegean.evaluate.records import read_records, summarise
    from aegean.recipes import get
    from aegean.reproduce import overview, reproduce_seed

    if list_all:
        print_table(("recipe", "kind", "source", "paper", "ours"), map(astuple, overview(results)))
        return
    if recipe is None:
        raise typer.BadParameter("name a recipe; aegean reproduce --list shows them.")
    use_threads(threads)
    experiment = _for(get(recipe), epochs)
    command = f"aegean reproduce {recipe} --seeds {seeds}" + (f" --first {first}" if first else "")
    command += (f" --epochs {epochs}" if epochs else "") + (" --baselines" if with_baselines else "")
    for seed in range(first, first + seeds):
        print(f"seed {seed}")
        record = reproduce_seed(
            experiment, seed, out, results, command, with_baselines, train_with_progress, evaluate_with_progress
        )
        print("  " + ", ".join(f"{name} {value:.2f}" for name, value in record.metrics.items()))
    summary = summarise([record for record in read_records(results) if record.recipe == recipe])
    for name, value in summary.items():
        print(f"{name}: {value}")


def _for(experiment: "Experiment", epochs: int | None) -> "Experiment":
    """The experiment with the epochs that were asked for, if any."""
    from aegean.choose import with_epochs

    return experiment if epochs is None else with_epochs(experiment, epochs)

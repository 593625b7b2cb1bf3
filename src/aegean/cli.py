"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from aegean._version import __version__
from aegean.errors import AegeanError

if TYPE_CHECKING:
    from aegean.evaluate.protocols import ProtocolName
    from aegean.experiment import Experiment
    from aegean.run import Run
    from aegean.train import Outcome

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Cluster, label, embed and draw images with adversarially trained generative autoencoders.",
    epilog="Start with: [bold]aegean demo[/bold]",
)
recipes_app = typer.Typer(no_args_is_help=True, help="The recipes: complete experiments by name.")
data_app = typer.Typer(no_args_is_help=True, help="The data sets that Aegean knows, and your own folders.")
app.add_typer(recipes_app, name="recipes")
app.add_typer(data_app, name="data")

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as aegean train made it.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of what is drawn.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads (default: all cores).")]
Images = Annotated[
    Path | None,
    typer.Argument(metavar="[IMAGES]", help="Folder of images; left out, the run's own test images are used."),
]


def main() -> NoReturn:
    """Run the command line; errors of use end with one sentence and status 2."""
    try:
        ended = app(standalone_mode=False)
    except AegeanError as error:
        _complain(str(error))
        sys.exit(error.exit_status)
    except typer.Abort:
        sys.exit(130)
    except MemoryError:
        _complain("Out of memory. Use a smaller batch, for example: train.batch_size=50")
        sys.exit(1)
    except Exception as error:
        # click's errors of use know how to show themselves; its class is not part of typer's interface
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        raise
    sys.exit(ended if isinstance(ended, int) else 0)  # what typer.Exit carries


def _complain(message: str) -> None:
    print(f"aegean: {message}", file=sys.stderr)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


# ---- train ---------------------------------------------------------------------------------------------------------


@app.command(epilog="Example: aegean demo --out runs/demo")
def demo(
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run (default: runs/NAME).")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of split, labels, weights and noise.")] = 0,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the images.")] = None,
    threads: Threads = None,
) -> None:
    """Label scikit-learn's handwritten digits from ten examples a class, beside three baselines, in minutes."""
    from aegean.recipes import get, with_seed
    from aegean.reproduce import baselines

    _use_threads(threads)
    experiment = with_seed(get("digits-pixelgan-100"), seed)
    if epochs:
        experiment = experiment.override({"train.epochs": epochs}, "--epochs")
    run = _start(experiment, out)
    outcome = _train(run)
    if outcome.ended == "finished":
        results = _evaluate_with_progress(run)
        compared = baselines(run.splits)
        _print_comparison(run, results, compared)
        _write_report(run, baselines=compared)


@app.command(
    epilog="Examples: aegean train pixelgan-mnist-100 --epochs 3 · "
    "aegean train my.yaml train.batch_size=50 model.input_noise=0.2"
)
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE|FILE", help="Name of a recipe, or a YAML file.")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override any setting of the recipe.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the images.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of labels, weights, noise and order.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run (default: runs/NAME).")] = None,
    threads: Threads = None,
) -> None:
    """Train a recipe, or a configuration file, and judge it on the test images."""
    from aegean.config import parse_overrides

    _use_threads(threads)
    experiment = _experiment(recipe)
    if seed is not None:
        from aegean.recipes import with_seed

        experiment = with_seed(experiment, seed)
    changes = parse_overrides(settings or [])
    if epochs is not None:
        changes["train.epochs"] = epochs
    if changes:
        experiment = experiment.override(changes)
    _finish(_start(experiment, out))


@app.command(epilog="Example: aegean resume runs/pixelgan-mnist-100 --epochs 20")
def resume(
    run: RunArgument,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Epochs in all, those done included.")] = None,
    threads: Threads = None,
) -> None:
    """Go on exactly where a run was interrupted, or train it longer."""
    _use_threads(threads)
    opened = _open(run)
    if epochs is not None:
        opened.extend(epochs)
    _finish(opened)


@app.command(epilog="Example: aegean reproduce digits-pixelgan-100 --seeds 5 --results results")
def reproduce(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="Name of a recipe.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds, from --first on.")] = 1,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Another budget; the record says so.")] = None,
    first: Annotated[int, typer.Option("--first", min=0, help="The first seed.")] = 0,
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
        _print_table(("recipe", "kind", "source", "paper", "ours"), map(astuple, overview(results)))
        return
    if recipe is None:
        raise typer.BadParameter("name a recipe; aegean reproduce --list shows them.")
    _use_threads(threads)
    experiment = get(recipe)
    if epochs is not None:
        experiment = experiment.override({"train.epochs": epochs}, "--epochs")
    command = f"aegean reproduce {recipe} --seeds {seeds}" + (f" --first {first}" if first else "")
    command += (f" --epochs {epochs}" if epochs else "") + (" --baselines" if with_baselines else "")
    for seed in range(first, first + seeds):
        print(f"seed {seed}")
        record = reproduce_seed(
            experiment, seed, out, results, command, with_baselines, _with_progress, _evaluate_with_progress
        )
        print("  " + ", ".join(f"{name} {value:.2f}" for name, value in record.metrics.items()))
    summary = summarise([record for record in read_records(results) if record.recipe == recipe])
    for name, value in summary.items():
        print(f"{name}: {value}")


# ---- use -----------------------------------------------------------------------------------------------------------


@app.command(epilog="Example: aegean evaluate runs/pixelgan-mnist-100")
def evaluate(
    run: RunArgument,
    protocols: Annotated[
        list[str] | None,
        typer.Option("--protocol", help="Another one: code-match, parzen, parzen-10m. May be repeated."),
    ] = None,
    threads: Threads = None,
) -> None:
    """Judge a run on its test images."""
    from aegean.evaluate.protocols import protocol_names

    _use_threads(threads)
    opened = _open(run)
    chosen = None if protocols is None else protocol_names(protocols)
    _print_results(_evaluate_with_progress(opened, chosen))


@app.command(epilog="Example: aegean sample runs/demo -n 64 --class 3 --out threes.png")
def sample(
    run: RunArgument,
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="How many images.")] = 64,
    label: Annotated[int | None, typer.Option("--class", min=0, help="Class or cluster to draw from.")] = None,
    out: Annotated[Path, typer.Option("--out", help="PNG grid, or .npz of the images.")] = Path("samples.png"),
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Draw new images."""
    from aegean.use import draw_samples, write_images

    _use_threads(threads)
    opened = _open(run)
    with _counter("drawing", n) as advance:
        images = draw_samples(opened.model(), n, label, seed, opened.precision, advance)
    write_images(out, images)
    print(f"{n} images: {out}")


@app.command(epilog="Example: aegean reconstruct runs/demo --out reconstructions.png")
def reconstruct(
    run: RunArgument,
    images: Images = None,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many of the images.")] = 32,
    out: Annotated[Path, typer.Option("--out", help="PNG: originals above what becomes of them.")] = Path(
        "reconstructions.png"
    ),
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Encode images and decode their codes."""
    from aegean.use import images_for, reconstructions, write_pairs

    _use_threads(threads)
    opened = _open(run)
    model = opened.model()
    chosen = images_for(opened, model, images)
    with _counter("reconstructing", min(n, len(chosen))) as advance:
        originals, rebuilt = reconstructions(opened, model, chosen, n, seed, advance)
    write_pairs(out, originals, rebuilt)
    print(f"{len(originals)} images and their reconstructions: {out}")


@app.command(epilog="Example: aegean encode runs/demo photos --out codes.csv")
def encode(
    run: RunArgument,
    images: Images = None,
    out: Annotated[Path, typer.Option("--out", help="CSV, or .npz.")] = Path("codes.csv"),
    threads: Threads = None,
) -> None:
    """Write the codes of images."""
    from aegean.use import codes, images_for, write_codes

    _use_threads(threads)
    opened = _open(run)
    model = opened.model()
    chosen = images_for(opened, model, images)
    with _counter("encoding", len(chosen)) as advance:
        z = codes(opened, model, chosen, advance)
    write_codes(out, chosen, z)
    print(f"{len(z)} codes of dimension {z.shape[1]}: {out}")


@app.command(epilog="Example: aegean predict runs/demo photos --out predictions.csv")
def predict(
    run: RunArgument,
    images: Images = None,
    out: Annotated[Path, typer.Option("--out", help="CSV: file, label, confidence.")] = Path("predictions.csv"),
    threads: Threads = None,
) -> None:
    """Name the class or cluster of images."""
    from aegean.use import images_for, predictions, write_predictions

    _use_threads(threads)
    opened = _open(run)
    model = opened.model()
    chosen = images_for(opened, model, images)
    with _counter("predicting", len(chosen)) as advance:
        probabilities = predictions(opened, model, chosen, advance)
    classes = opened.splits.train.class_names if model.supervised else ()
    write_predictions(out, classes, chosen, probabilities)
    print(f"{len(chosen)} predictions: {out}")


@app.command(epilog="Example: aegean report runs/demo")
def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option("--out", help="HTML file (default: RUN/report.html).")] = None,
    threads: Threads = None,
) -> None:
    """Write a run's report: one HTML page with everything in it."""
    _use_threads(threads)
    _write_report(_open(run), out)


# ---- look ----------------------------------------------------------------------------------------------------------


@recipes_app.command("list", epilog="Example: aegean recipes list")
def list_recipes() -> None:
    """List all recipes."""
    from aegean.recipes import get, names

    rows = ((name, get(name)) for name in names())
    _print_table(
        ("recipe", "kind", "epochs", "shows"), ((name, e.row, str(e.train.epochs), e.title) for name, e in rows)
    )


@recipes_app.command("show", epilog="Example: aegean recipes show pixelgan-mnist-100 > my.yaml")
def show_recipe(name: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")]) -> None:
    """Print a recipe whole, as YAML that aegean train takes back."""
    print(_experiment(name).to_yaml(), end="")


@data_app.command("list", epilog="Example: aegean data list")
def list_data() -> None:
    """List the data sets and whether they are on this machine."""
    from aegean.data import available

    rows = ((entry.name, "yes" if entry.present else "no", entry.description) for entry in available())
    _print_table(("data set", "here", "what"), rows)


@data_app.command("fetch", epilog="Example: aegean data fetch mnist")
def fetch_data(name: Annotated[str, typer.Argument(help="Name of a data set.")]) -> None:
    """Download a data set and check its hashes."""
    from aegean.data import fetch

    for path in fetch(name):
        print(path)


@data_app.command("check", epilog="Example: aegean data check photos --size 32x32")
def check_data(
    source: Annotated[str, typer.Argument(help="Folder of images, or name of a data set.")],
    size: Annotated[str | None, typer.Option("--size", help="Height x width, as 32x32.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="CSV with the columns file and label.")] = None,
) -> None:
    """Read all images of a folder or data set and say what is there."""
    from aegean.data import check
    from aegean.use import data_source

    found = check(data_source(source, size, labels))
    print(found)
    if found.problems:
        raise typer.Exit(1)


@app.command(epilog="Example: aegean tables README.md docs")
def tables(
    documents: Annotated[list[Path], typer.Argument(help="Markdown files, or folders of them.")],
    results: Annotated[Path, typer.Option("--results", help="Where the run records are.")] = Path("results"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a table is out of date.")] = False,
) -> None:
    """Fill the tables of documents from the run records."""
    from aegean.reproduce import update_tables

    changed = update_tables(documents, results, write=not check)
    for path in changed:
        print(f"{'out of date' if check else 'updated'}: {path}")
    if check and changed:
        raise typer.Exit(1)


@app.command(epilog="Example: aegean doctor")
def doctor() -> None:
    """Show versions, hardware, and what Aegean would choose on this machine."""
    from aegean.environment import describe_environment
    from aegean.train.precision import choose_device, choose_precision

    device = choose_device()
    environment = describe_environment(device, choose_precision("auto", device))
    for name, value in environment.to_dict().items():
        print(f"{name:10} {value or '-'}")


# ---- shared --------------------------------------------------------------------------------------------------------


def _experiment(name: str) -> "Experiment":
    from aegean.experiment import Experiment
    from aegean.recipes import get

    is_file = Path(name).suffix in (".yaml", ".yml", ".json") or Path(name).is_file()
    return Experiment.from_file(name) if is_file else get(name)


def _open(folder: Path) -> "Run":
    from aegean.run import Run

    return Run.open(folder)


def _start(experiment: "Experiment", out: Path | None) -> "Run":
    from aegean.run import Run, free_folder

    run = Run.create(out or free_folder(Path("runs"), experiment.name), experiment, _command())
    print(f"{experiment.title}\n{run.splits.description}\nrun: {run.folder}")
    return run


def _train(run: "Run") -> "Outcome":
    outcome = _with_progress(run)
    for warning in outcome.warnings:
        _complain(f"warning: {warning}")
    if outcome.ended == "interrupted":
        print(f"Interrupted and saved at step {outcome.step}. Go on with: aegean resume {run.folder}")
    return outcome


def _finish(run: "Run") -> None:
    """Train to the end, judge, and say what to do next; an interrupted run ends with status 130."""
    if _train(run).ended == "interrupted":
        raise typer.Exit(130)
    _print_results(_evaluate_with_progress(run))
    print(f"run: {run.folder}   next: aegean report {run.folder}")


def _evaluate_with_progress(run: "Run", protocols: "tuple[ProtocolName, ...] | None" = None) -> dict[str, float]:
    with _counters() as advance:
        return run.evaluate(advance, protocols)


def _with_progress(run: "Run") -> "Outcome":
    """Train with a bar of losses, time left and images a second."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    from aegean.train import Progress

    columns = (
        TextColumn("epoch {task.fields[epoch]}", table_column=Column(no_wrap=True, min_width=13)),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[left]} left, {task.fields[rate]}/s  {task.fields[losses]}"),
    )
    with Bar(*columns, console=_console(), transient=False, refresh_per_second=4) as bar:
        task = bar.add_task("", total=None, epoch="0", left="?", rate="?", losses="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.steps,
                completed=progress.step,
                epoch=f"{progress.epoch:.1f}/{progress.epochs}",
                left=_duration(progress.seconds_left),
                rate=f"{progress.images_per_second:,.0f}",
                losses="  ".join(f"{name} {value:.3g}" for name, value in progress.losses.items()),
            )

        return run.train(show)


@contextmanager
def _counter(verb: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar over a number of images that appears only if the work takes a while."""
    from rich.progress import Progress as Bar

    with Bar(console=_console(), transient=True) as bar:
        task = bar.add_task(verb, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def _counters() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for each kind of work, which appears when the work begins."""
    from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Bar(*columns, console=_console(), transient=True) as bar:

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield advance


def _print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for index, name in enumerate(head):
        table.add_column(name, no_wrap=index == 0)
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _console() -> Any:
    from rich.console import Console

    return Console()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _use_threads(threads: int | None) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)


def _command() -> str:
    import shlex

    return shlex.join(["aegean", *sys.argv[1:]])


def _print_results(results: dict[str, float]) -> None:
    for name, value in results.items():
        print(f"{name:24} {value:.2f}")


def _print_comparison(run: "Run", results: dict[str, float], compared: dict[str, float]) -> None:
    labels = int((run.splits.train.labels >= 0).sum())
    print(f"\nerror on {len(run.splits.test)} held-out images, {labels} labels")
    rows = {"PixelGAN autoencoder": results["error"], **compared}
    for name, error in sorted(rows.items(), key=lambda row: row[1]):
        print(f"  {name:24} {error:5.2f} %")
    print("One split says little; the README has the mean of five: aegean reproduce digits-pixelgan-100 --seeds 5")


def _write_report(run: "Run", out: Path | None = None, baselines: dict[str, float] | None = None) -> None:
    from aegean.report.build import write_report

    path = write_report(run, out, baselines)
    print(f"report: {path.resolve()}")

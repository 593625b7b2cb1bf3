"""What a person sees while a command works: bars, tables, complaints."""

import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aegean.evaluate.protocols import ProtocolName
    from aegean.run import Run
    from aegean.train import Outcome


def complain(message: str) -> None:
    """Print one line to stderr."""
    print(f"aegean: {message}", file=sys.stderr)


def print_anything() -> None:
    """Let stdout and stderr write what their encoding lacks, such as file names that are not UTF-8, as backslashes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # in place of one, tests and notebooks have streams of their own
            stream.reconfigure(errors="backslashreplace")


class SayOnce(logging.Handler):
    """Prints the first message of a logger to stderr, and no other."""

    said = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message, unless there was one before."""
        if not self.said:
            self.said = True
            complain(record.getMessage())


def announce_waits() -> None:
    """Say so when a step waits for seconds (kernels are compiled, clusters merged, ...), or leaves files out."""
    for name in ("aegean.nn.kernels", "aegean.data.neighbours", "aegean.models.consistency", "aegean.use"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.handlers = [SayOnce()]


def train_with_progress(run: "Run") -> "Outcome":
    """Train with a bar of losses, time left and images a second."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    from aegean.train import Progress

    columns = (
        TextColumn("epoch {task.fields[epoch]}", table_column=Column(no_wrap=True, min_width=15)),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[left]} left, {task.fields[rate]}/s  {task.fields[losses]}"),
    )
    with Bar(*columns, console=console(), transient=False, refresh_per_second=4) as bar:
        task = bar.add_task("", total=None, epoch="0", left="?", rate="?", losses="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.steps,
                completed=progress.step,
                epoch=f"{progress.epoch:.1f}/{progress.epochs}",
                left=duration(progress.seconds_left),
                rate=f"{progress.images_per_second:,.0f}",
                losses="  ".join(f"{name} {value:.3g}" for name, value in progress.losses.items()),
            )

        return run.train(show)


@contextmanager
def counter(verb: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar over a number of images that appears only if the work takes a while."""
    from rich.progress import Progress as Bar

    with Bar(**_passing()) as bar:
        task = bar.add_task(verb, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def counters() -> Iterator[Callable[[str, int, int], None]]:
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
    with Bar(*columns, **_passing()) as bar:

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield advance


@contextmanager
def reading() -> Iterator[None]:
    """A progress bar for images that are read inside a `with` block, if they are many."""
    from aegean.data.decoding import report_reading

    with ExitStack() as stack:
        started: list[Callable[[str, int, int], None]] = []

        def show(done: int, total: int) -> None:
            if not started and 500 <= total > done:
                started.append(stack.enter_context(counters()))
            for advance in started:
                advance("reading images", done, total)

        with report_reading(show):
            yield


def _passing() -> dict[str, Any]:
    """Settings of a bar that vanishes when the work is done; where nobody can see it, it writes nothing at all."""
    terminal = console()
    return {"console": terminal, "transient": True, "disable": not terminal.is_terminal}


def evaluate_with_progress(run: "Run", protocols: "tuple[ProtocolName, ...] | None" = None) -> dict[str, float]:
    """Judge a run on its test images with a bar for each kind of work."""
    with counters() as advance:
        return run.evaluate(advance, protocols)


def print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print rows under a head; the first column is never broken."""
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for index, name in enumerate(head):
        table.add_column(name, no_wrap=index == 0)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def print_results(results: dict[str, float]) -> None:
    """Print one metric a line."""
    for name, value in results.items():
        print(f"{name:24} {value:.2f}")


def print_comparison(run: "Run", results: dict[str, float], compared: dict[str, float]) -> None:
    """Print the demo's error among those of the baselines, best first."""
    labels = int((run.splits.train.labels >= 0).sum())
    print(f"\nerror on {len(run.splits.test)} held-out images, {labels} labels")
    rows = {"PixelGAN autoencoder": results["error"], **compared}
    for name, error in sorted(rows.items(), key=lambda row: row[1]):
        print(f"  {name:24} {error:5.2f} %")
    print("One split says little; the README has the mean of five: aegean reproduce digits-pixelgan-100 --seeds 5")


def console() -> Any:
    """Return the terminal."""
    from rich.console import Console

    return Console()


def duration(seconds: float) -> str:
    """Format seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

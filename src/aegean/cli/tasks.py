"""Commands that start from images and train: cluster, classify, embed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from aegean.cli.app import MAX_SEED, Threads, app
from aegean.cli.show import reading
from aegean.cli.steps import command_line, finish_task, train_with_warnings, use_threads

if TYPE_CHECKING:
    from aegean.choose.networks import ModelName
    from aegean.tasks import Prepared

Photos = Annotated[
    str, typer.Argument(metavar="PHOTOS", help="Folder, .zip, .csv, .npy or .npz of images; or vectors; or a data set.")
]
Settings = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Override any setting, as train.batch_size=50.")
]
ModelOption = Annotated[str, typer.Option("--model", help="aae (the fastest), pixelgan or implicit.")]
Minutes = Annotated[float | None, typer.Option("--minutes", help="Time allowed for training (default: chosen).")]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the images, in place of --minutes.")]
Size = Annotated[str | None, typer.Option("--size", help="Height x width of all images, as 32x32 (default: chosen).")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Of weights, noise and order.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run (default: a new one in runs).")]


@app.command(epilog="Examples: aegean cluster photos --clusters 30 --minutes 20 · aegean cluster photos --sheets")
def cluster(
    photos: Photos,
    settings: Settings = None,
    clusters: Annotated[
        int | None, typer.Option("--clusters", min=1, help="How many (default: by their number).")
    ] = None,
    model: ModelOption = "aae",
    minutes: Minutes = None,
    epochs: Epochs = None,
    starts: Annotated[
        int | None, typer.Option("--starts", min=1, help="Trainings, of which the best is kept (default: chosen).")
    ] = None,
    size: Size = None,
    sheets: Annotated[bool, typer.Option("--sheets", help="Also a picture of each cluster's typical images.")] = False,
    folders: Annotated[bool, typer.Option("--folders", help="Also copy the images into one folder a cluster.")] = False,
    seed: SeedOption = 0,
    out: Out = None,
    threads: Threads = None,
) -> None:
    """Put your images into clusters, without any label."""
    from aegean.config import parse_overrides
    from aegean.tasks import prepare

    use_threads(threads)
    with reading():
        prepared = prepare(
            "cluster", photos, model=_family(model), clusters=clusters, minutes=minutes, epochs=epochs, starts=starts,
            size=size, seed=seed, out=out, overrides=parse_overrides(settings or []), sheets=sheets, folders=folders,
        )  # fmt: skip
    _go(prepared)


@app.command(
    epilog="Examples: aegean classify photos --labels labels.csv --out runs/photos · "
    "aegean classify photos --labels more.csv --out runs/photos"
)
def classify(
    photos: Photos,
    settings: Settings = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            "--labels", help="CSV with the columns file and label (default: class subfolders). May be repeated."
        ),
    ] = None,
    model: ModelOption = "aae",
    minutes: Minutes = None,
    epochs: Epochs = None,
    size: Size = None,
    folds: Annotated[
        int, typer.Option("--folds", min=0, max=20, help="Parts of the labels hidden in turn to estimate the error.")
    ] = 5,
    next_labels: Annotated[int, typer.Option("--next", min=0, help="How many images to propose for labelling.")] = 20,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the run (default: a new one in runs). A finished one is gone on with."),
    ] = None,
    threads: Threads = None,
) -> None:
    """Label all of your images from the labels of some."""
    from aegean.config import parse_overrides
    from aegean.tasks import prepare

    use_threads(threads)
    with reading():
        prepared = prepare(
            "classify", photos, labels=labels or (), model=_family(model), minutes=minutes, epochs=epochs, size=size,
            seed=seed, out=out, overrides=parse_overrides(settings or []), folds=folds, next_labels=next_labels,
        )  # fmt: skip
    _go(prepared)


@app.command(epilog="Example: aegean embed photos --dim 2 --minutes 10")
def embed(
    photos: Photos,
    settings: Settings = None,
    dim: Annotated[int, typer.Option("--dim", min=1, help="Coordinates of each image.")] = 2,
    model: ModelOption = "aae",
    minutes: Minutes = None,
    epochs: Epochs = None,
    size: Size = None,
    seed: SeedOption = 0,
    out: Out = None,
    threads: Threads = None,
) -> None:
    """Give each of your images a few coordinates, and draw the map."""
    from aegean.config import parse_overrides
    from aegean.tasks import prepare

    use_threads(threads)
    with reading():
        prepared = prepare(
            "embed", photos, model=_family(model), dim=dim, minutes=minutes, epochs=epochs, size=size, seed=seed,
            out=out, overrides=parse_overrides(settings or []),
        )  # fmt: skip
    _go(prepared)


def _family(name: str) -> "ModelName":
    """The name of a model; `choose` refuses unknown ones, with the nearest known."""
    return cast("ModelName", name)


def _go(prepared: "Prepared") -> None:
    """Say what was found and chosen, train, and finish."""
    print(*prepared.found, sep="\n")
    print("\nSettings, and why (any can be overridden, see --help):")
    for reason in prepared.settings.reasons:
        print(f"  {reason}")
    run = prepared.create(command_line())
    print(f"\nrun: {run.folder}")
    if train_with_warnings(run).ended == "interrupted":
        raise typer.Exit(130)
    finish_task(run)

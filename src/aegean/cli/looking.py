"""Commands that look at recipes, data, documents and the machine."""

from pathlib import Path
from typing import Annotated

import typer

from aegean.cli.app import app, data_app, recipes_app
from aegean.cli.show import complain, print_table, reading
from aegean.cli.steps import experiment_of


@recipes_app.command("list", epilog="Example: aegean recipes list")
def list_recipes() -> None:
    """List all recipes."""
    from aegean.recipes import get, names

    rows = ((name, get(name)) for name in names())
    print_table(
        ("recipe", "kind", "epochs", "shows"), ((name, e.row, str(e.train.epochs), e.title) for name, e in rows)
    )


@recipes_app.command("show", epilog="Example: aegean recipes show pixelgan-mnist-100 > my.yaml")
def show_recipe(name: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")]) -> None:
    """Print a recipe whole, as YAML that aegean train takes back."""
    print(experiment_of(name).to_yaml(), end="")


@data_app.command("list", epilog="Example: aegean data list")
def list_data() -> None:
    """List the data sets and whether they are on this machine."""
    from aegean.data import available

    rows = ((entry.name, "yes" if entry.present else "no", entry.description) for entry in available())
    print_table(("data set", "here", "what"), rows)


@data_app.command("fetch", epilog="Example: aegean data fetch mnist")
def fetch_data(name: Annotated[str, typer.Argument(help="Name of a data set.")]) -> None:
    """Download a data set and check its hashes."""
    from aegean.data import fetch

    for path in fetch(name):
        print(path)


@data_app.command("check", epilog="Example: aegean data check photos --size 32x32")
def check_data(
    source: Annotated[str, typer.Argument(help="Folder, .zip, .csv, .npy or .npz of images, or name of a data set.")],
    size: Annotated[str | None, typer.Option("--size", help="Height x width, as 32x32.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", help="CSV with the columns file and label.")] = None,
) -> None:
    """Read all images of a folder or data set and say what is there."""
    from aegean.data import check
    from aegean.use import data_source

    with reading():
        found = check(data_source(source, size, labels))
    print(found)
    if found.problems:
        raise typer.Exit(1)


@data_app.command("cache", epilog="Example: aegean data cache --clear")
def data_cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove the decoded images.")] = False,
) -> None:
    """Show how much the decoded images of your folders take on disk, or remove them.

    The oldest go by themselves beyond 20 GB (AEGEAN_CACHE_GB). AEGEAN_CACHE names another folder; AEGEAN_CACHE=off does
    without one.
    """
    from aegean.data import cache

    root = cache.cache_root()
    if root is None:
        print(f"The cache is switched off by {cache.CACHE_VARIABLE}.")
    elif clear:
        print(f"removed {cache.clear() / 1e6:,.1f} MB from {root}")
    else:
        sizes = [size for _, size in cache.entries()]
        print(f"{len(sizes)} sets of images, {sum(sizes) / 1e6:,.1f} MB of {cache.limit_bytes() / 1e6:,.0f}: {root}")


@app.command(epilog="Example: aegean tables README.md docs")
def tables(
    documents: Annotated[list[Path], typer.Argument(help="Markdown files, or folders of them.")],
    results: Annotated[Path, typer.Option("--results", help="Where the run records are.")] = Path("results"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a table is out of date.")] = False,
) -> None:
    """Fill the tables and pictures of documents from the run records."""
    from aegean.documents import update_documents
    from aegean.evaluate.records import read_records
    from aegean.recipes import get, names
    from aegean.reproduce import outdated

    for record in read_records(results):
        for setting in outdated(record, get(record.recipe)) if record.recipe in names() else ():
            complain(f"warning: {record.recipe}, seed {record.seed}, was made with other settings: {setting}.")
    changed = update_documents(documents, results, write=not check)
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

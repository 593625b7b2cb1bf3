"""Commands on the codes of a run: transfer, interpolate, explore."""

from pathlib import Path
from typing import Annotated

import typer

from aegean.cli.app import RunArgument, Seed, Threads, app
from aegean.cli.show import counter
from aegean.cli.steps import open_run, use_threads

ImageFile = Annotated[Path, typer.Argument(metavar="A", help="An image file.")]
OtherFile = Annotated[Path, typer.Argument(metavar="B", help="Another image file.")]


@app.command(epilog="Example: aegean transfer runs/styles a.png b.png --out transfer.png")
def transfer(
    run: RunArgument,
    content: ImageFile,
    style: OtherFile,
    out: Annotated[
        Path, typer.Option("--out", help="PNG of A, B and the new image side by side; .npz: the new image alone.")
    ] = Path("transfer.png"),
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Draw the content of image A (its class or cluster) in the style of image B."""
    from aegean import use
    from aegean.writing import IMAGES, check_place, write_row

    check_place(out, IMAGES)
    use_threads(threads)
    opened = open_run(run)
    model = opened.model()
    given = use.image_files(opened, model, (content, style))
    drawn = use.transfer(model, given[:1], given[1:], seed)
    write_row(out, given, drawn)
    print(f"the content of {content} in the style of {style}: {out}")


@app.command(epilog="Example: aegean interpolate runs/demo a.png b.png -n 8 --out interpolation.png")
def interpolate(
    run: RunArgument,
    first: ImageFile,
    last: OtherFile,
    n: Annotated[int, typer.Option("-n", min=2, max=1000, help="How many images, both ends among them.")] = 8,
    out: Annotated[
        Path, typer.Option("--out", help="PNG of A, the images on the way, and B; .npz: the images on the way alone.")
    ] = Path("interpolation.png"),
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Draw the images on the way from the code of image A to the code of image B."""
    from aegean import use
    from aegean.writing import IMAGES, check_place, write_row

    check_place(out, IMAGES)
    use_threads(threads)
    opened = open_run(run)
    model = opened.model()
    given = use.image_files(opened, model, (first, last))
    with counter("drawing", n) as advance:
        drawn = use.interpolate(model, given[0], given[1], n, seed, advance)
    write_row(out, given, drawn, between=True)
    print(f"{n} images between {first} and {last}: {out}")


@app.command(epilog="Example: aegean explore runs/demo")
def explore(
    run: RunArgument,
    n: Annotated[int, typer.Option("--n", min=2, max=100_000, help="Training images on the map.")] = 2000,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of the page; 0 is any that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Open a page on this machine: move over the codes and see what the model makes of them."""
    import webbrowser

    from aegean.explore import Explorer, open_session

    use_threads(threads)
    opened = open_run(run)
    with counter("encoding", n) as advance:
        session = open_session(opened, n, seed, advance)
    with Explorer(session, opened.experiment.title, port) as explorer:
        try:  # whoever reads that Ctrl-C ends it may try it at once
            print(f"{explorer.url}\nOnly this machine can open it. Ctrl-C ends.", flush=True)
            if browser:
                webbrowser.open(explorer.url)
            explorer.serve_forever()
        except KeyboardInterrupt:
            print("\nended")

"""Commands that use a run: evaluate, sample, reconstruct, inpaint, encode, predict, report, pictures."""

from pathlib import Path
from typing import Annotated

import typer

from aegean.cli.app import Images, RunArgument, Seed, Threads, app
from aegean.cli.show import counter, counters, evaluate_with_progress, print_results, reading
from aegean.cli.steps import open_run, use_threads, write_report
from aegean.errors import DataError


@app.command(epilog="Example: aegean evaluate runs/pixelgan-mnist-100")
def evaluate(
    run: RunArgument,
    protocols: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol",
            help="Another one: bits-back, category-draws, code-match, cross-domain, marginal, mode-information, "
            "parzen, parzen-10m, posterior-divergence, readout, sample-classes, stochastic-reconstruction. May be "
            "repeated.",
        ),
    ] = None,
    threads: Threads = None,
) -> None:
    """Judge a run on its test images."""
    from aegean.evaluate.protocols import protocol_names

    use_threads(threads)
    opened = open_run(run)
    chosen = None if protocols is None else protocol_names(protocols)
    if not len(opened.splits.test):
        raise DataError(f"{run}: holds no test images to judge on; train a run with data.test above 0.")
    print_results(evaluate_with_progress(opened, chosen))


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
    from aegean.use import draw_samples
    from aegean.writing import IMAGES, check_place, write_images

    check_place(out, IMAGES)
    use_threads(threads)
    opened = open_run(run)
    with counter("drawing", n) as advance:
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
    from aegean.use import images_for, reconstructions
    from aegean.writing import PICTURE, check_place, write_pairs

    check_place(out, PICTURE)
    use_threads(threads)
    opened = open_run(run)
    model = opened.model()
    with reading():
        chosen = images_for(opened, model, images)
    with counter("reconstructing", min(n, len(chosen))) as advance:
        originals, rebuilt = reconstructions(opened, model, chosen, n, seed, advance)
    write_pairs(out, originals, rebuilt)
    print(f"{len(originals)} images and their reconstructions: {out}")


@app.command(epilog="Example: aegean inpaint runs/demo --keep top -n 6 --out completions.png")
def inpaint(
    run: RunArgument,
    images: Images = None,
    keep: Annotated[
        str | None,
        typer.Option("--keep", help="Known half: top (default), bottom, left, right; or a share of rows, as 0.3."),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", help="Instead: an image of the model's size, white where pixels are known.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="Completions of each image.")] = 4,
    first: Annotated[int, typer.Option("--first", min=1, max=10_000, help="How many of the images.")] = 8,
    candidates: Annotated[
        int, typer.Option("--candidates", min=1, max=100_000, help="Codes or completions weighed for each draw.")
    ] = 100,
    out: Annotated[
        Path, typer.Option("--out", help="PNG; a row is an image, what is known of it, its completions.")
    ] = Path("completions.png"),
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Complete images of which only some pixels are known (PixelGAN autoencoder, PixelCNN)."""
    from aegean.use import completions, images_for, known_pixels
    from aegean.writing import PICTURE, check_place, write_completions

    check_place(out, PICTURE)
    use_threads(threads)
    opened = open_run(run)
    model = opened.model()
    known = known_pixels(keep, mask, model.shape[1:])
    with reading():
        chosen = images_for(opened, model, images)
    with counters() as advance:
        originals, drawn = completions(
            opened, model, chosen, known, first, n, candidates, seed, lambda done, work: advance("drawing", done, work)
        )
    write_completions(out, originals, known, drawn)
    print(f"{n} completions of each of {len(originals)} images: {out}")


@app.command(epilog="Example: aegean encode runs/demo photos --out codes.csv")
def encode(
    run: RunArgument,
    images: Images = None,
    out: Annotated[Path, typer.Option("--out", help="CSV, or .npz.")] = Path("codes.csv"),
    threads: Threads = None,
) -> None:
    """Write the codes of images."""
    from aegean.use import codes, images_for
    from aegean.writing import CODES, check_place, write_codes

    check_place(out, CODES)
    use_threads(threads)
    opened = open_run(run)
    model = opened.model()
    with reading():
        chosen = images_for(opened, model, images)
    with counter("encoding", len(chosen)) as advance:
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
    from aegean.use import images_for, predictions
    from aegean.writing import TABLE, check_place, write_predictions

    check_place(out, TABLE)
    use_threads(threads)
    opened = open_run(run)
    model = opened.model()
    with reading():
        chosen = images_for(opened, model, images)
    with counter("predicting", len(chosen)) as advance:
        probabilities = predictions(opened, model, chosen, advance)
    classes = opened.class_names if model.supervised else ()
    write_predictions(out, classes, chosen, probabilities)
    print(f"{len(chosen)} predictions: {out}")


@app.command(epilog="Example: aegean report runs/demo")
def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option("--out", help="HTML file (default: RUN/report.html).")] = None,
    threads: Threads = None,
) -> None:
    """Write a run's report: one HTML page with everything in it."""
    from aegean.writing import check_place

    opened = open_run(run)
    check_place(out or run / "report.html", (".html", ".htm"))
    use_threads(threads)
    write_report(opened, out)


@app.command(epilog="Example: aegean pictures runs/demo --only samples --out pictures")
def pictures(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the files (default: RUN/pictures).")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Name of a picture, as samples. May be repeated.")
    ] = None,
    threads: Threads = None,
) -> None:
    """Write the pictures of a run's report as PNG files."""
    from aegean.files import check_writable
    from aegean.report.build import write_pictures

    opened = open_run(run)
    check_writable((out or run / "pictures") / "samples.png")
    use_threads(threads)
    with counters() as advance:
        paths = write_pictures(opened, out, only or (), advance)
    print(*paths, sep="\n")

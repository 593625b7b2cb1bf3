"""Fill the marked places of Markdown files: tables from the run records, and pictures that lie beside these."""

import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aegean.errors import DataError
from aegean.evaluate.records import RunRecord, read_records, render_benchmarks, render_epochs, render_tables
from aegean.files import atomic_write, read_bounded
from aegean.plots.grids import png_text
from aegean.recipes import get, names

#: A document is not larger than this.
MAX_DOCUMENT_BYTES = 10_000_000
#: A picture in a document is not larger than this.
MAX_PICTURE_BYTES = 2_000_000


def update_documents(documents: Iterable[Path], results: Path, write: bool = True) -> list[Path]:
    """Fill the marked places of Markdown files; see `render_pictures` and `aegean.evaluate.records`.

    Args:
        documents: files, or folders whose Markdown files are meant.
        results: folder of run records.
        write: false to find out only which files would change.

    Returns:
        The files that changed, or would.

    Raises:
        DataError: a record is damaged, or a document cannot be read or has a marker that is not closed.
    """
    records = read_records(results)
    paper = {name: get(name).paper for name in names()}
    changed = []
    for document in documents:
        for path in sorted(document.rglob("*.md")) if document.is_dir() else [document]:
            text = _read(path)
            rendered = render_epochs(render_tables(text, records, paper), records)
            rendered = render_benchmarks(rendered, results / "benchmarks")
            link = Path(os.path.relpath(results, path.parent)).as_posix()
            rendered = render_pictures(rendered, records, results, link)
            if rendered != text:
                changed.append(path)
                if write:
                    atomic_write(path, rendered)
    return changed


def _read(path: Path) -> str:
    try:
        text = read_bounded(path, MAX_DOCUMENT_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text in UTF-8; save it in that encoding.") from None
    return io.StringIO(text, newline=None).getvalue()  # with the line ends of the markers


_PICTURE = re.compile(r"(<!-- picture:([a-z0-9-]+)/seed-(\d+)/([a-z0-9-]+) -->).*?(<!-- /picture -->)", re.DOTALL)


def render_pictures(text: str, records: Sequence[RunRecord], folder: str | Path, link: str) -> str:
    """Fill the places `<!-- picture:RECIPE/seed-S/NAME -->` ... `<!-- /picture -->` of a document.

    The picture is `folder/RECIPE/seed-S/NAME.png`, with the caption that it has in itself (see `aegean.report.png`) and
    the run that it is of. Without the file, a place stays.

    Args:
        text: of the document.
        records: all records.
        folder: of the records.
        link: what leads from the document to that folder.

    Raises:
        DataError: a picture is not of the run on record, a file is no PNG, or a marker has no end or is misspelt.
    """
    if not text.count("<!-- picture:") == text.count("<!-- /picture -->") == len(_PICTURE.findall(text)):
        raise DataError("every <!-- picture:RECIPE/seed-S/NAME --> needs one <!-- /picture --> after it.")
    by_run = {(record.recipe, str(record.seed)): record for record in records}

    def picture(match: re.Match[str]) -> str:
        recipe, seed, name = match[2], match[3], match[4]
        place = f"{recipe}/seed-{seed}/{name}.png"
        path = Path(folder) / place
        if not path.is_file():
            return match[0]
        told, record = png_text(read_bounded(path, MAX_PICTURE_BYTES), path), by_run.get((recipe, seed))
        if record is None or not _is_of(told, record):
            raise DataError(f"{path}: not of the run on record; draw it again with: aegean pictures RUN")
        epochs = f"{record.epochs:g} epoch" + ("" if record.epochs == 1 else "s")
        shown = f"![{told['Title']}]({link}/{place})"
        caption = f"*{told['Description']}* `{recipe}`, seed {seed}, {epochs}."
        return "\n".join([match[1], shown, "", caption, match[5]])

    return _PICTURE.sub(picture, text)


def _is_of(told: Mapping[str, str], record: RunRecord) -> bool:
    """Whether a picture says what `aegean.report.build.write_pictures` writes into one of this run."""
    run = {
        "Recipe": record.recipe,
        "Seed": str(record.seed),
        "Epochs": f"{record.epochs:g}",
        "Commit": record.commit,
    }
    return {"Title", "Description"} <= told.keys() and run.items() <= told.items()

"""The labels of a run: read from the user's files, kept in the run's folder, added to from round to round."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from aegean.data import Folder
from aegean.data.labels import labels_of, read_labels
from aegean.data.listing import list_images
from aegean.files import write_csv


def collect_labels(data: Folder, files: Sequence[str | Path], earlier: Path | None = None) -> dict[str, str]:
    """Return the label of each image that has one.

    Args:
        data: images in files.
        files: tables with the columns `file` and `label`; a later one goes before an earlier one.
        earlier: the labels of an earlier round, which all others go before.

    Raises:
        DataError: a table cannot be read, or names a file that is no image of the folder.
    """
    listing = list_images(data.path)
    labels: dict[str, str] = {}
    if earlier is not None:
        known = set(listing.names)
        labels = {name: label for name, label in read_labels(earlier).items() if name in known}
    elif not files:
        found, _ = data.read()
        pairs = zip(found.names or (), found.labels.tolist(), strict=True)
        return {name: found.class_names[label] for name, label in pairs if label >= 0}
    for file in files:
        given = labels_of(listing.names, read_labels(file), file)
        labels |= {name: label for name, label in zip(listing.names, given, strict=True) if label}
    return labels


def write_labels(path: Path, labels: Mapping[str, str]) -> None:
    """Write a table with the columns `file` and `label`.

    Raises:
        OutputError: it cannot be written.
    """
    write_csv(path, ["file", "label"], labels.items())

"""Which images are held out, and whose labels may be seen; labels read from a CSV file."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aegean.errors import DataError
from aegean.files import read_bounded, without_guard

#: A labels file larger than this is refused.
MAX_CSV_BYTES = 100_000_000
#: So is one with a longer line: millions of columns would take far more memory than the file.
MAX_LINE_BYTES = 1_000_000


def balanced_subset(labels: Tensor, per_class: int, seed: int, class_names: Sequence[str] | None = None) -> Tensor:
    """Choose the same number of labelled images from every class, at random by seed.

    The choice grows with `per_class`: with one seed, the subset of 10 a class contains that of 5 a class.

    Args:
        labels: int64, shape (n,); -1 = unlabelled, never chosen.
        per_class: how many of each class.
        seed: of the choice.
        class_names: names for the error; by default the labels' numbers, up to the largest label.

    Returns:
        Their indices, int64, ascending, shape (classes * per_class,).

    Raises:
        DataError: a class has fewer labelled images.
    """
    known = labels.cpu().numpy()
    names = class_names if class_names is not None else [str(k) for k in range(int(known.max(initial=-1)) + 1)]
    if per_class and not names:
        raise DataError(f"{per_class} labels a class were asked for, but no image has a label; ask for 0.")
    rng = np.random.default_rng(seed)
    chosen = []
    for k, name in enumerate(names):
        members = rng.permutation(np.flatnonzero(known == k))
        if len(members) < per_class:
            raise DataError(
                f"Class {name!r} has {len(members)} labelled training images, but {per_class} a class were "
                "asked for; ask for fewer labels a class, hold out fewer images, or label more."
            )
        chosen.append(members[:per_class])
    return torch.from_numpy(np.sort(np.concatenate(chosen, dtype=np.int64)) if chosen else np.zeros(0, np.int64))


def stratified_split(labels: Tensor, sizes: Sequence[int], seed: int) -> tuple[Tensor, ...]:
    """Split images at random so that every part has every class in its proportion.

    Images without label count as one more class. The first parts do not depend on the sizes of the later
    ones: the same test images are held out with and without a validation set.

    Args:
        labels: int64, shape (n,); -1 = unlabelled.
        sizes: images in each held-out part; the rest follows as the last part.
        seed: of the split.

    Returns:
        One tensor of indices a size, then the rest; int64, ascending, disjoint, together 0 ... n-1.

    Raises:
        DataError: the sizes add up to more than n images.
    """
    known = labels.cpu().numpy()
    if sum(sizes) > len(known):
        raise DataError(
            f"{' + '.join(str(size) for size in sizes)} images were to be held out, but there are only "
            f"{len(known)}; hold out fewer."
        )
    rng = np.random.default_rng(seed)
    left = [rng.permutation(np.flatnonzero(known == k)) for k in np.unique(known)]
    parts = []
    for size in sizes:
        taken = _proportional([len(members) for members in left], size)
        parts.append([members[:count] for members, count in zip(left, taken, strict=True)])
        left = [members[count:] for members, count in zip(left, taken, strict=True)]
    none = np.zeros(0, np.int64)
    return tuple(torch.from_numpy(np.sort(np.concatenate([none, *part]))) for part in (*parts, left))


def _proportional(counts: list[int], size: int) -> list[int]:
    """Divide `size` in proportion to `counts`: whole parts first, then the largest remainders."""
    if size == 0:
        return [0] * len(counts)
    total = sum(counts)
    shares = [size * count // total for count in counts]
    remainders = [size * count % total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda k: -remainders[k])
    for k in by_remainder[: size - sum(shares)]:
        shares[k] += 1
    return shares


def read_labels(path: str | Path) -> dict[str, str]:
    """Read a CSV file with a header that names the columns `file` and `label`.

    Other columns are ignored, so a table of predictions can be corrected and read back. An empty label, or
    -1, is no label.

    Returns:
        The label of each file that the table names, "" for no label, in the order of the rows.

    Raises:
        DataError: the file is missing, too large, not UTF-8 text, or not such a table, or lists a file twice.
    """
    return _read_columns(path, label_needed=True)


def read_table(path: str | Path) -> dict[str, str]:
    """Read a table of images: as `read_labels`, but there may be no column `label`.

    Raises:
        DataError: see `read_labels`.
    """
    return _read_columns(path, label_needed=False)


def _read_columns(path: str | Path, label_needed: bool) -> dict[str, str]:
    text = _read_text(path)
    first = text.partition("\n")[0]
    # Spreadsheets of some countries write semicolons.
    delimiter = "\t" if Path(path).suffix.lower() == ".tsv" else ";" if ";" in first and "," not in first else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        if "file" not in header or (label_needed and "label" not in header):
            raise DataError(f"{path}: the first line must name the columns 'file' and 'label', as in file,label.")
        file_column = header.index("file")
        label_column = header.index("label") if "label" in header else None
        found: dict[str, str] = {}
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(f"{path}, line {rows.line_num}: {len(row)} values, but the header has {len(header)}.")
            file = without_guard(row[file_column])
            label = "" if label_column is None else without_guard(row[label_column].strip())
            if not _is_text(label):
                raise DataError(f"{path}, line {rows.line_num}: not UTF-8 text; save the labels as CSV in UTF-8.")
            if file in found:
                raise DataError(f"{path}, line {rows.line_num}: {file!r} is listed twice; keep one of the lines.")
            found[file] = "" if label == "-1" else label
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: not CSV ({error}); expected lines such as a.png,cat.") from None
    return found


def _read_text(path: str | Path) -> str:
    raw = read_bounded(path, MAX_CSV_BYTES)
    if max(map(len, raw.split(b"\n"))) > MAX_LINE_BYTES:
        raise DataError(f"{path}: a line of more than {MAX_LINE_BYTES} bytes; this is no table of files and labels.")
    if b"\0" in raw:
        raise DataError(f"{path}: holds a NUL byte, as text in UTF-16 does; save the table as CSV in UTF-8.")
    return raw.decode("utf-8-sig", "surrogateescape")  # as names of files are


def _is_text(name: str) -> bool:
    """Whether it is free of bytes that are not UTF-8, which names of files may hold."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def labels_of(names: Sequence[str], labels: Mapping[str, str], where: str | Path) -> list[str]:
    """Return the label of each name, "" where there is none.

    Raises:
        DataError: a label is of a file that is not among the names.
    """
    unknown = sorted(set(labels) - set(names))
    if unknown:
        where = f"{where}: {unknown[0]!r} is not an image of the folder ({len(unknown)} such lines)"
        if not _is_text(unknown[0]):
            raise DataError(f"{where}; save the table in UTF-8, or remove the lines.")
        raise DataError(
            f"{where}; write file names relative to the folder, with / between folders, or remove the lines."
        )
    return [labels.get(name, "") for name in names]

"""What is drawn, coded or predicted, written to files: PNG grids, .npz arrays, CSV tables."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aegean.data import ImageData
from aegean.errors import ConfigError
from aegean.files import atomic_write, check_writable, write_csv
from aegean.plots import filled, image_grid, png_bytes

#: Endings of the files of drawn images, of pictures of a fixed form, of codes, of tables.
IMAGES, PICTURE, CODES, TABLE = (".png", ".npz"), (".png",), (".csv", ".npz"), (".csv",)


def check_place(path: Path, endings: Sequence[str]) -> None:
    """Find out before the work starts that its result can be written; leaves nothing behind.

    Args:
        path: of the file.
        endings: that it may have.

    Raises:
        ConfigError: another ending.
        OutputError: there is no space, no permission, or the path is not one of a plain file.
    """
    _check_ending(path, endings)
    check_writable(path)


def _check_ending(path: Path, endings: Sequence[str]) -> None:
    ending = path.suffix.lower()
    if ending not in endings:
        found = repr(ending) if ending else "without an ending"
        raise ConfigError(f"{path}: this is written as {' or '.join(endings)}, not {found}; choose another name.")


def write_images(path: Path, images: Tensor) -> None:
    """Write images as a PNG grid, or as the array `images` of an .npz file (uint8, (n, h, w, c)).

    Raises:
        ConfigError: another ending.
        OutputError: it cannot be written.
    """
    _check_ending(path, IMAGES)
    if path.suffix.lower() == ".png":
        atomic_write(path, png_bytes(image_grid(images)))
    else:
        _write_npz(path, images=(images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def write_row(path: Path, given: Tensor, drawn: Tensor, between: bool = False) -> None:
    """Write images that were drawn of two given ones: PNG, a row of all; .npz, the drawn ones alone.

    Args:
        path: the file.
        given: (2, c, h, w).
        drawn: (n, c, h, w).
        between: whether they stand between the two in the row, or after them.
    """
    if path.suffix.lower() == ".png":
        row = torch.cat((given[:1], drawn, given[1:]) if between else (given, drawn))
        atomic_write(path, png_bytes(image_grid(row, columns=len(row))))
    else:
        write_images(path, drawn)


def write_pairs(path: Path, originals: Tensor, rebuilt: Tensor, columns: int = 16) -> None:
    """Write a PNG with rows of originals above rows of their reconstructions.

    Raises:
        ConfigError: another ending.
        OutputError: it cannot be written.
    """
    _check_ending(path, PICTURE)
    rows = [
        part
        for start in range(0, len(originals), columns)
        for part in (
            filled(originals[start : start + columns], columns),
            filled(rebuilt[start : start + columns], columns),
        )
    ]
    atomic_write(path, png_bytes(image_grid(torch.cat(rows), columns=columns)))


def write_completions(path: Path, originals: Tensor, known: Tensor, drawn: Tensor) -> None:
    """Write a PNG with a row an image: the image, what was known of it (the rest is grey), its completions.

    Args:
        path: the file.
        originals: (n, c, h, w).
        known: boolean (h, w).
        drawn: (n, draws, c, h, w).

    Raises:
        ConfigError: another ending.
        OutputError: it cannot be written.
    """
    _check_ending(path, PICTURE)
    partial = torch.where(known, originals, 0.5)
    rows = torch.cat((originals[:, None], partial[:, None], drawn), dim=1)  # (n, draws + 2, c, h, w)
    atomic_write(path, png_bytes(image_grid(rows.flatten(0, 1), columns=rows.shape[1])))


def write_codes(path: Path, data: ImageData, z: Tensor) -> None:
    """Write codes as CSV (file, z0, z1, ...) or .npz (codes, labels).

    Raises:
        ConfigError: another ending.
        OutputError: it cannot be written.
    """
    _check_ending(path, CODES)
    if path.suffix.lower() == ".npz":
        _write_npz(path, codes=z.numpy(), labels=data.labels.numpy())
        return
    header = ["file", *(f"z{k}" for k in range(z.shape[1]))]
    pairs = zip(names_of(data), z.tolist(), strict=True)
    write_csv(path, header, ([name, *(f"{v:.6g}" for v in row)] for name, row in pairs))


def write_predictions(
    path: Path, classes: Sequence[str], data: ImageData, probabilities: Tensor, given: Tensor | None = None
) -> None:
    """Write predictions as CSV: file, label, confidence, and the probability of each class.

    Args:
        path: of the file.
        classes: names of the classes; without any, a label is a cluster's number, and only the confidence is written.
        data: the images, n of them.
        probabilities: of classes or clusters, (n, k).
        given: known classes, int64 (n,), -1 where there is none: a column `given`.

    Raises:
        ConfigError: another ending.
        OutputError: it cannot be written.
    """
    _check_ending(path, TABLE)
    header = ["file", "label", "confidence", *(["given"] if given is not None else []), *(f"p({k})" for k in classes)]
    confidence, best = (values.tolist() for values in probabilities.max(dim=1))
    known = [] if given is None else [[classes[k] if k >= 0 else ""] for k in given.tolist()]

    def row(i: int, name: str, q: list[float]) -> list[str]:
        label = classes[best[i]] if classes else str(best[i])
        columns = [f"{p:.4f}" for p in q] if classes else []
        return [name, label, f"{confidence[i]:.4f}", *(known[i] if known else []), *columns]

    names = names_of(data)
    write_csv(path, header, (row(i, names[i], q) for i, q in enumerate(probabilities.tolist())))


def names_of(data: ImageData) -> tuple[str, ...]:
    """Return the name of each image: its file, or its number from 0."""
    return data.names or tuple(str(index) for index in range(len(data)))


def _write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    raw = io.BytesIO()
    np.savez_compressed(raw, allow_pickle=False, **arrays)
    atomic_write(path, raw.getvalue())

"""Vectors of real numbers: embeddings of a pretrained network, spectra, cells; from NumPy files and CSV tables."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aegean.data.arrays import read_arrays
from aegean.data.images import ImageData, label_codes
from aegean.data.labels import MAX_CSV_BYTES
from aegean.data.scaling import FeatureScaler
from aegean.data.splits import DataReport, PathText, Splits, SplitSettings
from aegean.errors import DataError
from aegean.files import read_bounded

#: Columns of a CSV table that are no features.
LABEL, NAME = "label", "name"


class Vectors(SplitSettings):
    """Vectors of d real numbers in a `.npy`, `.npz` or `.csv` file, each an "image" of shape (d, 1, 1).

    A `.npz` file holds the array `vectors`, (n, d), and may hold `labels`, `class_names` and `names`. The first line
    of a CSV file names the columns; those called `label` and `name` are the vectors' own, all others are numbers.

    Each feature is scaled by the training vectors' quantiles, see `FeatureScaler`. A run keeps these numbers, and new
    vectors are scaled by them.

    Attributes:
        path: the file.
        vectors_key: name of the array of vectors in a `.npz` file.
        labels_key: name of the array of labels; it may be missing.
    """

    kind: Literal["vectors"] = "vectors"
    path: PathText
    vectors_key: str = "vectors"
    labels_key: str = "labels"

    def read(self) -> ImageData:
        """Read all vectors as they are, and their labels.

        Raises:
            DataError: the file is missing, damaged, too large, holds pickled objects, or is no table of numbers.
        """
        path = Path(self.path)
        if path.suffix.lower() == ".csv":
            return _read_table(path)
        arrays = read_arrays(path, (self.vectors_key, self.labels_key, "class_names", "names"))
        if self.vectors_key not in arrays:
            raise DataError(
                f"{path}: has no array {self.vectors_key!r}; save the vectors under this name, or name another array "
                "as vectors_key."
            )
        class_names, names = arrays.get("class_names"), arrays.get("names")
        try:
            return from_vectors(
                arrays[self.vectors_key],
                arrays.get(self.labels_key),
                None if class_names is None else [str(name) for name in class_names.flat],
                None if names is None else [str(name) for name in names.flat],
            )
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    def load(self) -> Splits:
        """Read, split, and scale all parts by the training vectors; see `read` and `SplitSettings.split`."""
        splits = self.split(self.read(), source=Path(self.path).name)
        return scale_splits(splits, FeatureScaler.fit(_rows(splits.train.images)))

    def check(self) -> DataReport:
        """Count what there is; see `DataSettings.check`."""
        data = self.read()
        return VectorsReport(len(data), data.counts(), {f"{data.shape[0]} numbers": len(data)}, 1)


@dataclass(frozen=True)
class VectorsReport(DataReport):
    """What a file of vectors holds."""

    def __str__(self) -> str:
        classes = ", ".join(f"{name} ({count})" for name, count in self.classes.items()) or "none"
        size = next(iter(self.sizes))
        return f"vectors   {self.images} of {size}\nlabelled  {self.labelled}\nclasses   {classes}"


def from_vectors(
    vectors: NDArray[Any] | Tensor,
    labels: NDArray[Any] | Sequence[int] | Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> ImageData:
    """Make data from vectors, as float32 of shape (n, d, 1, 1), not scaled yet; see `FeatureScaler`.

    Args:
        vectors: real numbers, shape (n, d).
        labels: as for `aegean.from_arrays`.
        class_names: the name of label 0, of label 1, and so on.
        names: a name for each vector.

    Raises:
        DataError: not numbers of this shape, a value is NaN, infinite or too large for float32, or lengths differ.
    """
    values = vectors.detach().cpu().numpy() if isinstance(vectors, Tensor) else np.asarray(vectors)
    if values.ndim != 2 or values.dtype.kind not in "fiub" or not values.shape[1]:
        raise DataError(f"Vectors are {values.dtype} of shape {values.shape}; expected numbers of shape (n, d).")
    with np.errstate(over="ignore"):
        held = np.array(values, dtype=np.float32)
    if not np.isfinite(held).all():
        raise DataError("Vectors hold NaN, infinite or very large values; replace what is missing, and rescale others.")
    if labels is None:
        codes, known = np.full(len(held), -1, dtype=np.int64), tuple(class_names or ())
    else:
        codes, known = label_codes(np.asarray(labels), class_names)
    images = torch.from_numpy(held)[:, :, None, None]
    return ImageData(images, torch.from_numpy(codes), known, None if names is None else tuple(names))


def scale_splits(splits: Splits, scaler: FeatureScaler) -> Splits:
    """Return the same splits with all vectors scaled, and the scaler beside them."""
    train, validation, test = (scale(part, scaler) for part in (splits.train, splits.validation, splits.test))
    return replace(splits, train=train, validation=validation, test=test, scaler=scaler)


def scale(data: ImageData, scaler: FeatureScaler) -> ImageData:
    """Return the data with its vectors scaled to [0, 1].

    Raises:
        DataError: the vectors have another length than those of training.
    """
    return replace(data, images=torch.from_numpy(scaler.apply(_rows(data.images)))[:, :, None, None])


def holds_vectors(path: str | Path) -> bool:
    """Whether a file holds vectors rather than images: an array (n, d), or a table without a column `file`.

    Raises:
        DataError: the file is missing or damaged.
    """
    file = Path(path)
    match file.suffix.lower():
        case ".csv":
            with io.BytesIO(read_bounded(file, MAX_CSV_BYTES)) as stream:
                first = stream.readline().decode("utf-8-sig", "replace")
            return "file" not in {name.strip(' "\r\n').lower() for name in re.split("[,;]", first)}
        case ".npz":
            return "vectors" in read_arrays(file, ("vectors",))
        case ".npy":
            return read_arrays(file, ("vectors",))["vectors"].ndim == 2
    return False


def _rows(images: Tensor) -> NDArray[np.floating]:
    rows: NDArray[np.floating] = images.flatten(1).numpy()
    return rows


def _read_table(path: Path) -> ImageData:
    """Read a CSV table of numbers whose first line names its columns."""
    try:
        text = read_bounded(path, MAX_CSV_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save the table as CSV in UTF-8.") from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(lines, [])]
        rows = [row for row in lines if row]
    except csv.Error as error:
        raise DataError(f"{path}, line {lines.line_num}: not CSV ({error}).") from None
    features = [place for place, name in enumerate(header) if name not in (LABEL, NAME)]
    if not features or not rows:
        raise DataError(f"{path}: no numbers; the first line names the columns, each other line is a vector.")
    if _are_numbers([header[place] for place in features]):
        raise DataError(f"{path}: the first line must name the columns, as in x1,x2,label; it holds numbers.")
    values = np.empty((len(rows), len(features)), dtype=np.float64)
    for index, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(f"{path}, vector {index + 1}: {len(row)} values, but the header has {len(header)}.")
        try:
            values[index] = [float(row[place]) for place in features]
        except ValueError as error:
            raise DataError(
                f"{path}, vector {index + 1}: not a number ({error}); write numbers as 0.5, labels in a column named "
                "'label', names in one named 'name'."
            ) from None
    try:
        names = [row[header.index(NAME)] for row in rows] if NAME in header else None
        labels = _labels([row[header.index(LABEL)].strip() for row in rows]) if LABEL in header else None
        return from_vectors(values, labels, names=names)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _labels(texts: list[str]) -> NDArray[Any]:
    """Labels as whole numbers where all are, so that class 10 does not come before class 2; "" and -1 for none."""
    known = [text for text in texts if text not in ("", "-1")]
    if known and all(text.isascii() and text.isdigit() and len(text) < 10 for text in known):
        return np.array([int(text) if text else -1 for text in texts])
    return np.array(["" if text == "-1" else text for text in texts], dtype=str)


def _are_numbers(texts: list[str]) -> bool:
    try:
        return all(np.isfinite(float(text)) for text in texts)
    except ValueError:
        return False

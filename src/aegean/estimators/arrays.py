"""Users' arrays to tensors and back: images with or without an axis of channels, flat ones, vectors of any unit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aegean.data import FeatureScaler, ImageData, as_uint8, from_arrays
from aegean.errors import DataError


@dataclass(frozen=True)
class Form:
    """How a user's rows of numbers become images in [0, 1] of shape (c, h, w), and back.

    Attributes:
        shape: (h, w) or (h, w, c) of an image; None for vectors.
        flat: whether images were given as rows of numbers.
        low: the value that becomes 0, for images.
        high: the value that becomes 1, for images.
        dtype: of images, by its name; floats become float64.
        scaler: for vectors.
    """

    shape: tuple[int, ...] | None
    flat: bool
    low: float = 0.0
    high: float = 1.0
    dtype: str = "float64"
    scaler: FeatureScaler | None = None

    @classmethod
    def of(cls, rows: NDArray[Any], shape: tuple[int, ...] | None, flat: bool) -> Self:
        """Learn the form from training data, (n, numbers).

        uint8 is 0 to 255 and bool is 0 to 1. Other images in [0, 1] are taken as they are; if not, their smallest and
        largest value become 0 and 1. Features of vectors are scaled one by one, see `FeatureScaler`.
        """
        if shape is None:
            return cls(None, flat, scaler=FeatureScaler.fit(rows))
        if rows.dtype == np.uint8:
            return cls(shape, flat, 0.0, 255.0, "uint8")
        low, high = float(rows.min()), float(rows.max())
        inside = low >= 0 and high <= 1
        return cls(shape, flat, *((0.0, 1.0) if inside or low == high else (low, high)))

    def data(self, rows: NDArray[Any], labels: NDArray[np.int64] | None = None, classes: int = 0) -> ImageData:
        """Return training data; images are rounded to 256 levels."""
        scaled, names = self.scale(rows), tuple(map(str, range(classes)))
        known = torch.full((len(rows),), -1) if labels is None else torch.from_numpy(labels)
        if self.shape is None:
            return ImageData(scaled, known, names)
        return ImageData(as_uint8(scaled), known, names)

    def scale(self, rows: NDArray[Any]) -> Tensor:
        """Return rows (n, numbers) as float32 in [0, 1], (n, c, h, w)."""
        if self.scaler is not None:
            return torch.from_numpy(self.scaler.apply(rows))[:, :, None, None]
        assert self.shape is not None  # noqa: S101 - images have a shape
        share = np.clip((rows.astype(np.float64) - self.low) / (self.high - self.low), 0, 1).astype(np.float32)
        height, width, *channels = self.shape
        images = share.reshape(-1, height, width, *(channels or (1,)))
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    def restore(self, x: Tensor) -> NDArray[Any]:
        """Return images (n, c, h, w) in [0, 1] in the user's form, range and type."""
        if self.scaler is not None:
            return self.scaler.inverse(x.flatten(1).numpy())
        assert self.shape is not None  # noqa: S101 - images have a shape
        images = x.permute(0, 2, 3, 1).double().numpy() * (self.high - self.low) + self.low
        images = np.rint(images).astype(np.uint8) if self.dtype == "uint8" else images
        return images.reshape(len(images), *((-1,) if self.flat else self.shape))


def rows_of(x: Any, image_shape: Sequence[int] | None) -> tuple[Any, tuple[int, ...] | None, bool]:
    """Lay images out as rows of numbers.

    Args:
        x: array-like of images (n, h, w) or (n, h, w, c), or of rows (n, numbers).
        image_shape: (h, w) or (h, w, c) of an image, for rows that are images.

    Returns:
        Rows, not checked yet; the shape of an image, None for vectors; whether rows were given.

    Raises:
        DataError: `image_shape` is no such shape, or does not fit.
    """
    given = None if image_shape is None else tuple(int(size) for size in image_shape)
    if given is not None and (len(given) not in (2, 3) or min(given) < 1):
        raise DataError(f"image_shape is {given}; give (height, width) or (height, width, channels).")
    array = x if hasattr(x, "ndim") else np.asarray(x)
    if array.ndim not in (3, 4):
        columns = array.shape[1] if array.ndim == 2 else 0
        if given is not None and columns not in (0, math.prod(given)):
            raise DataError(f"image_shape {given} has {math.prod(given)} numbers, the rows have {columns}.")
        return x, given, True
    array = np.asarray(array)
    shape = array.shape[1:]
    if given is not None and given != shape:
        raise DataError(f"Images are of shape {shape}, not {given} as image_shape says; leave it out.")
    from_arrays(np.zeros((1, *shape), np.uint8))  # which knows what shapes images have
    return array.reshape(len(array), -1), shape, False

"""Features of any unit and size brought to [0, 1], where images are, and back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from aegean.errors import DataError
from aegean.files import atomic_write, read_bounded

#: The share of values below `low`, and above `high`, when a scaler is fitted.
TAIL = 0.01
#: What is left free below `low` and above `high`, as a share of [0, 1].
MARGIN = 0.1
#: A file of a scaler that is larger than this is refused.
MAX_SCALER_BYTES = 100_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FeatureScaler:
    """Moves each feature linearly, `low` to 0.1 and `high` to 0.9, and cuts off at 0 and 1.

    Fitted, `low` and `high` are quantiles, so that a few wild values do not press the others together.

    Attributes:
        low: float64, shape (d,).
        high: float64, shape (d,), nowhere below `low`. A feature where the two are equal is constant and
            becomes 0.5.
    """

    low: Floats
    high: Floats

    @classmethod
    def fit(cls, values: NDArray[np.floating]) -> Self:
        """Choose the quantiles 0.01 and 0.99 of each feature, or its smallest and largest value where these are equal.

        Args:
            values: finite, shape (n, d), n at least 1.

        Raises:
            DataError: a value is NaN or infinite, or there are none.
        """
        exact = _finite(values)
        if not len(exact):
            raise DataError("No vectors to learn the range of each feature from; give at least one.")
        # Of half of each value, because the span of two large numbers can be more than the largest one; so below.
        low, high = 2 * np.quantile(exact / 2, (TAIL, 1 - TAIL), axis=0)
        rare = low == high  # a feature that is 0 for nearly all
        low[rare], high[rare] = exact[:, rare].min(axis=0), exact[:, rare].max(axis=0)
        return cls(low, high)

    def apply(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return values in [0, 1], float32, shape (n, d).

        Raises:
            DataError: a value is NaN or infinite, or there is another number of features.
        """
        exact = _finite(values)
        if exact.shape[1] != len(self.low):
            raise DataError(f"The vectors have {exact.shape[1]} numbers each, those of training {len(self.low)}.")
        span = self.high / 2 - self.low / 2
        share = np.divide(exact / 2 - self.low / 2, span, out=np.full_like(exact, 0.5), where=span > 0)
        return np.clip(MARGIN + (1 - 2 * MARGIN) * share, 0, 1).astype(np.float32)

    def inverse(self, scaled: NDArray[np.floating]) -> Floats:
        """Undo `apply`, float64 (n, d), except for values that it cut off."""
        share = (np.asarray(scaled, dtype=np.float64) - MARGIN) / (1 - 2 * MARGIN)
        return (1 - share) * self.low + share * self.high

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FeatureScaler)
            and np.array_equal(self.low, other.low)
            and np.array_equal(self.high, other.high)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash

    def save(self, path: str | Path) -> None:
        """Write a safetensors file.

        Raises:
            OutputError: it cannot be written.
        """
        atomic_write(path, save({"low": self.low, "high": self.high}))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: missing, damaged, or no scaler.
        """
        try:
            arrays = load(read_bounded(path, MAX_SCALER_BYTES))
            low, high = arrays["low"], arrays["high"]
        except (SafetensorError, KeyError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: damaged, or not the scaler of a run ({error}).") from None
        sound = low.dtype == high.dtype == np.float64 and low.ndim == 1 and low.shape == high.shape
        if not (sound and np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise DataError(f"{path}: damaged, or not the scaler of a run.")
        return cls(low, high)


def _finite(values: NDArray[np.floating]) -> Floats:
    exact = np.asarray(values, dtype=np.float64)
    if exact.ndim != 2 or not exact.shape[1]:
        raise DataError(f"Vectors have the shape {exact.shape}; expected (n, d), one row a vector.")
    bad = np.argwhere(~np.isfinite(exact))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"Vector {row} has {exact[row, column]} as its feature {column}; replace what is missing, for example by "
            "the feature's mean."
        )
    return exact

"""Independent samples of a second domain as a prior (PixelGAN autoencoders, section 4)."""

import io
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.datasets import load_digits
from torch import Generator, Tensor

from aegean.config import Config
from aegean.errors import ConfigError
from aegean.files import read_bounded
from aegean.priors.base import Device, Prior, checked_labels, refuse_labels

#: A file that is larger, or unpacks to more, is refused.
MAX_BYTES = 2 * 2**30


class Empirical(Prior, Config):
    """Rows of a given set, drawn at random with replacement: another domain that codes shall be mapped onto.

    With labels, a row of that class is drawn. There is no density.

    Attributes:
        samples: `"digits"`, scikit-learn's 8x8 digits as vectors of 64 numbers, with their classes; or a `.npz` file
            with the array `codes`, float (n, d), and, if classes are known, `labels`, integers (n,) from 0.
        principal: keep so many principal components, each scaled to variance 1; None keeps the rows as they are.
    """

    kind: Literal["empirical"] = "empirical"
    samples: str
    principal: int | None = Field(default=None, ge=1)

    @property
    def dim(self) -> int:
        """The number of coordinates of a row."""
        return int(self.table()[0].shape[1])

    @property
    def components(self) -> int | None:
        """The number of classes of the rows; None if they have no labels."""
        labels = self.table()[1]
        return None if labels is None else int(labels.max()) + 1

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw rows; see `Prior.sample`."""
        codes, classes = self.table()
        any_row = torch.randint(len(codes), (n,), generator=generator, device=device)
        if classes is None:
            refuse_labels(self, labels)
            return codes.to(device)[any_row]
        wanted = checked_labels(labels, n, int(classes.max()) + 1, device)
        counts = torch.bincount(classes).to(device)
        order, first = classes.argsort(stable=True).to(device), counts.cumsum(0) - counts
        place = (torch.rand(n, generator=generator, device=device) * counts[wanted]).long()
        of_class = order[first[wanted] + place.clamp(max=counts[wanted] - 1)]
        return codes.to(device)[torch.where(wanted < 0, any_row, of_class)]

    def table(self) -> tuple[Tensor, Tensor | None]:
        """Return all rows, float32 (n, d), and their classes, int64 (n,), or None; read once.

        Raises:
            ConfigError: the file is missing, damaged, or not as described; a class is empty.
        """
        return _table(self.samples, self.principal)

    def pictures(self) -> Tensor | None:
        """Return the rows as they were before any projection, as images (n, 1, 8, 8) in [0, 1]; None of a file."""
        return _table(self.samples, None)[0].view(-1, 1, 8, 8) if self.samples == "digits" else None


@lru_cache(maxsize=8)
def _table(samples: str, principal: int | None) -> tuple[Tensor, Tensor | None]:
    if samples == "digits":
        codes, labels = load_digits(return_X_y=True)
        codes = codes / 16
    else:
        codes, labels = _read(Path(samples))
    if codes.ndim != 2 or codes.dtype.kind != "f" or len(codes) < 2 or not np.isfinite(codes).all():
        raise ConfigError(f"{samples}: 'codes' must be finite floats of shape (n, d), not {codes.dtype} {codes.shape}.")
    if labels is not None:
        whole = labels.shape == (len(codes),) and labels.dtype.kind in "iu" and labels.min() >= 0
        if not whole or (np.bincount(labels) == 0).any():
            raise ConfigError(
                f"{samples}: 'labels' must be integers of shape ({len(codes)},), 0 to k - 1, none left out."
            )
    if principal is not None:
        codes = _principal_components(codes, principal, samples)
    return torch.from_numpy(codes).float(), None if labels is None else torch.from_numpy(labels.astype(np.int64))


def _read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    raw = read_bounded(path, MAX_BYTES, ConfigError)
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ConfigError(f"{path}: unpacks to more than {MAX_BYTES >> 30} GB.")
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            return arrays["codes"], arrays.get("labels")
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError, TypeError, NotImplementedError) as error:
        raise ConfigError(f"{path}: not an .npz file with an array 'codes' ({error}).") from None


def _principal_components(codes: NDArray[np.float64], count: int, samples: str) -> NDArray[np.float64]:
    """Project onto the directions of largest variance, each scaled to variance 1 over the rows."""
    centred = codes - codes.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    if count > (scale > 1e-10 * scale[0]).sum():
        raise ConfigError(f"{samples}: has fewer than {count} principal components; lower `principal`.")
    signs = np.sign(left[np.abs(left).argmax(axis=0), range(left.shape[1])])  # a direction has no sign of its own
    kept: NDArray[np.float64] = (left * signs)[:, :count] * np.sqrt(len(codes))
    return kept

"""Metrics of epochs: their means, `metrics.jsonl`, and TensorBoard where it is asked for and installed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from aegean.errors import ConfigError, OutputError
from aegean.files import atomic_write, read_bounded

#: A log of a million epochs is smaller.
MAX_LOG_BYTES = 1_000_000_000


@dataclass
class Means:
    """Running means of metrics; they stay on the device until someone reads them."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, value: Tensor) -> None:
        """Count a value of a metric, of any shape that is always the same."""
        if name in self.sums:
            self.sums[name] += value
            self.counts[name] += 1
        else:
            self.sums[name], self.counts[name] = value.clone(), 1

    def read(self) -> dict[str, Any]:
        """Return the means by name, numbers or lists of numbers; on a GPU this waits for it."""
        return {name: (total / self.counts[name]).tolist() for name, total in self.sums.items()}


class MetricsLog:
    """Appends the metrics of each epoch to a run's `metrics.jsonl`.

    Args:
        folder: the run's folder.
        tensorboard: also write event files into `folder/tensorboard`.

    Raises:
        ConfigError: TensorBoard is asked for but not installed.
    """

    def __init__(self, folder: Path, tensorboard: bool = False) -> None:
        self.path = folder / "metrics.jsonl"
        self._board = _summary_writer(folder / "tensorboard") if tensorboard else None

    def truncate(self, step: int) -> None:
        """Forget what was logged after `step`: a killed run may have logged more than it saved."""
        kept = [row for row in read_metrics(self.path) if row["step"] <= step]
        atomic_write(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row, which holds `epoch`, `step`, and metrics that are numbers or lists of numbers.

        Raises:
            OutputError: the disk is full or the folder not writable.
        """
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error}).") from None
        if self._board is not None:
            for name, value in row.items():
                if isinstance(value, (int, float)) and name not in ("epoch", "step"):
                    self._board.add_scalar(name, value, row["step"])
            self._board.flush()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a `metrics.jsonl` up to the first that is damaged: the last one may be cut off by a crash.

    Raises:
        DataError: the file cannot be read, or is larger than `MAX_LOG_BYTES`.
    """
    if not path.is_file():
        return []
    rows = []
    for line in read_bounded(path, MAX_LOG_BYTES).splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict) or not all(isinstance(row.get(key), int) for key in ("epoch", "step")):
            break
        rows.append(row)
    return rows


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional dependency, slow to import
    except ImportError:
        raise ConfigError("TensorBoard is not installed; pip install 'aegean[tensorboard]', or leave it out.") from None
    return SummaryWriter(str(folder))

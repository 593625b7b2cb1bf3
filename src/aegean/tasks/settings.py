"""What a run was made for, kept in its folder, so that `aegean resume` ends with the same files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from aegean.choose.networks import Task
from aegean.config import Config
from aegean.data import Splits
from aegean.files import atomic_write
from aegean.run import Run

#: In the folder of a run.
SETTINGS = "task.yaml"


class TaskSettings(Config):
    """What to write when the training has ended.

    Attributes:
        task: `"cluster"`, `"classify"` or `"embed"`.
        classes: names of the classes that the labels know.
        labelled: how many images have a label.
        labels_digest: tells other labels from these.
        sheets: one picture of each cluster's most typical images.
        folders: the images sorted into one folder a cluster.
        folds: parts of the labels that are hidden in turn, to estimate the error; 0 estimates none.
        next: images that are proposed to be labelled next.
        found: what the data is, in words.
        reasons: why the settings are as they are, a sentence each.
    """

    task: Task
    classes: tuple[str, ...] = ()
    labelled: int = 0
    labels_digest: str = ""
    sheets: bool = False
    folders: bool = False
    folds: int = Field(default=5, ge=0, le=20)
    next: int = Field(default=20, ge=0, le=10_000)
    found: str = ""
    reasons: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        """Write them into the folder of a run.

        Raises:
            OutputError: it cannot be written.
        """
        atomic_write(folder / SETTINGS, self.to_yaml())


def settings_of(run: Run) -> TaskSettings | None:
    """Return what a run was made for; None for a run of `aegean train`.

    Raises:
        ConfigError: the file is damaged.
    """
    path = run.folder / SETTINGS
    return TaskSettings.from_file(path) if path.is_file() else None


def labels_digest(splits: Splits) -> str:
    """Return a digest of the labels that training sees."""
    named = hashlib.blake2b("\0".join(splits.train.class_names).encode("utf-8", "surrogateescape"), digest_size=16)
    named.update(splits.train.labels.cpu().numpy().tobytes())
    return named.hexdigest()


@dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        run: the run; its model can be used further, see `aegean.use`.
        sentences: the results in words.
        files: what was written, the report last.
    """

    run: Run
    sentences: tuple[str, ...]
    files: tuple[Path, ...]

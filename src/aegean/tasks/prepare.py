"""From a folder of images and a wish to a run that can be trained: data, labels, settings, and words about them."""

import contextlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aegean.build import build_trainer
from aegean.choose import DataSummary, choose, with_epochs
from aegean.choose.networks import ModelName, Task
from aegean.data import DataSettings, Folder, Splits, Vectors
from aegean.data.folder import ARRAYS
from aegean.errors import ConfigError, OutputError
from aegean.experiment import Experiment
from aegean.run import Run, free_folder
from aegean.tasks.labels import collect_labels, write_labels
from aegean.tasks.rounds import Round, earlier_round
from aegean.tasks.settings import TaskSettings, labels_digest
from aegean.use import data_source

LABELS = "labels.csv"
#: What the tasks write, in which nobody else's work may be lost.
WRITTEN = (
    LABELS, "task.yaml", "clusters.csv", "predictions.csv", "label-next.csv", "coordinates.csv", "map.png",
    "report.html", "sheets", "clusters",
)  # fmt: skip
#: A round that goes on from the weights of the last one trains for this share of the passes of a new run.
WARM_SHARE = 0.5


@dataclass(frozen=True)
class Prepared:
    """A run that is not made yet.

    Attributes:
        folder: where it will be.
        experiment: every setting.
        settings: what is to be written in the end.
        splits: the data of the experiment.
        found: what the data is, a sentence each.
        warm: the earlier round in the same folder, or None.
        new_labels: the table of labels that was written for it, or None.
    """

    folder: Path
    experiment: Experiment
    settings: TaskSettings
    splits: Splits
    found: tuple[str, ...]
    warm: Round | None = None
    new_labels: Path | None = None

    def create(self, command: str = "") -> Run:
        """Make the folder; nothing is trained yet.

        Args:
            command: what the user typed, kept for the record.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            build_trainer(self.experiment, self.splits)  # whatever does not fit is found before a file is moved
        except BaseException:
            _take_back(self.new_labels)
            raise
        if self.warm is not None:
            self.warm.put_away()
        self.settings.save(self.folder)
        run = Run.create(self.folder, self.experiment, command, self.splits)
        if self.warm is not None:
            self.warm.start(run)
        return run


def prepare(
    task: Task,
    source: str | Path,
    *,
    labels: Sequence[str | Path] = (),
    model: ModelName = "aae",
    clusters: int | None = None,
    dim: int = 2,
    minutes: float | None = None,
    epochs: int | None = None,
    starts: int | None = None,
    size: str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
    sheets: bool = False,
    folders: bool = False,
    folds: int = 5,
    next_labels: int = 20,
) -> Prepared:
    """Read the data and choose every setting.

    Args:
        task: what is wanted.
        source: a folder, archive, table or file of images or vectors, as `aegean.Folder` and `aegean.data.Vectors` take
            them, or the name of a benchmark set.
        labels: CSV files with the columns `file` and `label`, for "classify"; a later one goes before an earlier one.
            By default labels are those of the source (class subfolders, for example).
        model: which family.
        clusters: how many, for "cluster"; by default chosen.
        dim: coordinates, for "embed".
        minutes: time allowed for training and, for "classify", for the estimate of its error.
        epochs: passes over the data, in place of `minutes`.
        starts: trainings of which the best is kept, for "cluster"; by default chosen.
        size: height x width that images are brought to, as "32x32"; by default chosen where they differ.
        seed: of weights, noise and order.
        out: folder of the run; by default a new one in `runs`. For "classify", a finished run of the same images there
            is gone on with.
        overrides: settings by dotted keys, which go before every choice.
        sheets: see `TaskSettings`; so are the following.
        folders: needs images in files.
        folds: for "classify".
        next_labels: for "classify".

    Raises:
        AegeanError: the data cannot be read, has no labels where they are needed, or settings do not fit.
    """
    given = dict(overrides or {})
    data = _source(task, str(source), size, given)
    name = f"{task}-{_slug(str(source))}"
    folder = Path(out) if out is not None else free_folder(Path("runs"), name)
    warm = earlier_round(folder, task, str(source)) if out is not None else None
    if warm is None:
        refuse_to_overwrite(folder)
    new_labels = None
    if task == "classify" and isinstance(data, Folder) and not _is_array(data):
        new_labels = folder / (warm.next_labels if warm else LABELS)
        if new_labels.exists():
            raise OutputError(f"{new_labels}: exists already; rename it, or choose another folder with --out.")
        write_labels(new_labels, collect_labels(data, labels, warm.labels if warm else None))
        data = data.override({"labels_file": str(new_labels)})
    elif labels:
        raise ConfigError("Labels of a .npy, .npz or table of vectors are in that file; leave the labels files out.")
    try:
        if folders and not (isinstance(data, Folder) and not _is_array(data)):
            raise ConfigError("Folders of clusters need images in files; leave --folders out, and use clusters.csv.")
        splits = data.load()
        summary = DataSummary.of(splits)
        chosen = choose(
            task,
            summary,
            data,  # type: ignore[arg-type]
            model=model,
            clusters=clusters,
            dim=dim,
            epochs=epochs,
            # The estimate of the error takes as long as the training, see `aegean.tasks.folds`.
            minutes=minutes / 2 if minutes is not None and task == "classify" and folds else minutes,
            starts=starts,
            splits=splits,
            seed=seed,
            overrides=given,
        )
        experiment, reasons = chosen.experiment.override({"name": name}), list(chosen.reasons)
        if warm is not None:
            warm = warm.if_it_fits(experiment, splits)
            reasons.append(warm.sentence)
            if warm.checkpoint is not None and minutes is None and epochs is None and "train.epochs" not in given:
                experiment = with_epochs(experiment, math.ceil(WARM_SHARE * experiment.train.epochs))
                reasons.append(f"{experiment.train.epochs} passes are enough from there.")
    except BaseException:
        _take_back(new_labels)
        raise
    found = describe(splits, summary, str(source))
    settings = TaskSettings(
        task=task,
        labelled=len(splits.labelled),
        labels_digest=labels_digest(splits),
        classes=splits.train.class_names,
        sheets=sheets,
        folders=folders,
        folds=folds,
        next=next_labels,
        found=found[0],
        reasons=tuple(reasons),
    )
    return Prepared(folder, experiment, settings, splits, found, warm, new_labels)


def _take_back(new_labels: Path | None) -> None:
    """Remove a table of labels that this call has written, and the folder if nothing else is in it."""
    if new_labels is not None:
        new_labels.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            new_labels.parent.rmdir()


def refuse_to_overwrite(folder: Path) -> None:
    """Refuse a folder for a new run in which there are files of someone else's that it would write.

    Raises:
        OutputError: one of them exists.
    """
    for name in WRITTEN:
        if (folder / name).exists():
            raise OutputError(f"{folder / name}: exists already and would be overwritten; choose another --out.")


def describe(splits: Splits, summary: DataSummary, source: str) -> tuple[str, ...]:
    """Say what the data is, a sentence each."""
    channels = {1: "grey ", 3: "colour "}.get(summary.shape[0], "")
    kind = "vectors" if summary.vectors else f"{channels}images"
    sentences = [f"{summary.n:,} {kind} of {summary.size} in {source}."]
    if splits.note:
        sentences.append(f"{splits.note[0].upper()}{splits.note[1:]}")
    if splits.skipped:
        count, first = len(splits.skipped), splits.skipped[0].partition(";")[0]
        what = "file cannot be read and is" if count == 1 else "files cannot be read and are"
        sentences.append(f"{count} {what} left out; the first: {first}.")
    if summary.labelled:
        counts = [f"{name} ({count})" for name, count in splits.train.counts().items()]
        more = f" and {len(counts) - 12} more" if len(counts) > 12 else ""
        sentences.append(f"{summary.labelled:,} have a label: {', '.join(counts[:12])}{more}.")
    return tuple(sentences)


def _source(task: Task, source: str, size: str | None, overrides: dict[str, object]) -> DataSettings:
    """The data's settings; overrides of theirs are taken out, because the data is read before all else is chosen."""
    data = data_source(source, size)
    changes: dict[str, object] = {} if task == "classify" else {"labels_per_class": 0}
    if isinstance(data, Folder | Vectors):
        changes["test"] = 0  # nothing is held out: every image shall be sorted, and learned from
    if isinstance(data, Folder):
        changes["skip_damaged"] = True
    for key in [key for key in overrides if key.startswith("data.")]:
        changes[key.removeprefix("data.")] = overrides.pop(key)
    return data.override(changes)


def _is_array(data: Folder) -> bool:
    return Path(data.path).suffix.lower() in ARRAYS


def _slug(source: str) -> str:
    """A name for a folder, after that of the source."""
    name = Path(os.path.abspath(source)).stem.lower()
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:40] or "images"

"""A run: one experiment in one folder that explains itself."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import torch

from aegean.build import build_trainer
from aegean.data import FeatureScaler, Splits
from aegean.environment import Environment, describe_environment
from aegean.errors import CheckpointError, ConfigError, DataError, OutputError, UnsupportedError
from aegean.evaluate.apply import Advance
from aegean.evaluate.protocols import ProtocolName, check_protocols, evaluate_model
from aegean.experiment import Experiment
from aegean.files import atomic_write, atomic_write_json, check_writable, lock, read_bounded
from aegean.models import Model
from aegean.starts import train_starts
from aegean.train import Outcome, Progress, Trainer
from aegean.train.checkpoint import list_checkpoints, load_trainer_state, naming_the_one_before
from aegean.train.distributed import Processes, join
from aegean.train.log import read_metrics
from aegean.train.precision import choose_device, choose_precision

#: Ranges of features, in the folder of a run on vectors.
SCALER = "scaler.safetensors"
#: Names of the classes, and a digest by which changed data is noticed.
DATA = "data.json"
MAX_DATA_BYTES = 100_000_000
#: The temperature of a classifier's probabilities, in the folder of a run that was calibrated.
CALIBRATION = "calibration.json"
MAX_CALIBRATION_BYTES = 100_000

EXPLANATION = """\
{title}

experiment.yaml   every setting; `aegean train experiment.yaml` trains the same again
task.yaml         what it was made for, by aegean cluster, classify or embed
command.txt       the command that started this run
data.json         names of the classes, and a digest by which changed data is noticed
environment.json  versions and hardware
metrics.jsonl     one line an epoch: losses, and what the phases report
checkpoints/      the newest two; each holds a model that `aegean.Model.from_pretrained` reads
starts.json       of several trainings (starts in experiment.yaml), which is kept
evaluation.json   results on the test images, once training has ended
report.html       the report, once written

Go on after an interruption, or train longer:   aegean resume {folder} [--epochs N]
Use the model:                                  aegean sample|predict|encode|reconstruct {folder}
Write the report:                               aegean report {folder}
"""


class Run:
    """An experiment and the folder where it leaves what it makes. See `create` and `open`."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.folder = folder
        self.experiment = experiment

    @classmethod
    def create(
        cls, folder: str | Path, experiment: Experiment, command: str = "", splits: Splits | None = None
    ) -> Self:
        """Start a run in a new folder.

        Args:
            folder: must not hold a run yet.
            experiment: what to do.
            command: what the user typed, kept for the record.
            splits: the data of the experiment, if it is loaded already.

        Of several processes that torchrun has started, the first one makes its run, and the others open it.

        Raises:
            OutputError: the folder holds a run already, or cannot be written.
            AegeanError: the data cannot be loaded, or model, data and training do not fit each other.
        """
        processes = join()
        folder = Path(processes.text(str(folder)))  # a free folder's name depends on when one looks
        if processes.first:
            run = cls(folder, experiment)
            if splits is not None:
                run.splits = splits
            run._write(command, processes)
            processes.wait()
            return run
        processes.wait()
        return cls.open(folder)

    def _write(self, command: str, processes: Processes) -> None:
        folder, experiment = self.folder, self.experiment
        if (folder / "experiment.yaml").exists():
            raise OutputError(
                f"{folder}: holds a run already; choose another folder with --out, or go on with: "
                f"aegean resume {folder}"
            )
        trainer = build_trainer(experiment, self.splits, None, processes)  # what does not fit is found before it writes
        try:
            check_protocols(experiment.protocols, trainer.model, self.splits)
        except UnsupportedError as error:
            raise ConfigError(f"{error} Take it out of protocols, which the test images are judged by.") from None
        check_writable(folder / "experiment.yaml")
        readme = folder / "README.txt"
        if readme.exists() and not (folder / "rounds").is_dir():
            raise OutputError(f"{readme}: exists already and would be overwritten; choose another folder with --out.")
        atomic_write(folder / "README.txt", EXPLANATION.format(title=experiment.title, folder=folder))
        atomic_write(folder / "command.txt", command + "\n")
        atomic_write_json(folder / "environment.json", self.environment().to_dict())
        atomic_write_json(folder / DATA, {"classes": self.splits.train.class_names, "digest": self.splits.digest()})
        if self.splits.scaler is not None:
            self.splits.scaler.save(folder / SCALER)
        atomic_write(folder / "experiment.yaml", experiment.to_yaml())

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open the run in a folder.

        Raises:
            CheckpointError: there is none.
        """
        folder = Path(folder)
        if not (folder / "experiment.yaml").is_file():
            raise CheckpointError(f"{folder}: no run here (experiment.yaml is missing); aegean train makes one.")
        return cls(folder, Experiment.from_file(folder / "experiment.yaml"))

    # ---- its parts ------------------------------------------------------------------------------------------------

    @cached_property
    def splits(self) -> Splits:
        """The images, loaded once.

        Raises:
            DataError: they cannot be read; or have other names, labels or classes than when the run was made, or, as
                vectors, features of other ranges.
        """
        splits = self.experiment.data.load()
        made_with = self._data.get("digest")
        if made_with is not None and made_with != splits.digest():
            raise DataError(
                f"{self.folder}: the data ({splits.description.partition(':')[0]}) has changed since the run was made: "
                "images were added, removed or renamed, or labels are others; restore it, or train a new run."
            )
        if self.scaler is not None and splits.scaler != self.scaler:
            raise DataError(
                f"{self.folder}: the vectors have changed since the run was made ({SCALER} has their old ranges); "
                "restore them, or train a new run."
            )
        return splits

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes as they were when the run was made, whatever has become of its data.

        Raises:
            CheckpointError: the file that holds them is damaged.
        """
        kept = self._data.get("classes")
        return tuple(map(str, kept)) if kept is not None else self.splits.train.class_names

    @cached_property
    def _data(self) -> dict[str, Any]:
        """What `data.json` holds; nothing where a run was made before there was one."""
        path = self.folder / DATA
        if not path.is_file():
            return {}
        try:
            found = json.loads(read_bounded(path, MAX_DATA_BYTES, CheckpointError))
        except ValueError:
            found = None
        if not (isinstance(found, dict) and isinstance(found.get("classes"), list)):
            raise CheckpointError(f"{path}: damaged; train a new run.")
        return found

    @cached_property
    def scaler(self) -> FeatureScaler | None:
        """What brings the features of new vectors to [0, 1]; None for images.

        Raises:
            DataError: it is damaged.
        """
        path = self.folder / SCALER
        return FeatureScaler.load(path) if path.is_file() else None

    @cached_property
    def temperature(self) -> float:
        """What logarithms of probabilities are divided by, so that they mean what they say; 1 if never calibrated.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = self.folder / CALIBRATION
        if not path.is_file():
            return 1.0
        try:
            value = float(json.loads(read_bounded(path, MAX_CALIBRATION_BYTES, CheckpointError))["temperature"])
        except (ValueError, KeyError, TypeError):
            value = math.nan
        if not 0 < value < math.inf:
            raise CheckpointError(f"{path}: damaged; remove it to use probabilities as the model gives them.")
        return value

    @property
    def device(self) -> torch.device:
        """Where the experiment computes."""
        return choose_device(self.experiment.train.device)

    @property
    def precision(self) -> torch.dtype:
        """Number format of network passes."""
        return choose_precision(self.experiment.train.precision, self.device)

    @property
    def command(self) -> str:
        """The command that started the run."""
        path = self.folder / "command.txt"
        return path.read_text(encoding="utf-8", errors="backslashreplace").strip() if path.is_file() else ""

    def environment(self) -> Environment:
        """Versions and hardware of this process."""
        return describe_environment(self.device, self.precision)

    def started_in(self) -> Environment:
        """Versions, hardware and commit as they were when the run was made: a checkout may have changed since."""
        return Environment.from_file(self.folder / "environment.json")

    def checkpoint(self) -> Path:
        """Return the newest checkpoint.

        Raises:
            CheckpointError: none was saved yet.
        """
        found = list_checkpoints(self.folder / "checkpoints")
        if not found:
            raise CheckpointError(f"{self.folder}: no checkpoint yet; train it with: aegean resume {self.folder}")
        return found[-1]

    def model(self) -> Model:
        """Load the newest model, in evaluation mode.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        checkpoint = self.checkpoint()
        with naming_the_one_before(checkpoint):
            return Model.from_pretrained(checkpoint).to(self.device).eval()

    def metrics(self) -> list[dict[str, Any]]:
        """Return the rows of `metrics.jsonl`."""
        return read_metrics(self.folder / "metrics.jsonl")

    def evaluation(self) -> dict[str, float]:
        """Return what `evaluate` last wrote, or nothing."""
        path = self.folder / "evaluation.json"
        values: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return values

    def warnings(self) -> list[str]:
        """Return what the training warned of, up to the newest checkpoint."""
        warnings: list[str] = load_trainer_state(self.checkpoint())[1]["warnings"]
        return warnings

    # ---- what it does ---------------------------------------------------------------------------------------------

    def train(self, progress: Callable[[Progress], None] | None = None) -> Outcome:
        """Train from the newest checkpoint, or from the start, until the epochs are done or Ctrl-C.

        Raises:
            OutputError: another process trains in this folder.
            AegeanError: anything that a `Trainer` raises.
        """
        processes = join()
        if not processes.first:
            return self._train(None, processes)
        with self.alone():
            return self._train(progress, processes)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from training in this folder; the system ends the lock with the process.

        Raises:
            OutputError: another process trains in it, or it cannot be written.
        """
        path = self.folder / "README.txt"
        try:
            stream = path.open("a", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error}).") from None
        with stream:
            if not lock(stream):
                raise OutputError(f"{self.folder}: another process trains this run; wait for it, or stop it.")
            yield

    def _train(self, progress: Callable[[Progress], None] | None, processes: Processes) -> Outcome:
        def judge(trainer: Trainer) -> Callable[[], Mapping[str, float]] | None:
            return partial(self._validate, trainer) if processes.first and len(self.splits.validation) else None

        return train_starts(self.experiment, self.splits, self.folder, processes, progress, judge)[1]

    def _validate(self, trainer: Trainer) -> Mapping[str, float]:
        metrics = evaluate_model(trainer.model, self.splits, "validation", trainer.precision)
        return {f"validation/{name}": value for name, value in metrics.items()}

    def extend(self, epochs: int) -> None:
        """Ask for more (or fewer) epochs in all; `train` then goes on to that number.

        Raises:
            ConfigError: more epochs than that are done already.
        """
        done = self.metrics()[-1]["epoch"] if self.metrics() else 0
        if epochs < done:
            raise ConfigError(f"{self.folder}: {done} epochs are done already; --epochs counts all of them.")
        self.experiment = self.experiment.override({"train.epochs": epochs})
        if join().first:
            atomic_write(self.folder / "experiment.yaml", self.experiment.to_yaml())

    def evaluate(
        self, progress: Advance | None = None, protocols: tuple[ProtocolName, ...] | None = None
    ) -> dict[str, float]:
        """Judge the newest model on the test images and write `evaluation.json`.

        Args:
            progress: called from time to time, see `aegean.evaluate.apply.Advance`.
            protocols: beside the usual ones; by default the experiment's.

        Raises:
            UnsupportedError: a protocol is not for this model; what the usual ones say is written all the same.
        """
        chosen = self.experiment.protocols if protocols is None else protocols
        judge = partial(evaluate_model, self.model(), self.splits, "test", self.precision, progress)
        path = self.folder / "evaluation.json"
        try:
            results = judge(chosen, self.folder / "evaluation")
        except UnsupportedError:
            atomic_write_json(path, judge())
            raise
        atomic_write_json(path, results)
        return results


def free_folder(parent: Path, name: str) -> Path:
    """Return `parent/name`, or the first of `parent/name-2`, `-3`, ... that does not exist yet."""
    number = 1
    while (folder := parent / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder

"""A run that is killed, or finds the disk or the memory full, goes on with nothing lost since its last checkpoint."""

import itertools
import os
import random
import resource
import signal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from aegean.data import Digits
from aegean.errors import OutputError, TrainingError
from aegean.experiment import Experiment
from aegean.files import lock
from aegean.priors import Gaussian
from aegean.run import Run
from aegean.train import TrainConfig
from aegean.train.checkpoint import list_checkpoints, load_trainer_state
from conftest import SMALL_MODELS

TINY = Experiment(
    name="tiny",
    title="tiny",
    data=Digits(test=0.2),
    model=SMALL_MODELS["vae"].override({"prior": Gaussian(dim=3).to_dict()}),
    train=TrainConfig(epochs=2, batch_size=300, checkpoint_minutes=0, precision="float32", device="cpu"),
)

#: What a run does to the disk; a kill between two of these finds every state in which it can leave a folder.
OPERATIONS = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir")


def train_in_child(folder: Path, kill_at: int | None = None) -> int:
    """Train in a forked process, which kills itself at the n-th operation on the disk; return its exit status."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of forks beside threads
        child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            left = itertools.count(1)

            def counted(work: Callable[..., object]) -> Callable[..., object]:
                def wrapper(*arguments: object, **options: object) -> object:
                    if next(left) == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return work(*arguments, **options)

                return wrapper

            for name in OPERATIONS:
                setattr(os, name, counted(getattr(os, name)))
            Run.open(folder).train()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def newest_step(run: Run) -> int:
    found = list_checkpoints(run.folder / "checkpoints")
    if not found:
        return 0
    run.model()  # is whole
    return int(load_trainer_state(found[-1])[1]["step"])


def test_twenty_kills_at_random_moments_lose_no_checkpoint(tmp_path: Path) -> None:
    experiment = TINY.override({"train.epochs": 4})
    broken, whole = Run.create(tmp_path / "broken", experiment), Run.create(tmp_path / "whole", experiment)
    rng = random.Random(0)
    steps, ended = [0], []
    for _ in range(20):
        ended.append(train_in_child(broken.folder, rng.randrange(1, 25)))
        steps.append(newest_step(broken))
    assert steps == sorted(steps)
    assert set(ended) <= {0, -signal.SIGKILL}  # a run may end before its moment comes
    assert ended.count(-signal.SIGKILL) >= 15
    assert train_in_child(broken.folder) == train_in_child(whole.folder) == 0
    weights = broken.model().state_dict()
    for name, tensor in whole.model().state_dict().items():
        assert torch.equal(weights[name], tensor), name
    assert [row["epoch"] for row in broken.metrics()] == list(range(1, 5))


def test_while_a_step_is_saved_again_it_is_there_at_every_moment(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", TINY)
    run.train()
    for moment in itertools.count(1):
        ended = train_in_child(run.folder, moment)  # nothing is left to train: it only saves
        assert newest_step(run) == 8, moment
        if ended == 0:
            break
    assert moment > 10


def test_two_processes_in_one_folder_are_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", TINY)
    with (run.folder / "README.txt").open("a") as other:
        assert lock(other)
        with pytest.raises(OutputError, match="another process trains this run"):
            run.train()
    assert run.train().ended == "finished"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_is_a_sentence_and_the_checkpoint_is_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run = Run.create(tmp_path / "run", TINY)
    steps = []

    def fail(*_: object) -> None:
        steps.append(1)
        if len(steps) == 4:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr("aegean.train.loop.nn.utils.clip_grad_norm_", fail)
        run.experiment = run.experiment.override({"train.optimizers": {"default": {"kind": "adam", "clip_norm": 1.0}}})
        with pytest.raises(TrainingError, match=r"out of memory at step 3\. .*train.batch_size .*resume"):
            run.train()
    assert run.checkpoint().name == "step-00000003"
    assert run.train().ended == "finished"


def test_a_file_that_may_not_grow_ends_with_a_sentence_and_a_usable_checkpoint(tmp_path: Path) -> None:
    """A real failure of write(2): the operating system limits the size of files after the first checkpoint."""
    run = Run.create(tmp_path / "run", TINY)
    run.train()
    kept = run.checkpoint()
    run.extend(4)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            run.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.checkpoint() == kept
    assert run.train().ended == "finished"

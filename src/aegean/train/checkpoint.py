"""Checkpoints: folders of safetensors and JSON, written whole or not at all, no pickle anywhere.

A run's `checkpoints/step-00001200/` holds `config.json` and `model.safetensors` (what `Model.from_pretrained` reads),
and `trainer.json` and `trainer.safetensors` (what an exact continuation needs besides).
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from aegean.config import read_yaml
from aegean.errors import CheckpointError, ConfigError, OutputError
from aegean.files import atomic_write, atomic_write_json
from aegean.models.base import Model, read_tensors
from aegean.train.optimizers import laid_out_like

#: How many checkpoints a run keeps: the newest, and the one before in case the disk damages it.
KEPT = 2

#: What `trainer.json` holds at least, by name.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "step": int,
    "steps_per_epoch": int,
    "seconds": (int, float),
    "counts": dict,
    "ema_steps": int,
    "health": dict,
    "warnings": list,
}


def save_checkpoint(
    folder: Path, step: int, model: Model, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> Path:
    """Write a checkpoint beside the earlier ones, then remove the oldest.

    Args:
        folder: the run's `checkpoints` folder.
        step: steps done.
        model: the model.
        tensors: the trainer's state that is tensors.
        values: the trainer's state that is JSON values.

    Raises:
        OutputError: no space or no permission; earlier checkpoints are untouched.
    """
    target = folder / f"step-{step:08d}"
    temporary = folder / f".{target.name}-{secrets.token_hex(4)}.tmp"
    try:
        model.save_pretrained(temporary)
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        atomic_write(temporary / "trainer.safetensors", save(contiguous))
        atomic_write_json(temporary / "trainer.json", dict(values))
        if target.exists():  # the same step again: at every moment one of the two is there, under a name that counts
            newer = target.with_name(f"{target.name}-again")
            if newer.exists():
                newer.rename(folder / f".{newer.name}-{secrets.token_hex(4)}.old")
            temporary.rename(newer)
            target.rename(folder / f".{target.name}-{secrets.token_hex(4)}.old")
            newer.rename(target)
        else:
            temporary.rename(target)
        _sync_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{target}: cannot be written ({error.strerror or error}).") from None
    for old in [*list_checkpoints(folder)[:-KEPT], *folder.glob(".step-*")]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a `checkpoints` folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "trainer.json").is_file())


def load_trainer_state(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the values that `save_checkpoint` was given.

    Raises:
        CheckpointError: missing or damaged, also if only the weights beside them are cut off.
    """
    with naming_the_one_before(checkpoint):
        try:
            values = read_yaml(checkpoint / "trainer.json")
        except ConfigError as error:
            raise CheckpointError(f"{checkpoint}: damaged ({error})") from None
        if not _is_whole(values):
            raise CheckpointError(f"{checkpoint / 'trainer.json'}: damaged or truncated.")
        _check_weights(checkpoint / "model.safetensors")
        return read_tensors(checkpoint / "trainer.safetensors"), values


@contextmanager
def naming_the_one_before(checkpoint: Path) -> Iterator[None]:
    """Let complaints inside a `with` block, that a checkpoint is damaged, say what to do if there is one before it."""
    try:
        yield
    except CheckpointError as error:
        earlier = [path.name for path in list_checkpoints(checkpoint.parent) if path.name < checkpoint.name]
        if not earlier:
            raise
        raise CheckpointError(
            f"{error} Remove the folder {checkpoint} to go on from {earlier[-1]} beside it."
        ) from None


def _is_whole(values: object) -> TypeGuard[dict[str, Any]]:
    """Whether values are of the kinds that a trainer takes."""
    return (
        isinstance(values, dict)
        and all(isinstance(values.get(name), kind) for name, kind in _KINDS.items())
        and all(isinstance(count, int) for count in values["counts"].values())
    )


def _check_weights(path: Path) -> None:
    """Compare a file of weights with what it says of its length; whoever loads them sees the rest."""
    if path.is_file():
        try:
            with safe_open(path, "pt"):
                pass
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path}: damaged or truncated ({error}).") from None


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Flatten an optimiser's state to names such as `reconstruct/3/exp_avg`."""
    return {
        f"{prefix}/{index}/{key}": value
        for index, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser the state that `optimizer_tensors` flattened.

    Raises:
        CheckpointError: the state is of other networks.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if not name.startswith(f"{prefix}/"):
            continue
        index, _, key = name.removeprefix(f"{prefix}/").partition("/")
        place = int(index)
        if tensor.dim():  # all but the count of steps
            if place >= len(weights) or tensor.shape != weights[place].shape:
                raise CheckpointError(f"The optimiser state {name} belongs to another network.")
            tensor = laid_out_like(tensor.to(weights[place].device), weights[place])  # noqa: PLW2901
        state.setdefault(place, {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

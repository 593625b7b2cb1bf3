"""Several trainings, of which one is kept."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from aegean.data import SplitSettings, from_arrays
from aegean.errors import CheckpointError, ConfigError
from aegean.run import Run
from aegean.starts import APART, FOLDER, STARTS, describe_starts, shared_information, train_starts
from aegean.train import Progress
from aegean.train.checkpoint import list_checkpoints
from conftest import small


def clusters(**overrides):
    """Seed 1, whose kept start is not the first."""
    return small(supervised=False, **{"seed": 1, "starts": 3, "train.epochs": 2, "model.consistency": {}, **overrides})


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def alone(experiment, splits, number, **overrides):
    """The start of that number, from 0, trained by itself."""
    seed = experiment.seed + number * APART
    return train_starts(experiment.override({"starts": 1, "seed": seed, **overrides}), splits)[0]


def test_the_start_is_kept_whose_clusters_share_most_information_with_those_of_changed_copies() -> None:
    experiment = clusters()
    splits = experiment.data.load()
    starts = [alone(experiment, splits, number) for number in range(3)]
    information = [shared_information(trainer, splits) for trainer in starts]
    assert len(set(information)) == 3
    kept, outcome = train_starts(experiment, splits)
    best = int(np.argmax(information))
    assert same(weights(kept.model), weights(starts[best].model))
    assert not same(weights(kept.model), weights(starts[best - 1].model))
    assert (outcome.ended, outcome.step) == ("finished", starts[0].step)


def test_information_is_that_of_an_image_and_its_changed_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters by light share ln 2 with those of moved copies, clusters by what the moves change nothing."""
    experiment = clusters(**{"starts": 1, "train.epochs": 1})
    light = np.arange(60) % 2 * 200
    images = np.broadcast_to(light[:, None, None], (60, 8, 8)).astype(np.uint8)
    splits = SplitSettings(test=0).split(from_arrays(images, np.zeros(60, dtype=int)))
    trainer, _ = train_starts(experiment, splits)
    calls = []

    def by_light(x):
        return torch.nn.functional.one_hot((x.mean(dim=(1, 2, 3)) > 0.3).long(), 12).float()

    def by_turn(x):
        """Other clusters at each call, that is, for each copy."""
        calls.append(len(x))
        return torch.nn.functional.one_hot(torch.arange(len(x)) // 2 ** len(calls) % 2, 12).float()

    monkeypatch.setattr(trainer.model, "predict", by_light)
    assert shared_information(trainer, splits) == pytest.approx(math.log(2), abs=0.02)
    monkeypatch.setattr(trainer.model, "predict", lambda x: by_light(torch.zeros_like(x)))
    assert shared_information(trainer, splits) == pytest.approx(0, abs=1e-6)
    monkeypatch.setattr(trainer.model, "predict", by_turn)
    assert shared_information(trainer, splits) < 0.1
    assert calls == [60] * 5


def test_a_run_keeps_log_and_checkpoint_of_one_start(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", clusters())
    seen: list[Progress] = []
    outcome = run.train(seen.append)
    found = json.loads((run.folder / STARTS).read_text())
    assert found["kept"] == 1 + int(np.argmax(found["information"]))
    best = alone(run.experiment, run.splits, found["kept"] - 1)
    assert same(weights(run.model()), weights(best.model.eval()))
    assert not (run.folder / FOLDER).exists()
    assert [row["epoch"] for row in run.metrics()] == [1, 2]
    assert describe_starts(run.folder).startswith(f"Training {found['kept']} of 3 was kept")
    assert outcome.step == best.step
    assert outcome.seconds >= best.seconds
    assert (seen[-1].step, seen[-1].steps, seen[-1].epochs) == (3 * best.step, 3 * best.step, 6)
    assert [one.step for one in seen] == sorted(one.step for one in seen)
    assert run.train().seconds == pytest.approx(outcome.seconds)  # nothing is left to do, and the time is remembered


def test_an_interrupted_run_goes_on_with_the_start_it_was_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aegean.train.loop import Trainer

    whole = Run.create(tmp_path / "whole", clusters())
    whole.train()
    run = Run.create(tmp_path / "run", clusters())
    fit, calls = Trainer.fit, []

    def broken(self, progress=None, evaluate=None):
        calls.append(self.model)
        if len(calls) == 2:
            self.run_step()
            self.save()
            return dataclasses.replace(outcomes[0], ended="interrupted", step=1)
        outcomes.append(fit(self, progress, evaluate))
        return outcomes[-1]

    outcomes = []
    monkeypatch.setattr(Trainer, "fit", broken)
    assert run.train().ended == "interrupted"
    assert not list_checkpoints(run.folder / "checkpoints")
    monkeypatch.undo()
    assert run.train().ended == "finished"
    assert (run.folder / STARTS).read_bytes() == (whole.folder / STARTS).read_bytes()
    assert same(weights(run.model()), weights(whole.model()))


def test_the_kept_start_can_be_trained_longer(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", clusters())
    steps = run.train().step
    found = (run.folder / STARTS).read_bytes()
    run.extend(3)
    assert run.train().step == steps * 3 // 2
    longer = alone(run.experiment, run.splits, json.loads(found)["kept"] - 1, **{"train.epochs": 3})
    assert same(weights(run.model()), weights(longer.model))
    assert (run.folder / STARTS).read_bytes() == found
    assert [row["epoch"] for row in run.metrics()] == [1, 2, 3]


def test_weights_that_were_given_are_trained_in_one_start(tmp_path: Path) -> None:
    """A round of labelling saves those of the last one into the new run's folder."""
    run = Run.create(tmp_path / "run", clusters())
    given, _ = train_starts(run.experiment.override({"starts": 1, "train.epochs": 1}), run.splits, run.folder)
    assert run.train().step == 2 * given.step
    assert not (run.folder / STARTS).exists()
    assert same(weights(run.model()), weights(alone(run.experiment, run.splits, 0).model))


def test_a_run_with_another_number_of_starts_is_not_gone_on_with(tmp_path: Path) -> None:
    from aegean.recipes import with_seed
    from aegean.reproduce import reproduce_seed

    Run.create(tmp_path / "small-seed-1", with_seed(clusters(starts=1), 1))
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        reproduce_seed(clusters(starts=3), 1, tmp_path, tmp_path / "results", "")


def test_what_is_said_of_starts_needs_their_file_whole(tmp_path: Path) -> None:
    assert describe_starts(tmp_path) == ""
    for damaged in ('{"information": [0.5, "much"], "kept": 1}', '{"kept": 1}', "[]", "{", "x" * 200_000):
        (tmp_path / STARTS).write_text(damaged)
        with pytest.raises(CheckpointError, match=r"starts\.json"):
            describe_starts(tmp_path)


def test_a_model_without_clusters_has_one_start(tmp_path: Path) -> None:
    from aegean.recipes import get

    with pytest.raises(ConfigError, match="starts is 2, and they are compared by what"):
        Run.create(tmp_path / "run", get("flipped-implicit-points").override({"starts": 2}))

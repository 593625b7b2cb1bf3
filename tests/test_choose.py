"""Settings chosen from the data."""

import itertools
import time

import numpy as np
import pytest
import torch

from aegean.build import build_trainer
from aegean.choose import DataSummary, choose, with_epochs, within_minutes
from aegean.choose.networks import RECIPES
from aegean.data import Digits, SplitSettings, from_arrays, from_vectors
from aegean.errors import ConfigError
from aegean.likelihoods import Bernoulli, DiscretizedLogisticMixture
from aegean.models import create
from aegean.nn.augment import Affine, Jitter
from aegean.recipes import get
from aegean.schedules import Anneal
from aegean.train import SGD, Trainer
from conftest import make_splits

SHAPES = {"digits": (1, 8, 8), "photos": (3, 48, 48), "strips": (1, 17, 64), "cells": (5, 1, 1), "tiny": (1, 3, 3)}


def summary(shape=(1, 8, 8), n=1437, labelled=100, classes=10, **more):
    return DataSummary(n, shape, labelled, classes, **more)


@pytest.mark.parametrize(("task", "model"), RECIPES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_task_and_model_can_be_made_and_trained(task, model, shape):
    if model == "pixelgan" and shape[1:] == (1, 1):
        with pytest.raises(ConfigError, match="vectors have no pixels"):
            choose(task, summary(shape), model=model)
        return
    if shape == (3, 48, 48):
        shape = (3, 20, 20)  # colour, and sooner done
    images = np.random.default_rng(0).integers(0, 255, (40, *shape), dtype=np.uint8)
    splits = SplitSettings(test=0).split(from_arrays(images, np.arange(40) % 2, layout="nchw"))
    chosen = choose(task, DataSummary.of(splits), model=model, clusters=3, dim=2)
    assert all(reason.endswith(".") for reason in chosen.reasons)
    trainer = build_trainer(chosen.experiment, splits)
    trainer.run_step()
    x = splits.train.images[:2].float() / 255
    model = trainer.model.eval()
    if task == "embed":
        assert model.encode(x).shape == (2, 2)
    else:
        assert model.predict(x).shape == (2, 2 if task == "classify" else 3)
        assert model.supervised == (task == "classify")


def test_vectors_are_never_rotated():
    for task in ("classify", "cluster"):
        assert isinstance(choose(task, summary()).experiment.model.consistency.change, Affine)
        change = choose(task, summary((64, 1, 1))).experiment.model.consistency.change
        assert isinstance(change, Jitter)
        assert change.swap > 0
        assert choose(task, summary((2, 1, 1))).experiment.model.consistency.change.swap == 0


def test_networks_follow_the_size_and_the_number_of_examples():
    widths = [
        choose("classify", summary((1, side, side))).experiment.model.encoder.widths for side in (16, 28, 64, 100)
    ]
    assert [len(some) for some in widths] == [2, 3, 4, 5]

    def units(d, n):
        return choose("cluster", summary((d, 1, 1), n)).experiment.model.encoder.widths[0]

    assert units(2, 50) == 16
    assert units(2, 50) < units(100, 100) < units(100, 10_000) < units(2000, 10_000) == 1024


def test_few_examples_get_small_batches_and_many_epochs():
    small, middle, large = (choose("classify", summary(n=n)).experiment.train for n in (200, 1437, 60_000))
    assert small.batch_size < middle.batch_size < large.batch_size
    assert small.epochs > 3 * large.epochs
    assert choose("classify", summary(labelled=7)).experiment.train.labelled_batch_size == 7
    assert choose("cluster", summary(n=1000), clusters=30).experiment.train.batch_size >= 150


def test_pixels_are_counted():
    def likelihood(splits):
        return choose("cluster", DataSummary.of(splits), model="pixelgan").experiment.model.likelihood

    assert likelihood(Digits().load()) == DiscretizedLogisticMixture(components=5, levels=17)
    black_and_white = SplitSettings(test=0).split(from_arrays(np.eye(40)[:, None].repeat(40, axis=1)))
    assert likelihood(black_and_white) == Bernoulli()
    assert likelihood(make_splits((3, 8, 8))) == DiscretizedLogisticMixture(components=10, levels=256)


def test_the_same_settings_as_the_recipe_where_the_data_is_the_recipes():
    for task, recipe in (("classify", "aae-mnist-100-consistent"), ("cluster", "aae-mnist-30-consistent")):
        clusters = 30 if task == "cluster" else None
        chosen = choose(task, summary((1, 28, 28), n=50_000), clusters=clusters).experiment
        expected = get(recipe)
        assert chosen.model == expected.model
        assert chosen.train.batch_size == expected.train.batch_size
        rates = with_epochs(expected, chosen.train.epochs).train.optimizers
        assert chosen.train.optimizers == rates


def test_neighbours_are_linked_where_labelled_images_show_that_they_are_alike():
    """For half of the training, however long it is; and not where there are too many images, or too few labels."""
    chosen = choose("classify", summary((1, 28, 28), n=50_000, alike=0.78), epochs=13)
    consistency = chosen.experiment.model.consistency
    assert (consistency.neighbours, consistency.neighbour_epochs) == (5, 6.5)
    assert any(reason.startswith("78 of 100 labelled images") for reason in chosen.reasons)
    drawn = choose("classify", summary((1, 28, 28), alike=0.78), model="pixelgan").experiment
    assert drawn.model.consistency.neighbours == get("pixelgan-mnist-100-neighbours").model.consistency.neighbours
    vectors = choose("classify", summary((64, 1, 1), alike=0.78)).experiment
    assert vectors.model.consistency.neighbours == 5
    for others in ({"alike": 0.54}, {"alike": None}, {"alike": 0.78, "n": 200_000}):
        unlinked = choose("classify", summary((1, 28, 28), **others)).experiment
        assert unlinked.model.consistency.neighbours == 0


def test_a_few_clusters_of_many_images_are_merged_from_finer_ones():
    """For a quarter of the training, however long it is."""
    for model in ("aae", "pixelgan", "implicit"):
        chosen = choose("cluster", summary((1, 28, 28), n=50_000), model=model, clusters=10, epochs=8)
        consistency = chosen.experiment.model.consistency
        assert (consistency.finer, consistency.finer_epochs) == (50, 2.0)
        assert any(reason.startswith("50 smaller clusters first") for reason in chosen.reasons)
    for task, data, clusters in (
        ("cluster", summary((1, 28, 28), n=10_000), 10),
        ("cluster", summary((1, 28, 28), n=50_000), 30),
        ("cluster", summary((64, 1, 1), n=50_000), 10),
        ("classify", summary((1, 28, 28), n=50_000), None),
    ):
        assert choose(task, data, clusters=clusters).experiment.model.consistency.finer == 0


def test_the_first_steps_are_timed_without_a_search_for_neighbours(monkeypatch):
    """A search takes seconds, and the training makes one of its own."""
    splits = Digits(labels_per_class=10).load()
    chosen = choose("classify", DataSummary.of(splits), epochs=2).experiment
    assert chosen.model.consistency.neighbours == 5
    monkeypatch.setattr("aegean.data.stream.nearest", lambda *_: pytest.fail("looked for neighbours"))
    timed, _ = within_minutes(chosen, splits, 0.01)
    assert timed.model.consistency.neighbours == 5


def test_the_steps_that_are_timed_have_all_phases(monkeypatch):
    """With finer categories the first ones have a single phase."""
    splits = Digits(labels_per_class=0).load()
    chosen = choose("cluster", DataSummary.of(splits), clusters=10, epochs=2).experiment
    finer = chosen.override({"model.consistency.finer": 30, "model.consistency.finer_epochs": 1.0})
    steps: list[set[str]] = []
    inner = Trainer.run_step

    def run_step(trainer: Trainer) -> None:
        inner(trainer)
        steps.append(set(trainer._means.sums) & set(trainer.phases))

    monkeypatch.setattr(Trainer, "run_step", run_step)
    timed, _ = within_minutes(finer, splits, 0.01)
    assert steps[0] >= {"reconstruct", "confuse", "agree"}
    assert timed.model.consistency.finer == 30


def test_alike_is_the_share_of_labelled_images_nearest_to_one_of_their_class():
    images = np.zeros((60, 8, 8), dtype=np.uint8)
    labels = np.arange(60) % 3
    images[labels == 0, :4], images[labels == 1, 4:] = 200, 200
    images[3, 4:], images[3, :4] = 160, 0  # of class 0, and looks like class 1
    images += np.random.default_rng(0).integers(0, 9, images.shape, dtype=np.uint8)
    splits = SplitSettings(test=0).split(from_arrays(images, labels))
    assert DataSummary.of(splits).alike == pytest.approx(59 / 60)
    few = SplitSettings(test=0).split(from_arrays(images[:15], labels[:15]))
    assert DataSummary.of(few).alike is None


def test_schedules_keep_their_proportions():
    experiment = get("aae-mnist-100-consistent").override(
        {"train.optimizers.classify": SGD(rate=0.1, drops=((4, 0.1), (6, 0.1))).to_dict(), "train.epochs": 8}
    )
    longer = with_epochs(experiment, 20)
    assert longer.train.epochs == 20
    for name, optimizer in experiment.train.optimizers.items():
        other = longer.train.optimizers[name]
        for share in (0, 0.3, 0.55, 0.99):
            assert other.rate_at(20 * share) == pytest.approx(optimizer.rate_at(8 * share))
    assert isinstance(longer.train.optimizers["confuse"].rate, Anneal)
    with pytest.raises(ConfigError, match="1 or more"):
        with_epochs(experiment, 0)


def test_the_parts_of_a_training_keep_their_shares_of_its_epochs():
    assert with_epochs(get("gan-mnist-kl"), 5).model.adversary.warm_up == pytest.approx(1.0)
    clusters = with_epochs(get("pixelgan-mnist-30-merged"), 4).model.consistency
    assert (clusters.neighbour_epochs, clusters.finer_epochs) == pytest.approx((1.5, 1.5))


def test_minutes_are_turned_into_epochs_by_the_measured_rate(monkeypatch):
    splits = SplitSettings(test=0).split(from_vectors(np.random.default_rng(0).random((60, 2)), np.arange(60) % 2))
    ticks = itertools.count(step=0.5)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    base = choose("classify", DataSummary.of(splits)).experiment
    steps = max(1, len(splits.train) // base.train.batch_size)
    # Each look at the clock is half a second, and a step is one look: 0.9 of 20 minutes are 2160 steps or fewer.
    chosen, reason = within_minutes(base.override({"train.epochs": 1000}), splits, 20)
    assert 2160 / steps / 2.5 <= chosen.train.epochs <= 2160 / steps
    assert "20 minutes are allowed" in reason
    assert within_minutes(base, splits, 1e6)[0].train.epochs == 5 * base.train.epochs
    assert within_minutes(base, splits, 1e-6)[0].train.epochs == 1
    with pytest.raises(ConfigError, match="no time"):
        within_minutes(base, splits, 0)


def test_overrides_go_first():
    chosen = choose(
        "classify", summary(), overrides={"train.batch_size": 33, "model.style.dim": 3, "train.epochs": 7}, seed=5
    )
    experiment = chosen.experiment
    assert (experiment.train.batch_size, experiment.model.style.dim, experiment.train.epochs) == (33, 3, 7)
    assert experiment.seed == 5
    assert experiment.train.optimizers["default"].rate.epochs == pytest.approx(7)
    assert choose("classify", summary(), epochs=7).experiment.train.epochs == 7
    assert type(experiment).from_dict(experiment.to_dict()) == experiment


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "clutser"}, "did you mean 'cluster'"),
        ({"model": "gan"}, "no model 'gan'"),
        ({"summary": summary(labelled=0)}, "give some labels"),
        ({"summary": summary(classes=1)}, "at least two classes"),
        ({"task": "embed", "summary": summary(n=1)}, "at least two"),
        ({"epochs": 3, "minutes": 3}, "give one of them"),
        ({"minutes": 3}, "give splits"),
        ({"overrides": {"train.epoch": 3}}, "did you mean 'epochs'"),
        ({"overrides": {"train.epochs": "x"}}, "a whole number"),
    ],
)
def test_what_cannot_be_chosen(changes, message):
    with pytest.raises(ConfigError, match=message):
        choose(**({"task": "classify", "summary": summary()} | changes))


def test_making_a_model_takes_no_random_numbers_from_others():
    before = torch.get_rng_state()
    chosen = choose("cluster", summary((5, 1, 1), 50)).experiment
    create(chosen.model, (5, 1, 1))
    assert torch.equal(torch.get_rng_state(), before)


def test_clusters_have_several_starts_where_data_or_time_allow():
    def starts(task="cluster", n=1437, **more):
        return choose(task, summary(n=n), **more).experiment.starts

    assert starts() == 5
    assert starts(n=50_000) == 1
    assert starts(n=50_000, starts=3) == 3
    assert starts("classify") == starts("embed") == 1
    assert starts(epochs=4) == starts(overrides={"train.epochs": 4}) == 1
    assert starts(overrides={"model.consistency": None}) == 1
    with pytest.raises(ConfigError, match="starts"):
        starts(starts=0)
    assert starts(epochs=4, starts=2) == starts(overrides={"starts": 2}) == 2
    assert any(reason.startswith("5 trainings from different") for reason in choose("cluster", summary()).reasons)


def test_minutes_are_for_all_starts(monkeypatch):
    """A step is said to take a second, so that the passes are known: two are recommended for each start."""
    splits = Digits(labels_per_class=0).load()
    chosen = choose("cluster", DataSummary.of(splits), epochs=2, starts=5).experiment
    clock = [0.0]
    monkeypatch.setattr("aegean.train.Trainer.run_step", lambda self: clock.__setitem__(0, clock[0] + 1))
    monkeypatch.setattr("aegean.choose.schedule.time.monotonic", lambda: clock[0])
    per_pass = build_trainer(chosen, splits).steps_per_epoch / 60 / 0.9

    def within(passes, fixed):
        timed, _ = within_minutes(chosen, splits, (passes + 0.1) * per_pass, fixed)
        return timed.starts, timed.train.epochs

    assert [within(passes, False) for passes in (1, 2, 3, 4, 10, 11, 40, 500)] == [
        (1, 1), (1, 2), (1, 3), (2, 2), (5, 2), (5, 2), (5, 8), (5, 10),
    ]  # fmt: skip
    assert [within(passes, True) for passes in (2, 5, 10, 500)] == [(5, 1), (5, 1), (5, 2), (5, 10)]

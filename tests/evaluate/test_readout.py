"""Reading labels from codes whose information about the label is known."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aegean.errors import DataError, UnsupportedError
from aegean.evaluate import read_labels
from aegean.evaluate.protocols import evaluate_model
from aegean.models import create
from conftest import SMALL_MODELS, make_splits


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_codes_that_are_the_label_hold_all_of_it(classes: int) -> None:
    """The penalty keeps the linear reader a little unsure."""
    labels = np.arange(2000) % classes
    found = read_labels(np.eye(classes)[labels], labels, np.eye(classes)[labels[:500]], labels[:500])
    assert found.linear_error_percent == found.neighbour_error_percent == 0
    entropy = math.log(classes)
    assert entropy - 0.02 < found.label_information < entropy


def test_entropy_is_of_the_test_labels() -> None:
    labels = np.arange(2000) % 2
    rare = (np.arange(1000) % 10 == 0).astype(int)
    found = read_labels(np.eye(2)[labels], labels, np.eye(2)[rare], rare)
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert entropy - 0.02 < found.label_information < entropy


def test_codes_that_have_nothing_to_do_with_the_label_hold_nothing_of_it() -> None:
    rng = np.random.default_rng(0)
    labels, test_labels = np.arange(4000) % 4, np.arange(2000) % 4
    found = read_labels(rng.normal(size=(4000, 3)), labels, rng.normal(size=(2000, 3)), test_labels)
    assert found.linear_error_percent == pytest.approx(75, abs=4)
    assert found.neighbour_error_percent == pytest.approx(75, abs=4)
    assert -0.02 < found.label_information < 0.002


def test_constant_codes_give_no_more_than_nothing() -> None:
    labels = np.arange(60) % 3
    found = read_labels(np.ones((60, 2)), labels, np.ones((40, 2)), labels[:40])
    assert -1e-3 < found.label_information <= 1e-12


def test_the_bound_is_met_where_the_linear_reader_is_the_right_one() -> None:
    """y = ±1 and z = y + noise: p(y|z) is logistic, so the bound is the information, here by numerical integration."""
    rng = np.random.default_rng(0)
    labels = np.arange(20_000) % 2
    z = (2.0 * labels - 1 + rng.normal(size=20_000))[:, None]
    grid = np.linspace(-9, 9, 20_001)
    density = np.exp(-((grid - 1) ** 2) / 2) / math.sqrt(2 * math.pi)  # of z given y = 1
    information = math.log(2) - (density * np.log1p(np.exp(-2 * grid))).sum() * (grid[1] - grid[0])
    found = read_labels(z[:10_000], labels[:10_000], z[10_000:], labels[10_000:])
    assert found.label_information == pytest.approx(information, abs=0.015)
    assert found.linear_error_percent == pytest.approx(50 * math.erfc(1 / math.sqrt(2)), abs=1)


def test_a_ring_around_a_disc_is_read_by_neighbours_alone() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(3000) % 2
    angles, radii = rng.uniform(0, 2 * math.pi, 3000), labels + rng.uniform(0, 0.8, 3000)
    codes = np.stack((radii * np.cos(angles), radii * np.sin(angles)), axis=1)
    found = read_labels(codes[:2000], labels[:2000], codes[2000:], labels[2000:])
    assert found.linear_error_percent > 35
    assert found.neighbour_error_percent < 2
    assert found.label_information < 0.02


@settings(max_examples=8, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100), seed=st.integers(0, 99))
def test_units_of_the_code_do_not_matter(scale: float, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(90) % 3
    codes = rng.normal(size=(90, 2)) + labels[:, None]
    other = codes * [scale, 1] + [shift, 0]
    one, two = (read_labels(z[:60], labels[:60], z[60:], labels[60:]) for z in (codes, other))
    assert one.neighbour_error_percent == two.neighbour_error_percent
    assert one.linear_error_percent == two.linear_error_percent
    assert one.label_information == pytest.approx(two.label_information, abs=1e-3)


def test_a_far_test_code_is_counted_without_overflow() -> None:
    labels = np.arange(40) % 2
    codes = labels[:, None].astype(float)
    found = read_labels(codes, labels, np.array([[-1e6], [0.0], [1.0]]), np.array([1, 0, 1]))
    assert math.isfinite(found.label_information)
    assert found.label_information < -1e5


def test_of_many_codes_some_are_drawn_of_every_class_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aegean.evaluate.readout.MOST_CODES", 40)
    rng = np.random.default_rng(0)
    labels = np.sort(np.arange(2000) % 4)  # the first forty would be of one class
    codes = rng.normal(size=(2000, 2)) + labels[:, None]
    found = [read_labels(codes, labels, codes[::20], labels[::20], seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    monkeypatch.setattr("aegean.evaluate.readout.MOST_CODES", 2000)
    assert read_labels(codes, labels, codes[::20], labels[::20]) != found[0]


def test_tensors_are_taken_and_nothing_warns() -> None:
    labels = torch.arange(300) % 3
    codes = torch.eye(3)[labels]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_labels(codes, labels, codes, labels)
    assert found == read_labels(codes.numpy(), labels.numpy(), codes.numpy(), labels.numpy())


LABELS = np.arange(12) % 3
CODES = np.eye(3)[LABELS]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": CODES[:, :2]}, "do not fit"),
        ({"codes": CODES[:11]}, "do not fit"),
        ({"codes": CODES[:, 0]}, "do not fit"),
        ({"test_codes": CODES[:11]}, "do not fit"),
        ({"codes": np.full_like(CODES, np.nan)}, "not finite"),
        ({"test_codes": np.full_like(CODES, np.inf)}, "not finite"),
        ({"labels": LABELS - 1}, "labels: -1 is not a class"),
        ({"test_labels": LABELS - 1}, "test_labels: -1 is not a class"),
        ({"test_labels": LABELS.astype(float)}, "expected integers"),
        ({"labels": np.zeros(12, int)}, "12 training codes of 1 classes"),
        ({"codes": CODES[:4], "labels": LABELS[:4]}, "4 training codes of 3 classes"),
        ({"test_labels": LABELS + 1}, "test codes are of class 3, training codes are not"),
    ],
)
def test_what_cannot_be_read_is_refused(change: dict[str, np.ndarray], message: str) -> None:
    given = {"codes": CODES, "labels": LABELS, "test_codes": CODES, "test_labels": LABELS} | change
    with pytest.raises(DataError, match=message):
        read_labels(**given)


# ---- the protocol -------------------------------------------------------------------------------------------------


def brightness(x: Tensor) -> Tensor:
    """Of `make_splits`' images: the row whose left half is bright is their class."""
    return x[:, 0, :3, :4].mean(dim=2)


def test_the_protocol_reads_true_labels_that_training_did_not_see() -> None:
    model = create(SMALL_MODELS["vae"], (1, 8, 8), seed=0)
    model.encode = brightness
    splits = make_splits(n=300, test=90, labels_per_class=0)
    steps: list[tuple[str, int, int]] = []
    found = evaluate_model(model, splits, "test", protocols=("readout",), progress=lambda *step: steps.append(step))
    assert found["linear_error"] == found["neighbour_error"] == 0
    assert 0.9 * math.log(3) < found["label_information"] < math.log(3)
    encoded = len(splits.train) + len(splits.test)
    assert ("encoding", encoded, encoded) in steps


def test_the_protocol_judges_on_test_images() -> None:
    """With the test labels turned by one class, every reader is wrong."""
    model = create(SMALL_MODELS["vae"], (1, 8, 8), seed=0)
    model.encode = brightness
    splits = make_splits(n=300, test=90)
    turned = dataclasses.replace(splits.test, labels=(splits.test.labels + 1) % 3)
    found = evaluate_model(model, dataclasses.replace(splits, test=turned), "test", protocols=("readout",))
    assert found["linear_error"] == found["neighbour_error"] == 100
    assert found["label_information"] < 0


def test_the_protocol_encodes_no_more_training_images_than_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aegean.evaluate.codes.MOST_CODES", 30)
    model = create(SMALL_MODELS["vae"], (1, 8, 8), seed=0)
    model.encode = brightness
    steps: list[int] = []
    splits = make_splits(n=300, test=90)
    evaluate_model(
        model, splits, "test", protocols=("readout",), progress=lambda what, done, _: steps.append((what, done))
    )
    assert ("encoding", 30 + 90) in steps


@pytest.mark.parametrize("name", ["pixelgan-categorical", "aae-classified", "aae", "vae-gan"])
def test_the_protocol_is_for_every_model_with_an_encoder(name: str) -> None:
    model = create(SMALL_MODELS[name], (1, 8, 8), 3, seed=0)
    found = evaluate_model(model, make_splits(), "test", protocols=("readout",))
    assert 0 <= found["linear_error"] <= 100
    assert 0 <= found["neighbour_error"] <= 100
    assert found["label_information"] < math.log(3)


def test_what_the_protocol_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = make_splits()
    model = create(SMALL_MODELS["vae"], (1, 8, 8), seed=0)
    none = dataclasses.replace(splits, test=splits.test.without_labels())
    with pytest.raises(UnsupportedError, match="test images with labels"):
        evaluate_model(model, none, "test", protocols=("readout",))
    hidden = torch.full_like(splits.train_truth, -1)
    none = dataclasses.replace(splits, train=splits.train.without_labels(), train_truth=hidden)
    with pytest.raises(UnsupportedError, match="test images with labels"):
        evaluate_model(model, none, "test", protocols=("readout",))
    monkeypatch.setattr(type(model), "can", lambda self, task: task != "encode" and super(type(self), self).can(task))
    with pytest.raises(UnsupportedError, match="an encoder"):
        evaluate_model(model, splits, "test", protocols=("readout",))

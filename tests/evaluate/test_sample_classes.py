"""Samples whose classes are known, looked at by a classifier."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from aegean.data import Digits, ImageData, Splits
from aegean.errors import DataError, UnsupportedError
from aegean.evaluate import classify, judge_samples, sample_classes, train_classifier
from aegean.evaluate.protocols import evaluate_model
from aegean.models import Model, create
from conftest import SMALL_MODELS, make_splits


def test_figures_follow_from_the_probabilities() -> None:
    found = judge_samples([[0.8, 0.2, 0.0], [0.4, 0.6, 0.0]], np.array([0, 2]))
    assert found.entropy == pytest.approx(-(0.6 * math.log(0.6) + 0.4 * math.log(0.4)))
    assert found.confidence == pytest.approx(0.7)
    assert found.agreement_percent == 50
    assert judge_samples(np.eye(5)).entropy == pytest.approx(math.log(5))
    one = judge_samples(np.eye(5)[[2, 2, 2]])
    assert (one.entropy, one.confidence, one.agreement_percent) == (0, 1, None)


@pytest.mark.parametrize(
    ("probabilities", "drawn"),
    [
        (np.zeros((0, 3)), None),
        (np.ones(3) / 3, None),
        (np.array([[2.0, -1.0]]), None),
        (np.array([[3.0, 1.0]]), None),
        (np.array([[np.nan, 1.0]]), None),
        (np.eye(3), np.array([0, 1])),
        (np.eye(3), np.array([0, 1, 3])),
    ],
)
def test_what_is_no_judgement_is_refused(probabilities: np.ndarray, drawn: np.ndarray | None) -> None:
    with pytest.raises(DataError, match=r"add up to 1|do not fit"):
        judge_samples(probabilities, drawn)


@pytest.fixture(scope="module")
def digits() -> Splits:
    return Digits(labels_per_class=1).load()


def labelled(splits: Splits) -> ImageData:
    return dataclasses.replace(splits.train, labels=splits.train_truth)


def test_the_classifier_reads_digits_and_is_the_same_at_every_call(
    digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_classes, "STEPS", 150)
    state, steps = torch.get_rng_state(), list[int]()
    first, again = (train_classifier(labelled(digits), progress=steps.append) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert steps == 2 * list(range(1, 151))
    probabilities = classify(first, digits.test.images)
    assert torch.equal(probabilities, classify(again, digits.test.images))
    assert not first.training
    assert (probabilities.argmax(dim=1) == digits.test.labels).float().mean() > 0.95
    as_floats = classify(first, digits.test.images / 255)
    torch.testing.assert_close(probabilities, as_floats)
    black_and_white = classify(first, digits.test.images, "threshold")
    torch.testing.assert_close(black_and_white, classify(first, (digits.test.images > 127).float()))


@pytest.mark.parametrize("shape", [(1, 1, 9), (3, 2, 2), (1, 3, 7)])
def test_small_images_have_a_classifier_too(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_classes, "STEPS", 2)
    data = labelled(make_splits(shape, n=30, test=5))
    assert classify(train_classifier(data), data.images).shape == (len(data), 3)


def test_a_classifier_needs_labels_of_two_classes() -> None:
    data = make_splits().train  # with hidden labels
    with pytest.raises(DataError, match="two classes or more"):
        train_classifier(data)
    with pytest.raises(DataError, match="two classes or more"):
        train_classifier(data.subset(torch.nonzero(data.labels == 1).flatten()))


def model_that_draws(images: Callable[[int, Tensor | None, torch.Generator], Tensor], name: str) -> Model:
    model = create(SMALL_MODELS[name].override({"prior.categories": 10}), (1, 8, 8), 10, seed=0)
    model.sample = images  # type: ignore[method-assign]
    return model


def test_the_protocol_tells_digits_from_strokes_and_one_class_from_ten(
    digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_classes, "STEPS", 300)
    of_class = [digits.test.images[digits.test.labels == k] / 255 for k in range(10)]

    def right(n: int, y: Tensor | None, generator: torch.Generator) -> Tensor:
        assert y is not None
        chosen = torch.randint(20, (n,), generator=generator).tolist()
        return torch.stack([of_class[k][index] for k, index in zip(y.tolist(), chosen, strict=True)])

    def ones(n: int, y: Tensor | None, generator: torch.Generator) -> Tensor:
        return of_class[1][torch.randint(20, (n,), generator=generator)]

    def noise(n: int, y: Tensor | None, generator: torch.Generator) -> Tensor:
        assert y is None  # clusters are no classes
        return torch.rand(n, 1, 8, 8, generator=generator)

    found = {}
    for name, model in (
        ("right", model_that_draws(right, "pixelgan-supervised")),
        ("ones", model_that_draws(ones, "pixelgan-supervised")),
        ("noise", model_that_draws(noise, "pixelgan-categorical")),
    ):
        steps: list[tuple[str, int, int]] = []
        found[name] = evaluate_model(
            model, digits, "test", progress=lambda *step, to=steps: to.append(step), protocols=("sample-classes",)
        )
        assert ("training a classifier", 300, 300) in steps
        assert steps[-1] == ("drawing", 1000, 1000)
    assert found["right"]["sample_agreement"] > 95
    assert found["right"]["sample_class_entropy"] == pytest.approx(math.log(10), abs=0.01)
    assert found["right"]["sample_confidence"] == pytest.approx(found["right"]["real_confidence"], abs=0.03)
    assert found["right"]["sample_classifier_error"] < 5
    assert found["ones"]["sample_agreement"] == pytest.approx(10, abs=1)
    assert found["ones"]["sample_class_entropy"] < 0.5
    assert found["noise"]["sample_confidence"] < found["noise"]["real_confidence"] - 0.05
    assert "sample_agreement" not in found["noise"]


def test_what_the_protocol_lacks_is_said() -> None:
    unlabelled = make_splits()
    unlabelled = dataclasses.replace(
        unlabelled,
        train=unlabelled.train.without_labels(),
        train_truth=torch.full_like(unlabelled.train_truth, -1),
    )
    for name, splits, needed in (
        ("pixelgan-matching", make_splits(), "'sample-classes' needs a model that draws images"),
        ("pixelcnn", unlabelled, "needs training and test images with labels, of two classes"),
    ):
        with pytest.raises(UnsupportedError, match=needed):
            evaluate_model(create(SMALL_MODELS[name], (1, 8, 8), 3), splits, "test", protocols=("sample-classes",))

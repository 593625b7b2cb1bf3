"""Protocols on models whose answers are known."""

import dataclasses

import pytest
import torch
from torch import Tensor

from aegean.evaluate.apply import apply, evaluation
from aegean.evaluate.protocols import evaluate_model
from aegean.models import create
from conftest import SMALL_MODELS, make_splits


def model_that_predicts(answer, supervised: bool, classes: int = 3):
    """A PixelGAN whose posterior is replaced by a function of the image."""
    name = "pixelgan-supervised" if supervised else "pixelgan-categorical"
    model = create(SMALL_MODELS[name], (1, 8, 8), classes, seed=0)
    model.predict = answer
    model.log_predict = lambda x: answer(x).log()
    return model


def by_corner(x: Tensor) -> Tensor:
    """The class of `make_splits`' images: the row whose left half is bright."""
    return (20 * x[:, 0, :3, :4].mean(dim=2)).softmax(dim=1)


def test_a_perfect_classifier_has_no_error() -> None:
    splits = make_splits()
    results = evaluate_model(model_that_predicts(by_corner, True), splits, "test")
    assert results["error"] == 0
    assert results["nats"] > 0
    assert evaluate_model(model_that_predicts(by_corner, True), splits, "validation")["error"] == 0


def test_errors_are_counted_in_percent_and_unlabelled_images_left_out() -> None:
    splits = make_splits()
    always_one = lambda x: torch.tensor([[0.1, 0.8, 0.1]]).expand(len(x), 3)  # noqa: E731
    results = evaluate_model(model_that_predicts(always_one, True), splits, "test")
    assert results["error"] == pytest.approx(100 * (splits.test.labels != 1).float().mean().item())
    labels = splits.test.labels.clone()
    labels[labels != 1] = -1
    only_ones = dataclasses.replace(splits, test=dataclasses.replace(splits.test, labels=labels))
    assert evaluate_model(model_that_predicts(always_one, True), only_ones, "test")["error"] == 0


def test_clusters_are_named_by_the_validation_images() -> None:
    shuffled = lambda x: by_corner(x)[:, [2, 0, 1]]  # noqa: E731
    results = evaluate_model(model_that_predicts(shuffled, False), make_splits(), "test")
    assert results["error"] == results["majority_error"] == results["hungarian_error"] == 0
    assert results["nmi"] == pytest.approx(1)
    assert (results["clusters"], results["collapsed"]) == (3, 0)


def test_without_validation_images_the_visible_labels_name_the_clusters_and_hidden_ones_do_not() -> None:
    splits = make_splits(validation=0)
    assert evaluate_model(model_that_predicts(by_corner, False), splits, "test")["error"] == 0
    hidden = make_splits(validation=0, labels_per_class=0)
    assert "error" not in evaluate_model(model_that_predicts(by_corner, False), hidden, "test")


def test_nothing_to_judge_on_gives_nothing() -> None:
    assert evaluate_model(model_that_predicts(by_corner, True), make_splits(validation=0), "validation") == {}


def test_apply_runs_in_evaluation_mode_by_batches_and_restores_the_mode() -> None:
    splits = make_splits()
    model = create(SMALL_MODELS["pixelgan-supervised"], (1, 8, 8), 3, seed=0).train()
    done: list[int] = []
    whole = apply(model, model.encode, splits.train.images)
    parts = apply(model, model.encode, splits.train.images, batch_size=7, progress=done.append)
    assert model.training
    torch.testing.assert_close(whole, parts)
    assert done == [7, 14, 21, 28, 35, 42]
    assert not parts.requires_grad
    with evaluation(model):
        assert not model.training


def test_binarised_models_see_binary_images() -> None:
    splits = make_splits()
    model = create(SMALL_MODELS["pixelgan-supervised"], (1, 8, 8), 3, seed=0)
    seen = apply(model, lambda x: x, splits.test.images, binarize="threshold")
    assert torch.equal(seen, (splits.test.images > 127).float())
    drawn = [apply(model, lambda x: x, splits.test.images, binarize="sample", batch_size=5) for _ in range(2)]
    assert torch.equal(drawn[0], drawn[1])
    assert set(drawn[0].unique().tolist()) == {0.0, 1.0}

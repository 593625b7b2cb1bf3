"""Probabilities that are means over changed copies."""

import pytest
import torch

from aegean.errors import UnsupportedError
from aegean.evaluate.apply import apply, evaluation
from aegean.evaluate.categories import COPIES
from aegean.evaluate.protocols import evaluate_model
from aegean.models import create
from aegean.models.consistency import Consistency
from aegean.nn.augment import Affine
from conftest import SMALL_MODELS, make_splits

STILL = Affine(rotation=0, scale=0, shear=0, shift=0)


def test_of_copies_that_are_not_changed_the_errors_are_those_of_the_images() -> None:
    for name in ("pixelgan-consistent", "flipped-implicit-consistent"):
        config = SMALL_MODELS[name].override({"consistency.change": STILL.to_dict()})
        results = evaluate_model(create(config, (1, 8, 8), 3, seed=1), make_splits(), "test", protocols=("averaged",))
        assert 0 < results["error"] < 100
        assert results["averaged_error"] == results["error"]
        for measure in ("majority_error", "hungarian_error"):
            assert results.get(f"averaged_{measure}") == results.get(measure)
        assert "averaged_nmi" not in results
        assert "averaged_calibration_error" in results or not name.startswith("pixelgan")


def test_the_error_is_that_of_the_mean_of_the_copies() -> None:
    """Bit for bit: the copies are drawn from a generator of their own, so a second look sees the same."""
    splits, change = make_splits(), Affine(rotation=90)
    config = SMALL_MODELS["pixelgan-consistent"].override({"consistency": Consistency(change=change).to_dict()})
    model = create(config, (1, 8, 8), 3, seed=1)
    error = evaluate_model(model, splits, "test", protocols=("averaged",))["averaged_error"]
    generator = torch.Generator().manual_seed(0)
    x = splits.test.images.float() / 255
    with evaluation(model):
        q = sum(model.predict(change.apply(x, generator)) for _ in range(COPIES))
    assert error == pytest.approx(100 * (q.argmax(dim=1) != splits.test.labels).float().mean().item())
    plain = apply(model, model.predict, splits.test.images).argmax(dim=1)
    assert not torch.equal(plain, q.argmax(dim=1))


def test_models_without_the_term_and_images_without_labels_are_refused() -> None:
    model = create(SMALL_MODELS["pixelgan-supervised"], (1, 8, 8), 3)
    with pytest.raises(UnsupportedError, match="consistency"):
        evaluate_model(model, make_splits(), "test", protocols=("averaged",))

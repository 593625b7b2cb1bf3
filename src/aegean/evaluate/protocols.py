"""How a model of any kind is judged: which protocols apply to it, run on held-out images."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from aegean.data import ImageData, Splits
from aegean.evaluate.apply import apply
from aegean.evaluate.classification import evaluate_classification
from aegean.evaluate.clustering import evaluate_clustering
from aegean.models import Model

#: Images of the validation set, or of the training set where there is none, that name clusters.
MAX_NAMING_IMAGES = 10_000


def evaluate_model(
    model: Model,
    splits: Splits,
    part: Literal["validation", "test"],
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Judge a model on held-out images, noise and dropout off, normalisation layers in evaluation mode.

    Args:
        model: a trained model.
        splits: where the images are from.
        part: which of them.
        dtype: number format of network passes.
        progress: called with the number of images done.

    Returns:
        `error` in percent where the model predicts classes or clusters and labels are known (clusters are named by
        the papers' rule on the validation images, see `evaluate_clustering`, whose other measures stand beside it);
        `calibration_error` in percent for classes; `nats` of reconstruction an image
        where there is a likelihood, else `squared_error`, summed over its pixels.
        Empty if there is nothing to judge on.
    """
    data = splits.test if part == "test" else splits.validation
    results: dict[str, float] = {}
    if len(data) == 0:
        return results
    known = _labelled(data)
    if model.can("predict") and len(known):
        results |= (
            _classification(model, splits, known, dtype)
            if model.supervised
            else _clustering(model, splits, known, dtype)
        )
    if model.can("reconstruction_log_prob"):
        log_prob = apply(model, model.reconstruction_log_prob, data.images, dtype, splits.binarize, progress=progress)
        results["nats"] = float(-log_prob.mean())
    elif model.can("encode"):
        results["squared_error"] = float(
            apply(model, lambda x: _squared_error(model, x), data.images, dtype, splits.binarize).mean()
        )
    return results


def _classification(model: Model, splits: Splits, data: ImageData, dtype: torch.dtype) -> dict[str, float]:
    q = apply(model, model.predict, data.images, dtype, splits.binarize)
    confidence, predictions = q.max(dim=1)
    result = evaluate_classification(data.labels, predictions, splits.classes, confidence)
    return {"error": result.error_percent, "calibration_error": 100 * (result.calibration_error or 0.0)}


def _clustering(model: Model, splits: Splits, data: ImageData, dtype: torch.dtype) -> dict[str, float]:
    naming = _labelled(splits.validation)
    if len(naming) == 0:  # no validation set: the labels that training may see name the clusters
        naming = _labelled(splits.train)
    if len(naming) == 0:
        return {}
    naming = naming.subset(torch.arange(min(len(naming), MAX_NAMING_IMAGES)))
    q_naming, q = (apply(model, model.log_predict, part.images, dtype, splits.binarize) for part in (naming, data))
    result = evaluate_clustering(q_naming, naming.labels, q, data.labels, splits.classes)
    values = {
        "error": result.error_percent,
        "majority_error": result.majority_error_percent,
        "nmi": result.nmi,
        "ari": result.ari,
        "clusters": float(result.clusters),
        "collapsed": float(result.collapsed),
    }
    if result.hungarian_error_percent is not None:
        values["hungarian_error"] = result.hungarian_error_percent
    return values


def _squared_error(model: Model, x: Tensor) -> Tensor:
    return (model.reconstruct(x) - x).square().flatten(1).sum(dim=1)


def _labelled(data: ImageData) -> ImageData:
    return data.subset(torch.nonzero(data.labels >= 0).flatten())

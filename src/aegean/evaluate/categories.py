"""How predicted classes and clusters are judged: by a model's posterior, or by its mean over changed copies."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from aegean.data import ImageData, Splits
from aegean.errors import UnsupportedError
from aegean.evaluate.apply import Advance, apply
from aegean.evaluate.classification import evaluate_classification
from aegean.evaluate.clustering import evaluate_clustering
from aegean.evaluate.noise import labelled
from aegean.models import Model
from aegean.models.consistency import Consistency

#: Images of the validation set, or of the training set where there is none, that name clusters.
MAX_NAMING_IMAGES = 10_000
#: The protocol "averaged": changed copies of an image.
COPIES = 8

#: Logarithm of the probabilities of classes or clusters, (n, c, h, w) to (n, k).
Posterior = Callable[[Tensor], Tensor]


def judge_classes(
    model: Model, log_q: Posterior, splits: Splits, data: ImageData, dtype: torch.dtype
) -> dict[str, float]:
    """Return `error` and `calibration_error` in percent; all images must have labels."""
    q = apply(model, log_q, data.images, dtype, splits.binarize).exp()
    confidence, predictions = q.max(dim=1)
    result = evaluate_classification(data.labels, predictions, splits.classes, confidence)
    return {"error": result.error_percent, "calibration_error": 100 * (result.calibration_error or 0.0)}


def judge_clusters(
    model: Model, log_q: Posterior, splits: Splits, data: ImageData, dtype: torch.dtype
) -> dict[str, float]:
    """Return `error` and the other measures of `evaluate_clustering`; nothing if no image can name clusters."""
    naming = labelled(splits.validation)
    if len(naming) == 0:  # no validation set: the labels that training may see name the clusters
        naming = labelled(splits.train)
    if len(naming) == 0:
        return {}
    naming = naming.subset(torch.arange(min(len(naming), MAX_NAMING_IMAGES)))
    q_naming, q = (apply(model, log_q, part.images, dtype, splits.binarize) for part in (naming, data))
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


def averaged(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """The same measures where an image's probabilities are means over eight changed copies of it.

    The copies are changed as those of the consistency term in training. Which image of a cluster is the most typical
    one is then no longer said by the last digits of one probability near 1.

    Returns:
        `averaged_error` in percent; of clusters, `averaged_majority_error` and perhaps `averaged_hungarian_error`, too.
    """
    consistency = getattr(model.config, "consistency", None)
    known = labelled(splits.test)
    if not isinstance(consistency, Consistency) or not len(known):
        raise UnsupportedError(
            f"The protocol 'averaged' needs test images with labels, and a model with the consistency term, whose "
            f"changes it makes; the model {model.kind!r} has none, or there are no labels."
        )
    generator = torch.Generator(model.device).manual_seed(0)

    def log_q(x: Tensor) -> Tensor:
        copies = (model.log_predict(consistency.change.apply(x, generator)) for _ in range(COPIES))
        return torch.stack(tuple(copies)).double().logsumexp(dim=0) - math.log(COPIES)

    judge = judge_classes if model.supervised else judge_clusters
    found = judge(model, log_q, splits, known, dtype)
    return {f"averaged_{name}": value for name, value in found.items() if name.endswith("error")}

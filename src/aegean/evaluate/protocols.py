"""How a model of any kind is judged: which protocols apply to it, run on held-out images."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from aegean.data import ImageData, Splits
from aegean.errors import ConfigError, did_you_mean
from aegean.evaluate.apply import Advance, apply, progress_of
from aegean.evaluate.classification import evaluate_classification
from aegean.evaluate.clustering import evaluate_clustering
from aegean.evaluate.codes import (
    bits_back,
    check_bits_back,
    check_code_match,
    check_cross_domain,
    check_marginal,
    check_readout,
    code_match,
    cross_domain,
    marginal,
    readout,
)
from aegean.evaluate.noise import (
    category_draws_of,
    check_category_draws,
    check_mode_information,
    check_posterior_divergence,
    check_stochastic_reconstruction,
    mode_information_of,
    posterior_divergence,
    stochastic_reconstruction,
)
from aegean.evaluate.samples import check_parzen, check_sample_classes, parzen_10k, parzen_10m, sample_classes
from aegean.models import Model

#: Protocols that a recipe or a command asks for by name, beside those that every model gets; on test images alone.
ProtocolName = Literal[
    "bits-back", "category-draws", "code-match", "cross-domain", "marginal", "mode-information", "parzen", "parzen-10m",
    "posterior-divergence", "readout", "sample-classes", "stochastic-reconstruction",
]  # fmt: skip

#: Images of the validation set, or of the training set where there is none, that name clusters.
MAX_NAMING_IMAGES = 10_000


def evaluate_model(
    model: Model,
    splits: Splits,
    part: Literal["validation", "test"],
    dtype: torch.dtype = torch.float32,
    progress: Advance | None = None,
    protocols: tuple[ProtocolName, ...] = (),
    state: Path | None = None,
) -> dict[str, float]:
    """Judge a model on held-out images, noise and dropout off, normalisation layers in evaluation mode.

    Args:
        model: a trained model.
        splits: where the images are from.
        part: which of them.
        dtype: number format of network passes.
        progress: called from time to time.
        protocols: further ones, see `PROTOCOLS`.
        state: a folder where protocols that take long keep what they have done, to go on from after an interruption.

    Returns:
        `error` in percent where the model predicts classes or clusters and labels are known (clusters are named by
        the papers' rule on the validation images, see `evaluate_clustering`, whose other measures stand beside it);
        `calibration_error` in percent for classes; `nats` of reconstruction an image
        where there is a likelihood, else `squared_error`, summed over its pixels.
        Empty if there is nothing to judge on. What further protocols return stands at their functions.

    Raises:
        UnsupportedError: the model or the data lacks what a protocol needs.
    """
    data = splits.test if part == "test" else splits.validation
    results: dict[str, float] = {}
    if len(data) == 0:
        return results
    check_protocols(protocols, model, splits)
    known = data.with_known_labels()
    if model.can("predict") and len(known):
        results |= (
            _classification(model, splits, known, dtype)
            if model.supervised
            else _clustering(model, splits, known, dtype)
        )
    if model.can("reconstruction_log_prob"):
        report = progress_of(progress, "reconstructing", len(data))
        log_prob = apply(model, model.reconstruction_log_prob, data.images, dtype, splits.binarize, progress=report)
        results["nats"] = float(-log_prob.mean())
    elif model.can("encode") and model.can("decode"):
        generator = torch.Generator().manual_seed(0)  # of a decoder that draws its images
        task = partial(_squared_error, model, generator=generator)
        results["squared_error"] = float(apply(model, task, data.images, dtype, splits.binarize).mean())
    for name in protocols:
        results |= PROTOCOLS[name].measure(model, splits, dtype, state, progress)
    return results


class Protocol(NamedTuple):
    """What a further protocol measures, and what raises UnsupportedError where model or data lack what it needs."""

    measure: Callable[[Model, Splits, torch.dtype, Path | None, Advance | None], dict[str, float]]
    check: Callable[[Model, Splits], None]


#: By name.
PROTOCOLS: dict[ProtocolName, Protocol] = {
    "bits-back": Protocol(bits_back, check_bits_back),
    "category-draws": Protocol(category_draws_of, check_category_draws),
    "code-match": Protocol(code_match, check_code_match),
    "cross-domain": Protocol(cross_domain, check_cross_domain),
    "marginal": Protocol(marginal, check_marginal),
    "mode-information": Protocol(mode_information_of, check_mode_information),
    "parzen": Protocol(parzen_10k, check_parzen),
    "parzen-10m": Protocol(parzen_10m, check_parzen),
    "posterior-divergence": Protocol(posterior_divergence, check_posterior_divergence),
    "readout": Protocol(readout, check_readout),
    "sample-classes": Protocol(sample_classes, check_sample_classes),
    "stochastic-reconstruction": Protocol(stochastic_reconstruction, check_stochastic_reconstruction),
}


def check_protocols(names: Sequence[ProtocolName], model: Model, splits: Splits) -> None:
    """Find out before a training whether a model and its data will have what protocols need.

    Raises:
        UnsupportedError: they will not. Without test images no protocol is run, and nothing is asked.
    """
    for name in names if len(splits.test) else ():
        PROTOCOLS[name].check(model, splits)


def protocol_names(names: Sequence[str]) -> tuple[ProtocolName, ...]:
    """Return names of protocols after a look whether they exist.

    Raises:
        ConfigError: one does not; the nearest is named.
    """
    found: list[ProtocolName] = []
    for name in names:
        matching = [known for known in PROTOCOLS if known == name]
        if not matching:
            raise ConfigError(f"There is no protocol {name!r}{did_you_mean(name, PROTOCOLS)}")
        found += matching
    return tuple(found)


def _classification(model: Model, splits: Splits, data: ImageData, dtype: torch.dtype) -> dict[str, float]:
    q = apply(model, model.predict, data.images, dtype, splits.binarize)
    confidence, predictions = q.max(dim=1)
    result = evaluate_classification(data.labels, predictions, splits.classes, confidence)
    return {"error": result.error_percent, "calibration_error": 100 * (result.calibration_error or 0.0)}


def _clustering(model: Model, splits: Splits, data: ImageData, dtype: torch.dtype) -> dict[str, float]:
    naming = splits.validation.with_known_labels()
    if len(naming) == 0:  # no validation set: the labels that training may see name the clusters
        naming = splits.train.with_known_labels()
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


def _squared_error(model: Model, x: Tensor, generator: torch.Generator) -> Tensor:
    return (model.reconstruct(x, generator) - x).square().flatten(1).sum(dim=1)

"""How a model of any kind is judged: which protocols apply to it, run on held-out images."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from aegean.data import ImageData, Splits, stratified_split
from aegean.data.images import as_float
from aegean.errors import ConfigError, UnsupportedError, did_you_mean
from aegean.evaluate.apply import Advance, apply, evaluation
from aegean.evaluate.classification import evaluate_classification
from aegean.evaluate.clustering import evaluate_clustering
from aegean.evaluate.code_match import match_codes
from aegean.evaluate.marginal import exact_log_marginal, importance_weighted_log_marginal
from aegean.evaluate.noise import (
    category_draws_of,
    digit_classifier,
    labelled,
    mode_information_of,
    posterior_divergence,
    stochastic_reconstruction,
)
from aegean.evaluate.parzen import VALIDATION_IMAGES, parzen
from aegean.evaluate.readout import MOST_CODES, read_labels
from aegean.evaluate.sample_classes import classify, judge_samples
from aegean.models import CategoricalAAE, ImplicitAutoencoder, Model, PixelGAN
from aegean.models.autoencoder import Autoencoder
from aegean.priors import Categorical, Empirical
from aegean.train.precision import autocast

#: Protocols that a recipe or a command asks for by name, beside those that every model gets; on test images alone.
ProtocolName = Literal[
    "bits-back", "category-draws", "code-match", "cross-domain", "marginal", "mode-information", "parzen", "parzen-10m",
    "posterior-divergence", "readout", "sample-classes", "stochastic-reconstruction",
]  # fmt: skip

#: The protocol "marginal": test images, validation images that choose the proposal, images at a time, draws an image,
#: and widths of the proposal to choose from.
MARGINAL_IMAGES, MARGINAL_TRIED, MARGINAL_BATCH, MARGINAL_SAMPLES = 1000, 100, 100, 100
PROPOSALS = (0.03, 0.1, 0.3, 1.0)

#: The protocol "sample-classes": samples that are looked at, and samples drawn at a time.
SAMPLES, SAMPLES_AT_ONCE = 1000, 100

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
    known = labelled(data)
    if model.can("predict") and len(known):
        results |= (
            _classification(model, splits, known, dtype)
            if model.supervised
            else _clustering(model, splits, known, dtype)
        )
    if model.can("reconstruction_log_prob"):
        report = (lambda done: progress("reconstructing", done, len(data))) if progress else None
        log_prob = apply(model, model.reconstruction_log_prob, data.images, dtype, splits.binarize, progress=report)
        results["nats"] = float(-log_prob.mean())
    elif model.can("encode") and model.can("decode"):
        results["squared_error"] = float(
            apply(model, lambda x: _squared_error(model, x), data.images, dtype, splits.binarize).mean()
        )
    for name in protocols:
        results |= PROTOCOLS[name](model, splits, dtype, state, progress)
    return results


def bits_back(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """What bits-back coding spends on a test image beyond the data's entropy, as the discriminators see it.

    Returns:
        `extra_reconstruction_nats` and `extra_code_nats`, estimates of KL(q(x, z) || r(x, z)) and KL(q(z) || p(z))
        (implicit autoencoders, equation 25); see `ImplicitAutoencoder.extra_nats`.
    """
    if not isinstance(model, ImplicitAutoencoder):
        raise UnsupportedError(f"The protocol 'bits-back' is for implicit autoencoders, not {model.kind!r}.")
    reconstruction, code = (
        apply(model, model.extra_nats, splits.test.images, dtype, splits.binarize).mean(dim=0).tolist()
    )
    return {"extra_reconstruction_nats": reconstruction, "extra_code_nats": code}


def code_match(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """How well the codes of test images match as many draws of the prior; of a category and a style, the style alone.

    Returns:
        `code_c2st`, the accuracy in percent of a classifier that tells them apart (50 is a perfect match);
        `code_sliced_wasserstein`, and `prior_sliced_wasserstein` between two draws of the prior; see `match_codes`.
    """
    if not isinstance(model, Autoencoder | PixelGAN):
        raise UnsupportedError(f"The protocol 'code-match' is for models with a prior on codes, not {model.kind!r}.")
    codes = apply(model, model.draw_code, splits.test.images, dtype, splits.binarize)
    prior = model.prior
    if isinstance(model, CategoricalAAE):
        codes, prior = model.split(codes)[1], model.config.style
    generator = torch.Generator().manual_seed(0)
    draws, more_draws = (prior.sample(len(codes), generator=generator) for _ in range(2))
    found = match_codes(codes, draws, more_draws)
    return {
        "code_c2st": 100 * found.accuracy,
        "code_sliced_wasserstein": found.sliced_wasserstein,
        "prior_sliced_wasserstein": found.floor,
    }


def parzen_10k(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """Parzen log-likelihood with ten thousand samples, see `aegean.evaluate.parzen`.

    Returns:
        `parzen` in nats an image, with its standard error over test images and sigma; `parzen_fine` likewise.
    """
    return _parzen(model, splits, dtype, state, progress, 10_000, "parzen")


def parzen_10m(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """Parzen log-likelihood with ten million samples, `parzen_10m` and so on; it takes tens of minutes."""
    return _parzen(model, splits, dtype, state, progress, 10_000_000, "parzen_10m")


def readout(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """How well classifiers read the label from the code; figure 3 of the PixelGAN paper, in numbers.

    They learn from codes of at most `MOST_CODES` training images with their true labels, those too that training did
    not see, and are judged on the test images: they measure what the code holds, not what the model was taught.

    Returns:
        `linear_error` and `neighbour_error` in percent, `label_information` in nats; see `ReadOut`.
    """
    train, test = labelled(dataclasses.replace(splits.train, labels=splits.train_truth)), labelled(splits.test)
    if not model.can("encode") or not len(train) or not len(test):
        raise UnsupportedError(
            "The protocol 'readout' needs a model with an encoder, and training and test images with labels."
        )
    train = train.subset(stratified_split(train.labels, [min(len(train), MOST_CODES)], seed=0)[0])
    images = torch.cat((train.images, test.images))
    report = (lambda done: progress("encoding", done, len(images))) if progress else None
    codes = apply(model, model.encode, images, dtype, splits.binarize, progress=report)
    found = read_labels(codes[: len(train)], train.labels, codes[len(train) :], test.labels)
    return {
        "linear_error": found.linear_error_percent,
        "neighbour_error": found.neighbour_error_percent,
        "label_information": found.label_information,
    }


def cross_domain(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """Whether images are mapped to samples of the second domain that show the same; PixelGAN paper, section 4.

    A classifier of the five nearest samples of the second domain says what the code of a test image shows there.

    Returns:
        `cross_domain_error`, the share in percent of test images whose code shows another class; and
        `cross_domain_hungarian_error`, the same after the best renaming of classes: without pairs, nothing says which
        class is which.
    """
    prior, test = getattr(model, "prior", None), labelled(splits.test)
    if not isinstance(prior, Empirical) or prior.components != splits.classes or not len(test):
        raise UnsupportedError(
            "The protocol 'cross-domain' needs an empirical prior whose samples have the classes of the test images."
        )
    report = (lambda done: progress("mapping", done, len(test))) if progress else None
    codes = apply(model, model.encode, test.images, dtype, splits.binarize, progress=report)
    samples, classes = prior.table()
    assert classes is not None  # noqa: S101 - it has components
    nearest = KNeighborsClassifier(n_neighbors=5).fit(samples.numpy(), classes.numpy())
    shown = torch.from_numpy(nearest.predict(codes.numpy()))
    counts = evaluate_classification(test.labels, shown, splits.classes).confusion
    rows, columns = linear_sum_assignment(counts, maximize=True)
    total = counts.sum()
    return {
        "cross_domain_error": float(100 * (1 - counts.trace() / total)),
        "cross_domain_hungarian_error": float(100 * (1 - counts[rows, columns].sum() / total)),
    }


def marginal(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """-log p(x) of the first thousand test images: exact for a categorical code, else a bound by importance weighting.

    The proposal's width is chosen on a hundred validation images.

    Returns:
        `marginal_nats`, in the mean an upper bound on -log p(x) where it is not exact, with its standard error over
        images; `conditional_nats` of the same images at their own codes.
    """
    if not isinstance(model, Autoencoder | PixelGAN) or isinstance(model, CategoricalAAE) or not model.can("sample"):
        raise UnsupportedError(
            f"The protocol 'marginal' is for models with one code and a decoder, not {model.kind!r}."
        )
    generator = torch.Generator(model.device).manual_seed(0)

    def nats(images: Tensor, std: float, samples: int, what: str) -> Tensor:
        def task(x: Tensor) -> Tensor:
            if isinstance(model.prior, Categorical):
                codes = torch.eye(model.prior.dim, device=x.device)
                return -exact_log_marginal(model.conditional_log_prob, x, model.prior.log_prob(codes))
            centre = model.encode(x)
            return -importance_weighted_log_marginal(
                model.conditional_log_prob, x, centre, std, model.prior, samples, generator
            )

        report = (lambda done: progress(what, done, len(images))) if progress else None
        return apply(model, task, images, dtype, splits.binarize, MARGINAL_BATCH, report)

    std = 1.0
    if not isinstance(model.prior, Categorical):
        tried = splits.validation.images[:MARGINAL_TRIED]
        if not len(tried):
            raise UnsupportedError("The protocol 'marginal' needs validation images to choose its proposal.")
        std = min(PROPOSALS, key=lambda width: float(nats(tried, width, MARGINAL_SAMPLES // 4, "proposal").mean()))
    test = splits.test.images[:MARGINAL_IMAGES]
    found = nats(test, std, MARGINAL_SAMPLES, "marginal")
    conditional = apply(model, model.reconstruction_log_prob, test, dtype, splits.binarize, MARGINAL_BATCH)
    return {
        "marginal_nats": float(found.mean()),
        "marginal_nats_standard_error": float(found.std() / len(found) ** 0.5),
        "conditional_nats": float(-conditional.mean()),
    }


def sample_classes(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """What a thousand samples show, by a classifier of real images; PixelGAN paper, figures 2 and 8, in numbers.

    The classifier learns from all training images with their true labels, those too that training did not see. Of a
    model whose categories are the classes, as many samples of each class are drawn; of others, samples of the prior.

    Returns:
        `sample_class_entropy` in nats, log K at the most; `sample_confidence` in [0, 1], and `real_confidence`, the
        same on the test images; `sample_agreement`, the percentage of samples of a class that the classifier takes for
        that class, where categories are the classes; see `SampleClasses`. `sample_classifier_error`, the classifier's
        own error on the test images, in percent.
    """
    if not model.can("sample"):
        raise UnsupportedError(f"The protocol 'sample-classes' needs a model that draws images, not {model.kind!r}.")
    classifier, test = digit_classifier(model, splits, dtype, progress)
    y = torch.arange(SAMPLES) % splits.classes if model.supervised else None
    generator = torch.Generator().manual_seed(0)
    parts = []
    for start in range(0, SAMPLES, SAMPLES_AT_ONCE):
        count = min(SAMPLES_AT_ONCE, SAMPLES - start)
        with evaluation(model), autocast(model.device, dtype):
            samples = model.sample(count, None if y is None else y[start : start + count], generator)
        parts.append(classify(classifier, samples.float()))
        if progress:
            progress("drawing", start + count, SAMPLES)
    found = judge_samples(torch.cat(parts), y)
    real = classify(classifier, test.images, splits.binarize)
    results = {
        "sample_class_entropy": found.entropy,
        "sample_confidence": found.confidence,
        "real_confidence": judge_samples(real).confidence,
        "sample_classifier_error": float(100 * (real.argmax(dim=1) != test.labels).float().mean()),
    }
    return results if found.agreement_percent is None else results | {"sample_agreement": found.agreement_percent}


#: By name.
PROTOCOLS: dict[ProtocolName, Callable[[Model, Splits, torch.dtype, Path | None, Advance | None], dict[str, float]]] = {
    "bits-back": bits_back,
    "category-draws": category_draws_of,
    "code-match": code_match,
    "cross-domain": cross_domain,
    "marginal": marginal,
    "mode-information": mode_information_of,
    "parzen": parzen_10k,
    "parzen-10m": parzen_10m,
    "posterior-divergence": posterior_divergence,
    "readout": readout,
    "sample-classes": sample_classes,
    "stochastic-reconstruction": stochastic_reconstruction,
}


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


def _parzen(
    model: Model,
    splits: Splits,
    dtype: torch.dtype,
    state: Path | None,
    progress: Advance | None,
    samples: int,
    name: str,
) -> dict[str, float]:
    if not model.can("sample") or not len(splits.validation):
        raise UnsupportedError(
            "Parzen estimates need a model that draws images, and validation images to choose sigma."
        )

    def draw(start: int, stop: int) -> Tensor:
        generator = torch.Generator().manual_seed(start)
        with evaluation(model), autocast(model.device, dtype):
            return model.sample(stop - start, generator=generator).float().flatten(1)

    validation, test = (as_float(part.images, splits.binarize).flatten(1) for part in (splits.validation, splits.test))
    weights = hashlib.sha256()
    for tensor in model.state_dict().values():
        weights.update(tensor.detach().cpu().float().numpy().tobytes())
    pairs = samples * (min(len(validation), VALIDATION_IMAGES) + len(test))
    report = (lambda done: progress(f"Parzen window of {samples:,} samples", done, pairs)) if progress else None
    found = parzen(draw, samples, validation, test, state=state, key=weights.hexdigest(), progress=report)
    return {
        name: found.official.log_likelihood,
        f"{name}_standard_error": found.official.standard_error,
        f"{name}_sigma": found.official.sigma,
        f"{name}_fine": found.fine.log_likelihood,
        f"{name}_fine_sigma": found.fine.sigma,
    }


def _classification(model: Model, splits: Splits, data: ImageData, dtype: torch.dtype) -> dict[str, float]:
    q = apply(model, model.predict, data.images, dtype, splits.binarize)
    confidence, predictions = q.max(dim=1)
    result = evaluate_classification(data.labels, predictions, splits.classes, confidence)
    return {"error": result.error_percent, "calibration_error": 100 * (result.calibration_error or 0.0)}


def _clustering(model: Model, splits: Splits, data: ImageData, dtype: torch.dtype) -> dict[str, float]:
    naming = labelled(splits.validation)
    if len(naming) == 0:  # no validation set: the labels that training may see name the clusters
        naming = labelled(splits.train)
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

"""What a model draws: protocols of models that make images."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from aegean.data import Splits
from aegean.data.images import as_float
from aegean.errors import UnsupportedError
from aegean.evaluate.apply import Advance, evaluation, progress_of
from aegean.evaluate.parzen import VALIDATION_IMAGES, parzen
from aegean.evaluate.sample_classes import check_classifier, classify, judge_samples, trained_classifier
from aegean.models import Model
from aegean.train.precision import autocast

#: The protocol "sample-classes": samples that are looked at, and samples drawn at a time.
SAMPLES, SAMPLES_AT_ONCE = 1000, 100


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


def check_parzen(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError for a model that draws no images, or where no image is left to choose sigma by."""
    if not model.can("sample") or not len(splits.validation):
        raise UnsupportedError(
            "Parzen estimates need a model that draws images, and validation images to choose sigma."
        )


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
    classifier, test = trained_classifier(model, splits, dtype, progress)
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


def check_sample_classes(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError for a model that draws no images, or where no classifier can learn."""
    if not model.can("sample"):
        raise UnsupportedError(f"The protocol 'sample-classes' needs a model that draws images, not {model.kind!r}.")
    check_classifier(splits)


def _parzen(
    model: Model,
    splits: Splits,
    dtype: torch.dtype,
    state: Path | None,
    progress: Advance | None,
    samples: int,
    name: str,
) -> dict[str, float]:
    def draw(start: int, stop: int) -> Tensor:
        generator = torch.Generator().manual_seed(start)
        with evaluation(model), autocast(model.device, dtype):
            return model.sample(stop - start, generator=generator).float().flatten(1)

    validation, test = (
        as_float(part.images, splits.binarize, torch.Generator().manual_seed(0)).flatten(1)
        for part in (splits.validation, splits.test)
    )
    weights = hashlib.sha256()
    for tensor in model.state_dict().values():
        weights.update(tensor.detach().cpu().float().numpy().tobytes())
    pairs = samples * (min(len(validation), VALIDATION_IMAGES) + len(test))
    report = progress_of(progress, f"Parzen window of {samples:,} samples", pairs)
    found = parzen(draw, samples, validation, test, state=state, key=weights.hexdigest(), progress=report)
    return {
        name: found.official.log_likelihood,
        f"{name}_standard_error": found.official.standard_error,
        f"{name}_sigma": found.official.sigma,
        f"{name}_fine": found.fine.log_likelihood,
        f"{name}_fine_sigma": found.fine.sigma,
    }

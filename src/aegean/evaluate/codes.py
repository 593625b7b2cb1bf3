"""What codes hold: protocols of models with an encoder."""

from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from aegean.data import ImageData, Splits, stratified_split
from aegean.errors import UnsupportedError
from aegean.evaluate.apply import Advance, apply, progress_of
from aegean.evaluate.classification import evaluate_classification
from aegean.evaluate.code_match import match_codes
from aegean.evaluate.marginal import exact_log_marginal, importance_weighted_log_marginal
from aegean.evaluate.noise import same_noise
from aegean.evaluate.readout import MOST_CODES, read_labels
from aegean.models import CategoricalAAE, ImplicitAutoencoder, Model, PixelGAN
from aegean.models.autoencoder import Autoencoder
from aegean.priors import Categorical, Empirical

#: The protocol "marginal": test images, validation images that choose the proposal, images at a time, draws an image,
#: and widths of the proposal to choose from.
MARGINAL_IMAGES, MARGINAL_TRIED, MARGINAL_BATCH, MARGINAL_SAMPLES = 1000, 100, 100, 100
PROPOSALS = (0.03, 0.1, 0.3, 1.0)


def bits_back(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """What bits-back coding spends on a test image beyond the data's entropy, as the discriminators see it.

    Returns:
        `extra_reconstruction_nats` and `extra_code_nats`, estimates of KL(q(x, z) || r(x, z)) and KL(q(z) || p(z))
        (implicit autoencoders, equation 25); see `ImplicitAutoencoder.extra_nats`.
    """
    assert isinstance(model, ImplicitAutoencoder)  # noqa: S101 - checked
    with same_noise(model):
        found = apply(model, model.extra_nats, splits.test.images, dtype, splits.binarize)
    reconstruction, code = found.mean(dim=0).tolist()
    return {"extra_reconstruction_nats": reconstruction, "extra_code_nats": code}


def check_bits_back(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError for other models."""
    if not isinstance(model, ImplicitAutoencoder):
        raise UnsupportedError(f"The protocol 'bits-back' is for implicit autoencoders, not {model.kind!r}.")


def code_match(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """How well the codes of test images match as many draws of the prior; of a category and a style, the style alone.

    Returns:
        `code_c2st`, the accuracy in percent of a classifier that tells them apart (50 is a perfect match);
        `code_sliced_wasserstein`, and `prior_sliced_wasserstein` between two draws of the prior; see `match_codes`.
    """
    assert isinstance(model, Autoencoder | PixelGAN)  # noqa: S101 - checked
    with same_noise(model):
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


def check_code_match(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError for a model without a prior on its code."""
    if not isinstance(model, Autoencoder | PixelGAN):
        raise UnsupportedError(f"The protocol 'code-match' is for models with a prior on codes, not {model.kind!r}.")


def readout(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """How well classifiers read the label from the code; figure 3 of the PixelGAN paper, in numbers.

    They learn from codes of at most `MOST_CODES` training images with their true labels, those too that training did
    not see, and are judged on the test images: they measure what the code holds, not what the model was taught.

    Returns:
        `linear_error` and `neighbour_error` in percent, `label_information` in nats; see `ReadOut`.
    """
    train, test = _labelled(splits)
    train = train.subset(stratified_split(train.labels, [min(len(train), MOST_CODES)], seed=0)[0])
    images = torch.cat((train.images, test.images))
    report = progress_of(progress, "encoding", len(images))
    codes = apply(model, model.encode, images, dtype, splits.binarize, progress=report)
    found = read_labels(codes[: len(train)], train.labels, codes[len(train) :], test.labels)
    return {
        "linear_error": found.linear_error_percent,
        "neighbour_error": found.neighbour_error_percent,
        "label_information": found.label_information,
    }


def check_readout(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError for a model without an encoder, or data without labels."""
    if not model.can("encode") or not all(map(len, _labelled(splits))):
        raise UnsupportedError(
            "The protocol 'readout' needs a model with an encoder, and training and test images with labels."
        )


def _labelled(splits: Splits) -> tuple[ImageData, ImageData]:
    """Training and test images with true labels."""
    return splits.revealed.with_known_labels(), splits.test.with_known_labels()


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
    prior, test = model.prior, splits.test.with_known_labels()
    assert isinstance(prior, Empirical)  # noqa: S101 - checked
    report = progress_of(progress, "mapping", len(test))
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


def check_cross_domain(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError where no second domain has the test images' classes."""
    prior = getattr(model, "prior", None)
    known = len(splits.test.with_known_labels())
    if not isinstance(prior, Empirical) or prior.components != splits.classes or not known:
        raise UnsupportedError(
            "The protocol 'cross-domain' needs an empirical prior whose samples have the classes of the test images."
        )


def marginal(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """-log p(x) of the first thousand test images: exact for a categorical code, else a bound by importance weighting.

    The proposal's width is chosen on a hundred validation images.

    Returns:
        `marginal_nats`, in the mean an upper bound on -log p(x) where it is not exact, with its standard error over
        images where there are two or more; `conditional_nats` of the same images at their own codes.
    """
    assert isinstance(model, Autoencoder | PixelGAN)  # noqa: S101 - checked
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

        report = progress_of(progress, what, len(images))
        return apply(model, task, images, dtype, splits.binarize, MARGINAL_BATCH, report)

    std = 1.0
    if not isinstance(model.prior, Categorical):
        tried = splits.validation.images[:MARGINAL_TRIED]
        std = min(PROPOSALS, key=lambda width: float(nats(tried, width, MARGINAL_SAMPLES // 4, "proposal").mean()))
    test = splits.test.images[:MARGINAL_IMAGES]
    found = nats(test, std, MARGINAL_SAMPLES, "marginal")
    conditional = apply(model, model.reconstruction_log_prob, test, dtype, splits.binarize, MARGINAL_BATCH)
    results = {"marginal_nats": float(found.mean())}
    if len(found) > 1:  # one image has no spread
        results["marginal_nats_standard_error"] = float(found.std() / len(found) ** 0.5)
    return results | {"conditional_nats": float(-conditional.mean())}


def check_marginal(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError for a model with several codes or no decoder, or without images for the proposal."""
    if not isinstance(model, Autoencoder | PixelGAN) or isinstance(model, CategoricalAAE) or not model.can("sample"):
        raise UnsupportedError(
            f"The protocol 'marginal' is for models with one code and a decoder, not {model.kind!r}."
        )
    if not isinstance(model.prior, Categorical) and not len(splits.validation):
        raise UnsupportedError("The protocol 'marginal' needs validation images to choose its proposal.")

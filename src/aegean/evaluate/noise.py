"""What noise does in models that have it: protocols of the implicit autoencoders and what they are compared with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from aegean.data import Splits
from aegean.data.images import as_float
from aegean.errors import UnsupportedError
from aegean.evaluate.apply import Advance, apply, evaluation
from aegean.evaluate.modes import mode_information
from aegean.evaluate.neighbours import distance_to_nearest
from aegean.evaluate.posterior import Posteriors, grid_posteriors
from aegean.evaluate.sample_classes import check_classifier, classify, trained_classifier
from aegean.models import InfoGAN, Model
from aegean.models.two_way import TwoWay
from aegean.nn.noise import bind_rng
from aegean.priors import Gaussian
from aegean.train.precision import autocast

#: The protocol "mode-information": samples of each category.
SAMPLES = 2000
#: The protocol "posterior-divergence": draws of q(z|x) for each data point; draws of p(x|z) at each point of the grid.
POSTERIOR_DRAWS, LIKELIHOOD_DRAWS = 100_000, 16
#: The protocol "stochastic-reconstruction": test images, and reconstructions of each.
RECONSTRUCTED, DRAWS = 1000, 10
#: A reconstruction is a copy if this share of test images, or less, is as near to a training image as it is.
COPY_SHARE = 0.01
#: The protocol "category-draws": draws of each code, and the share of test images that are called ambiguous.
CATEGORY_DRAWS, AMBIGUOUS = 32, 0.05


def mode_information_of(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """Whether the category that a sample is drawn of says which mode of the data it shows; figure 5.

    Modes are the classes of the test points, the nearest one is that whose mean is nearest.

    Returns:
        `mode_information` and `mode_entropy` in nats, `astray` in percent; see `ModeInformation`.
    """
    test = splits.test.with_known_labels()
    assert model.components is not None  # noqa: S101 - checked
    x, y = samples_by_category(model, model.components, SAMPLES, dtype)
    found = mode_information(x.flatten(1), y, as_float(test.images).flatten(1), test.labels)
    return {"mode_information": found.information, "mode_entropy": found.entropy, "astray": found.astray}


def check_mode_information(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError for a model without categories, or test images without labels."""
    if not model.can("sample") or model.components is None or not len(splits.test.with_known_labels()):
        raise UnsupportedError(
            "The protocol 'mode-information' needs a model that draws images of a category, and test images with "
            "labels."
        )


def samples_by_category(model: Model, categories: int, each: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Draw so many images of each category, (n, c, h, w), and say of which, (n,)."""
    y, generator = torch.arange(categories * each) % categories, torch.Generator().manual_seed(0)
    with evaluation(model), autocast(model.device, dtype):
        return model.sample(len(y), y, generator).float().cpu(), y


def posterior_divergence(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """How far the learned posterior of a few data points is from the true one; figures 8 and 9.

    Returns:
        `posterior_divergence`, the Jensen-Shannon divergence of p(z|x) and q(z|x) in nats, its mean over the data
        points (at most log 2 = 0.69; log 2 for a point that is never drawn); `aggregated_divergence`, the same of p(z)
        and the mean of q(z|x) over the points; `points_drawn`, how many are drawn at all.
    """
    found = posteriors(model, splits, dtype)
    return {
        "posterior_divergence": float(found.divergences.mean()),
        "aggregated_divergence": found.aggregated_divergence,
        "points_drawn": float((found.true.sum(dim=1) > 0).sum()),
    }


def check_posterior_divergence(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError where there are no posteriors to compare."""
    if not can_compare_posteriors(model) or not len(splits.test.with_known_labels()):
        raise UnsupportedError(
            "The protocol 'posterior-divergence' needs an InfoGAN or an autoencoder with noise on both ways, a "
            "Gaussian prior of two dimensions, and test images with labels."
        )


def posteriors(model: Model, splits: Splits, dtype: torch.dtype) -> Posteriors:
    """Find true and learned posteriors of the data points, which are the means of the classes of the test images.

    p(x|z) of a data point is the share of draws x = g(z, n) that are nearer to it than to the others.
    """
    test = splits.test.with_known_labels()
    assert isinstance(model, InfoGAN | TwoWay) and isinstance(model.prior, Gaussian)  # noqa: S101, PT018 - checked
    x = as_float(test.images)
    points = torch.stack([x[test.labels == k].mean(dim=0) for k in sorted(set(test.labels.tolist()))])
    generator = torch.Generator().manual_seed(0)

    def nearest_points(z: Tensor) -> Tensor:
        drawn = model.decode(z.repeat(LIKELIHOOD_DRAWS, 1), generator).float().flatten(1)
        shown = torch.cdist(drawn, points.flatten(1).to(drawn.device)).argmin(dim=1)
        hits = nn.functional.one_hot(shown, len(points)).float()
        return hits.reshape(LIKELIHOOD_DRAWS, len(z), len(points)).mean(dim=0)

    repeated = points.repeat_interleave(POSTERIOR_DRAWS, dim=0)
    with same_noise(model):
        draws = apply(model, model.draw_code, repeated, dtype, batch_size=POSTERIOR_DRAWS)
    return grid_posteriors(
        lambda z: apply(model, nearest_points, z, dtype, batch_size=5000),
        model.prior.log_prob,
        draws.reshape(len(points), POSTERIOR_DRAWS, 2),
        model.prior.std,
    )


def can_compare_posteriors(model: Model) -> bool:
    """Whether q(z|x) can be drawn from, and z is a point of the plane."""
    prior = getattr(model, "prior", None)
    return isinstance(model, InfoGAN | TwoWay) and isinstance(prior, Gaussian) and prior.dim == 2


def stochastic_reconstruction(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """What several reconstructions of an image have in common, and what not; figure 2 in numbers.

    Of each of the first thousand test images ten are drawn, with noise of their own. A classifier of real images, see
    `train_classifier`, looks at all of them.

    Returns:
        `label_kept`, the percentage of reconstructions that it puts into the class that it puts the image into;
        `draw_variance`, the variance of a pixel over reconstructions of the same image, summed over pixels, its mean
        over images; `copied`, the percentage of reconstructions that are nearer (in Euclidean distance of pixels) to a
        training image than 99 % of the test images are: about 1 if they are as far from the training images as new
        images, more if they are copies, or if they are smoother than images are; `label_classifier_error`, of the
        classifier on the test images, in percent.
    """
    classifier, test = trained_classifier(model, splits, dtype, progress)
    some = test.subset(torch.arange(min(len(test), RECONSTRUCTED)))
    draws = reconstruction_draws(model, splits, some.images, DRAWS, dtype)  # (n, draws, c, h, w)
    shown = classify(classifier, some.images, splits.binarize).argmax(dim=1)
    kept = classify(classifier, draws.flatten(0, 1)).argmax(dim=1).reshape(draws.shape[:2]) == shown[:, None]
    originals = as_float(some.images, splits.binarize, torch.Generator().manual_seed(0))
    near = distance_to_nearest(originals, splits.train.images)
    mine = distance_to_nearest(draws[:, 0], splits.train.images)
    return {
        "label_kept": float(100 * kept.float().mean()),
        "draw_variance": float(draws.var(dim=1).flatten(1).sum(dim=1).mean()),
        "copied": float(100 * (mine < near.quantile(COPY_SHARE)).float().mean()),
        "label_classifier_error": float(100 * (shown != some.labels).float().mean()),
    }


def check_stochastic_reconstruction(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError for a model that is no autoencoder, or where no classifier can learn."""
    if not (model.can("encode") and model.can("decode")):
        raise UnsupportedError(f"The protocol 'stochastic-reconstruction' is for autoencoders, not {model.kind!r}.")
    check_classifier(splits)


def reconstruction_draws(model: Model, splits: Splits, images: Tensor, draws: int, dtype: torch.dtype) -> Tensor:
    """Reconstruct each image so many times with noise of its own, (n, draws, c, h, w); the same at every call."""
    generator = torch.Generator().manual_seed(0)

    def reconstruct(x: Tensor) -> Tensor:
        return model.decode(model.draw_code(x) if isinstance(model, TwoWay) else model.encode(x), generator)

    with same_noise(model):
        found = [apply(model, reconstruct, images, dtype, splits.binarize) for _ in range(draws)]
    return torch.stack(found, dim=1)


def category_draws_of(
    model: Model, splits: Splits, dtype: torch.dtype, state: Path | None = None, progress: Advance | None = None
) -> dict[str, float]:
    """Whether draws of the posterior's noise change the category where the image is ambiguous; section 3.1.

    Ambiguous are the 5 % of the test images of which a classifier of real images is least sure.

    Returns:
        The percentage of images whose category is not the same in 32 draws: `changing_ambiguous` of those,
        `changing_clear` of all others, where there are others.
    """
    assert isinstance(model, TwoWay)  # noqa: S101 - checked
    classifier, test = trained_classifier(model, splits, dtype, progress)
    sure = classify(classifier, test.images, splits.binarize).amax(dim=1)
    ambiguous = torch.zeros(len(test), dtype=torch.bool)
    ambiguous[sure.argsort()[: max(1, round(AMBIGUOUS * len(test)))]] = True
    drawn = category_draws(model, splits, test.images, CATEGORY_DRAWS, dtype)
    changing = (drawn != drawn[:, :1]).any(dim=1).float()
    results = {"changing_ambiguous": float(100 * changing[ambiguous].mean())}
    if not ambiguous.all():
        results["changing_clear"] = float(100 * changing[~ambiguous].mean())
    return results


def check_category_draws(model: Model, splits: Splits) -> None:
    """Raise UnsupportedError for a model whose category no noise changes, or where no classifier can learn."""
    if not isinstance(model, TwoWay) or model.categories is None or not model.config.posterior_noise:
        raise UnsupportedError(
            "The protocol 'category-draws' needs a model with a categorical code and a stochastic posterior: set "
            "model.posterior=stochastic and model.posterior_noise."
        )
    check_classifier(splits)


def category_draws(model: TwoWay, splits: Splits, images: Tensor, draws: int, dtype: torch.dtype) -> Tensor:
    """Draw the code of each image so many times and return its category each time, (n, draws); always the same."""

    def category(x: Tensor) -> Tensor:
        return model.draw_code(x)[:, model.categories].argmax(dim=1)

    with same_noise(model):
        found = [apply(model, category, images, dtype, splits.binarize) for _ in range(draws)]
    return torch.stack(found, dim=1).long()


@contextmanager
def same_noise(model: Model) -> Iterator[None]:
    """Let a model draw the same noise whenever this `with` block is entered; its own noise is as it was afterwards."""
    own = model.rng
    model.seed_noise(0, model.device)
    try:
        yield
    finally:
        model.rng = own
        bind_rng(model, own)

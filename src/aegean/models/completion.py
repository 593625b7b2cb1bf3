"""Completing partial images with a PixelCNN decoder: draws of p(unknown pixels | known pixels)."""

from collections.abc import Callable

import torch
from torch import Tensor

from aegean.errors import ConfigError
from aegean.likelihoods import Likelihood
from aegean.nn.pixelcnn import PixelCNN
from aegean.nn.pixelcnn_sampling import sample
from aegean.priors import Categorical, Prior

#: Images drawn at a time.
DRAWN_AT_ONCE = 200


@torch.no_grad()
def complete(
    network: PixelCNN,
    likelihood: Likelihood,
    prior: Prior | None,
    x: Tensor,
    known: Tensor,
    *,
    candidates: int = 100,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Draw the unknown pixels of images, given the known ones.

    The code of a partial image is unknown, too; it is drawn by sampling importance resampling from the prior (Rubin,
    1988), candidates weighted by the probability of the known pixels. Two cases:

    - *All known pixels precede the unknown ones* in raster order (the upper half, say). Then log p(known | z) is exact:
      the first terms of log p(x|z). With a categorical prior the candidates are all categories and the completion is an
      exact draw; with another one it is as good as the candidates cover the posterior of the code.
    - *Some do not* (the lower half). A PixelCNN draws a pixel from those before it and cannot look ahead. So each
      candidate is a code with a whole completion, drawn around the known pixels, and its weight the probability that
      the model would have drawn the known pixels itself: the product of p(x_i | pixels before, z) over known i. The
      chosen completion becomes an exact draw as the number of candidates grows; with few it only is the
      best of what chance offered.

    Args:
        network: the decoder.
        likelihood: what its outputs parametrise.
        prior: p(z); None for a PixelCNN without a code.
        x: images in [0, 1], (n, c, h, w); what their unknown pixels are does not matter.
        known: True where a pixel of `x` is known; boolean, (h, w) or (n, 1, h, w).
        candidates: how many codes, or completions, are weighed for each image; rounded up to the same number for
            each category, where the prior is categorical.
        generator: of all draws; one on the CPU gives the same draws for every device.
        progress: called with the work done and the work in all.

    Returns:
        Images in [0, 1], float32, (n, c, h, w), on the device of the network; their known pixels are those of `x`.

    Raises:
        DataError: `x` is not images in [0, 1].
        ConfigError: images, mask or number of candidates do not fit.
    """
    likelihood.check(x)
    if tuple(x.shape[1:]) != network.shape or not len(x):
        raise ConfigError(f"The model completes images of shape {network.shape}; found {tuple(x.shape)}.")
    n, _, height, width = x.shape
    if known.dtype != torch.bool or known.shape not in ((height, width), (n, 1, height, width)):
        raise ConfigError(
            f"The mask of {n} images of {height}x{width} pixels must be boolean and of shape {(height, width)} or "
            f"{(n, 1, height, width)}, not {known.dtype} of {tuple(known.shape)}."
        )
    if candidates < 1:
        raise ConfigError(f"{candidates} candidates; an image needs 1 or more to choose from.")
    report = progress or (lambda done, work: None)
    device = next(network.parameters()).device
    x, known = x.to(device), known.to(device).expand(n, 1, height, width)
    if precede(known):
        codes, log_prior = _candidates(prior, 1, candidates, generator)
        work = len(codes) + height
        log_posterior = code_posterior(
            network, likelihood, x, known, codes.to(device), log_prior.to(device), lambda done: report(done, work)
        )
        z = codes[(log_posterior.cpu().double() + _gumbel(log_posterior.shape, generator)).argmax(dim=1)].to(device)
        return sample(
            network, likelihood, z, n, network.shape, generator=generator, given=x, known=known,
            progress=lambda row, rows: report(len(codes) + row, work),
        )  # fmt: skip

    codes, log_prior = _candidates(prior, candidates, candidates, generator)
    chosen, best = x, torch.full((n,), -torch.inf, dtype=torch.float64)
    at_once = max(1, DRAWN_AT_ONCE // n)
    for start in range(0, len(codes), at_once):
        z, log_p = codes[start : start + at_once].to(device), log_prior[start : start + at_once].to(device)
        k = len(z)
        z, given, mask = z.repeat_interleave(n, dim=0), x.repeat(k, 1, 1, 1), known.repeat(k, 1, 1, 1)  # (k n, ...)
        drawn = sample(network, likelihood, z, k * n, network.shape, generator=generator, given=given, known=mask)
        log_weight = log_p[:, None] + _log_known(network, likelihood, drawn, mask, z).view(k, n)
        # The largest of log-weights with Gumbel noise is a draw by the weights, over any number of rounds.
        score, index = (log_weight.cpu().double() + _gumbel(log_weight.shape, generator)).max(dim=0)
        winners = drawn.view(k, *x.shape)[index.to(device), torch.arange(n, device=device)]
        chosen = torch.where((score > best).to(device)[:, None, None, None], winners, chosen)
        best = torch.maximum(score, best)
        report(start + k, len(codes))
    return chosen


@torch.no_grad()
def code_posterior(
    network: PixelCNN,
    likelihood: Likelihood,
    x: Tensor,
    known: Tensor,
    codes: Tensor,
    log_prior: Tensor,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Return log p(code k | known pixels) of some codes, (n, k), where the known pixels precede the others.

    Args:
        network: the decoder.
        likelihood: what its outputs parametrise.
        x: images in [0, 1], (n, c, h, w).
        known: boolean, (n, 1, h, w); see `precede`.
        codes: (k, d).
        log_prior: log p(code k), up to a constant, (k,).
        progress: called with the codes done.
    """
    terms = []
    for code, log_p in zip(codes, log_prior, strict=True):
        terms.append(log_p + _log_known(network, likelihood, x, known, code.expand(len(x), -1)))
        if progress:
            progress(len(terms))
    return torch.stack(terms, dim=1).log_softmax(dim=1)


def precede(known: Tensor) -> bool:
    """Whether in every mask (n, 1, h, w) all known pixels stand before the unknown ones, row by row from the top."""
    flat = known.flatten(1)
    return bool((flat[:, 1:] <= flat[:, :-1]).all())


def _log_known(network: PixelCNN, likelihood: Likelihood, x: Tensor, known: Tensor, z: Tensor) -> Tensor:
    """Sum of log p(x_i | pixels before, z) over the known pixels, (n,)."""
    log_prob = likelihood.pixel_log_prob(network(x, z), x)  # (n, h, w)
    return (log_prob * known[:, 0]).sum(dim=(1, 2))


def _candidates(
    prior: Prior | None, repeats: int, draws: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return codes (k, d) with their log-weights before any pixel is seen, (k,): categories as often as each other."""
    if prior is None:
        return torch.zeros(repeats, 0), torch.zeros(repeats)
    if isinstance(prior, Categorical):
        codes = torch.eye(prior.categories).repeat(-(-repeats // prior.categories), 1)
        return codes, prior.log_prob(codes)
    return prior.sample(draws, generator=generator), torch.zeros(draws)


def _gumbel(shape: torch.Size, generator: torch.Generator | None) -> Tensor:
    device = "cpu" if generator is None else generator.device
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
    return -(-uniform.clamp(min=2.0**-54).log()).log().cpu()

"""Parzen-window log-likelihood: how probable test images are under a Gaussian blur of a model's samples.

The protocol of Goodfellow et al. 2014 (section 5, and `parzen_ll.py` of their code), which Table 1 of "Adversarial
Autoencoders" follows with ten thousand and with ten million samples. The estimate rewards smooth samples and is known
to rank models badly (Theis et al. 2016): centroids of k-means score far more than as many training images
(`benchmarks/parzen_controls.py`). Give it beside such controls (`kmeans_centroids`, and training images themselves).
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from aegean.errors import DataError
from aegean.files import atomic_write
from aegean.models.base import read_tensors

#: Samples `start` to `stop` (exclusive) as float images in [0, 1], shape (stop - start, ...). A pure function of its
#: arguments, so that an interrupted estimate can go on: seed a generator by `start`, for example.
Centres = Callable[[int, int], Tensor]

#: The official candidates for sigma: ten, from 0.1 to 1.
OFFICIAL_SIGMAS: tuple[float, ...] = tuple(np.logspace(-1, 0, 10).tolist())
#: The official ones lie 29 % apart: the best sigma half-way between two costs some 15 nats on MNIST. These lie 5 %
#: apart, from 0.1 to 0.3, around the best ones of MNIST (0.15 to 0.2).
FINE_SIGMAS: tuple[float, ...] = tuple(np.geomspace(0.1, 0.3, 23).tolist())
#: Images that choose sigma.
VALIDATION_IMAGES = 1000

# Images at a time. Pairs of these and of a block of centres stay in the cache, and the product of matrices that
# makes them is large enough to run at full speed.
_ROWS = 1000


@dataclass(frozen=True)
class Estimate:
    """Mean log-likelihood of the test images at one sigma.

    Attributes:
        log_likelihood: in nats an image.
        standard_error: of that mean, over test images alone: standard deviation / sqrt(images). It leaves out that
            other samples of the model would have given another mean.
        sigma: standard deviation of the Gaussian around each centre.
    """

    log_likelihood: float
    standard_error: float
    sigma: float


@dataclass(frozen=True)
class ParzenResult:
    """What the samples of a model score.

    Attributes:
        official: with sigma from `OFFICIAL_SIGMAS`, which published figures are comparable with.
        fine: with sigma from `FINE_SIGMAS`.
        samples: number of centres.
    """

    official: Estimate
    fine: Estimate
    samples: int


def parzen(
    centres: Centres,
    n: int,
    validation: Tensor,
    test: Tensor,
    *,
    block: int = 2000,
    state: Path | None = None,
    key: str = "",
    progress: Callable[[int], None] | None = None,
) -> ParzenResult:
    """Estimate the log-likelihood of test images; sigma is chosen by the mean over validation images.

    Centres are asked for twice: once for all candidates of sigma on the validation images, and once for the two
    chosen ones on the test images.

    Args:
        centres: see `Centres`.
        n: number of centres.
        validation: float images in [0, 1], shape (v, ...); the first 1000 are used, as in the protocol.
        test: float images in [0, 1], shape (m, ...).
        block: centres at a time.
        state: a folder for `log_density`'s states of the two passes, which are deleted when all is done.
        key: what the centres come from (the hash of a model and a seed, say).
        progress: called with the number of pairs done, of `n * (min(v, 1000) + m)`.

    Raises:
        DataError: images are not floats in [0, 1], or see `log_density`.
    """
    for images in (validation, test):
        if not images.is_floating_point() or not ((images >= 0) & (images <= 1)).all():
            raise DataError("Parzen estimates are of float images in [0, 1]; divide bytes by 255.")
    validation = validation[:VALIDATION_IMAGES]

    def density(name: str, x: Tensor, sigmas: Sequence[float], before: int) -> Tensor:
        file = state / f"{name}.safetensors" if state else None
        report = (lambda done: progress(before + done * len(x))) if progress else None
        return log_density(centres, n, x, sigmas, block=block, state=file, key=key, progress=report)

    means = density("validation", validation, OFFICIAL_SIGMAS + FINE_SIGMAS, 0).mean(dim=1)
    split = len(OFFICIAL_SIGMAS)
    chosen = OFFICIAL_SIGMAS[int(means[:split].argmax())], FINE_SIGMAS[int(means[split:].argmax())]
    official, fine = density("test", test, chosen, n * len(validation))
    if state:
        for name in ("validation", "test"):
            (state / f"{name}.safetensors").unlink()
    return ParzenResult(_estimate(official, chosen[0]), _estimate(fine, chosen[1]), n)


@torch.inference_mode()
def log_density(
    centres: Centres,
    n: int,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    block: int = 2000,
    state: Path | None = None,
    key: str = "",
    progress: Callable[[int], None] | None = None,
    save_every: float = 60.0,
) -> Tensor:
    """Return the log-density of images under a mixture of `n` equal isotropic Gaussians, for several sigmas.

    log p(x) = logsumexp_i(-|x - c_i|² / 2σ²) - log n - d/2 log 2πσ². The logsumexp runs along blocks of centres, so
    memory does not grow with `n`, and products are full float32 (no TF32, no bfloat16).

    Args:
        centres: called with `start`, a multiple of `block`, and `stop`, `block` more (less in the last call).
        n: number of centres.
        x: float images, shape (m, ...), on the device that computes.
        sigmas: standard deviations; each costs another exponential of all pairs, but no other distances.
        block: centres at a time.
        state: a file that keeps what was summed; an interrupted call that is repeated goes on from it. It stays after
            the last block, and then the same call returns at once: delete it when it is no longer needed.
        key: what the centres come from; a state of another key, of other images, sigmas, `n` or `block` is refused.
        progress: called with the number of centres done, after each block.
        save_every: seconds between two writings of the state.

    Returns:
        float64 on the CPU, shape (len(sigmas), m), in nats.

    Raises:
        DataError: sizes do not fit, a number is NaN or infinite, or the state belongs to something else.
        CheckpointError: the state is damaged.
        OutputError: the state cannot be written.
    """
    if n < 1 or block < 1:
        raise DataError(f"{n} centres in blocks of {block}; give at least one of each.")
    if not sigmas or not all(0 < sigma < math.inf for sigma in sigmas):
        raise DataError(f"sigmas {list(sigmas)}; give at least one, each positive and finite.")
    x = _flat(x, "images")
    if not len(x) or not x.isfinite().all():
        raise DataError(f"{len(x)} images to judge, or some with NaN or infinite pixels; give finite ones.")
    fingerprint = _fingerprint(x, [n, block, list(sigmas), key])
    # A shift changes no distance, but around zero |c|² - 2cx + |x|² cancels less.
    shift = x.mean(dim=0)
    x = x - shift
    m, d = x.shape
    # Distances are kept without their |x|², which is the same for all centres and is added at the end.
    nearest = torch.full((m,), torch.inf, device=x.device)
    sums = torch.zeros(len(sigmas), m, dtype=torch.float64, device=x.device)  # of exp((nearest - distance) / 2σ²)
    precisions = [0.5 / sigma**2 for sigma in sigmas]
    scales = torch.tensor(precisions, dtype=torch.float64, device=x.device)[:, None]
    done = _read_state(state, fingerprint, nearest, sums) if state else 0
    distances, powers = torch.empty(2, min(m, _ROWS), min(n, block), device=x.device)
    saved = time.monotonic()
    with _full_float32():
        for start in range(done, n, block):
            stop = min(start + block, n)
            c = _flat(centres(start, stop), "centres").to(x.device)
            if c.shape != (stop - start, d):
                raise DataError(f"centres {start} to {stop}: shape {tuple(c.shape)}, expected {(stop - start, d)}.")
            c = c - shift
            norms = c.square().sum(dim=1)
            if not norms.isfinite().all():
                raise DataError(f"centres {start} to {stop}: some are NaN or infinite; look at the model's samples.")
            for first in range(0, m, _ROWS):
                rows = slice(first, min(first + _ROWS, m))
                size = rows.stop - first, len(c)
                distance, power = (buffer.view(-1)[: size[0] * size[1]].view(size) for buffer in (distances, powers))
                torch.addmm(norms, x[rows], c.T, alpha=-2, out=distance)
                before, now = nearest[rows].clone(), torch.minimum(nearest[rows], distance.amin(dim=1))
                distance -= now[:, None]
                sums[:, rows] *= torch.exp((now - before).double() * scales)
                for k, precision in enumerate(precisions):
                    # Powers of two, because `exp` of very negative numbers takes ten times longer on some processors,
                    # as do numbers below 2^-126, which add nothing here.
                    torch.mul(distance, -precision / math.log(2), out=power).clamp_(min=-126.0).exp2_()
                    sums[k, rows] += power.sum(dim=1)
                nearest[rows] = now
            if state and (stop == n or time.monotonic() - saved >= save_every):
                tensors = {"done": torch.tensor(stop), "nearest": nearest, "sums": sums, "fingerprint": fingerprint}
                atomic_write(state, save(tensors))
                saved = time.monotonic()
            if progress:
                progress(stop)
    squares = nearest.double() + x.double().square().sum(dim=1)
    volume = math.log(n) + 0.5 * d * torch.log(math.pi / scales)
    return (sums.log() - squares * scales - volume).cpu()


def kmeans_centroids(images: Tensor, k: int, *, seed: int = 0, iterations: int = 5) -> Tensor:
    """Return centroids of k-means, a control for Parzen estimates: smooth averages, without any model.

    Lloyd's algorithm on all images from `k` of them as a start. With 10,000 centroids of 50,000 images of MNIST an
    iteration takes about ten seconds on one core, and the fifth lowers the mean squared distance by only 0.1 %.

    Args:
        images: float, shape (m, ...).
        k: number of centroids, at most `m`.
        seed: of the start.
        iterations: at most so many.

    Returns:
        float32 on the CPU, shape (k, ...).

    Raises:
        DataError: `k` is not between 1 and `m`, or pixels are NaN or infinite.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415 - slow to import

    x = _flat(images, "images")
    if not 1 <= k <= len(x) or not x.isfinite().all():
        raise DataError(f"{k} centroids of {len(x)} images; give 1 to {len(x)}, and finite images.")
    model = KMeans(k, init="random", n_init=1, max_iter=iterations, random_state=seed, algorithm="lloyd")
    centroids = model.fit(x.cpu().numpy()).cluster_centers_
    return torch.from_numpy(centroids.astype(np.float32)).reshape(k, *images.shape[1:])


def _estimate(log_likelihoods: Tensor, sigma: float) -> Estimate:
    error = log_likelihoods.std(correction=0).item() / math.sqrt(len(log_likelihoods))
    return Estimate(log_likelihoods.mean().item(), error, sigma)


def _flat(images: Tensor, name: str) -> Tensor:
    if not images.is_floating_point() or images.ndim < 2:
        raise DataError(f"{name}: {images.dtype}, shape {tuple(images.shape)}; expected floats, shape (n, ...).")
    return images.flatten(1).float()


def _fingerprint(x: Tensor, values: list[object]) -> Tensor:
    """Return a hash of everything that a state depends on, as 32 bytes."""
    digest = hashlib.sha256(json.dumps([*values, list(x.shape)]).encode())
    digest.update(x.cpu().numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def _read_state(file: Path, fingerprint: Tensor, nearest: Tensor, sums: Tensor) -> int:
    """Fill `nearest` and `sums` from a file, where there is one, and return the number of centres that are in them."""
    if not file.exists():
        return 0
    found = read_tensors(file)
    if "fingerprint" not in found or not torch.equal(found["fingerprint"], fingerprint):
        raise DataError(f"{file}: the state of another estimate (other centres, images or sigmas); delete it first.")
    nearest.copy_(found["nearest"])
    sums.copy_(found["sums"])
    return int(found["done"])


@contextmanager
def _full_float32() -> Iterator[None]:
    """Keep torch from multiplying float32 matrices in fewer bits, where somebody allowed it to."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision

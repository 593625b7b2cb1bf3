"""How much of what a model is told it lets be seen: information between the category and the mode that is drawn."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import mutual_info_score

from aegean.errors import DataError
from aegean.evaluate.classification import Array, as_labels

#: Real points of which this share is nearer to their mode says how far from it a sample may be.
WITHIN = 0.99


@dataclass(frozen=True)
class ModeInformation:
    """What samples of each category show.

    Attributes:
        information: mutual information of the category and the mode nearest to the sample, in nats; 0 where the
            category is ignored, log K where each of K categories draws a mode of its own, equally often.
        entropy: of the modes over all samples, in nats: what the information could be at most.
        astray: percentage of samples farther from the nearest mode than 99 % of the real points are from theirs.
    """

    information: float
    entropy: float
    astray: float


def mode_information(samples: Array, categories: Array, points: Array, modes: Array) -> ModeInformation:
    """Assign samples to modes, and compare the modes with the categories that were given.

    The information is that of the counts. Of n samples in K categories and K modes it is too large by about
    (K - 1)² / 2n nats where there is none.

    Args:
        samples: drawn by the model, float (n, d).
        categories: the category that each was drawn of, integers (n,).
        points: real ones, float (m, d), whose means by mode are the modes' centres.
        modes: of the real points, integers (m,).

    Raises:
        DataError: shapes do not fit.
    """
    x, real = np.asarray(samples, dtype=np.float64), np.asarray(points, dtype=np.float64)
    given, mode = as_labels(categories, "categories"), as_labels(modes, "modes")
    if x.ndim != 2 or real.ndim != 2 or x.shape[1] != real.shape[1] or (len(x), len(real)) != (len(given), len(mode)):
        raise DataError(
            f"expected samples (n, d) with n categories and points (m, d) with m modes; found {x.shape}, "
            f"{given.shape}, {real.shape} and {mode.shape}."
        )
    centres = np.stack([real[mode == k].mean(axis=0) for k in np.unique(mode)])
    distance = np.linalg.norm(x[:, None] - centres[None], axis=2)  # (n, k)
    nearest = distance.argmin(axis=1)
    own = np.linalg.norm(real[:, None] - centres[None], axis=2).min(axis=1)
    # Rounding: of points without any spread, samples at the very centre are not astray.
    limit = np.quantile(own, WITHIN) + 1e-6
    return ModeInformation(
        information=float(mutual_info_score(given, nearest)),
        entropy=float(mutual_info_score(nearest, nearest)),
        astray=float(100 * np.mean(distance.min(axis=1) > limit)),
    )

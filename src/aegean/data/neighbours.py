"""Which images of a data set look alike: of each, the nearest others."""

import logging
from collections.abc import MutableMapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

_log = logging.getLogger(__name__)

#: What was found for images that are still in memory: trainings that differ in labels alone, as those of
#: cross-validation, look once.
_found: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()
#: At least so many are looked for, which takes as long as fewer: some of them link images, all say what is merged.
AT_LEAST = 20

#: Principal components that distances are measured on, images at a time, and the side that larger ones are reduced to.
COMPONENTS, BLOCK, SIDE = 50, 2000, 32
#: So many images take about a second, and twice as many four.
MANY = 13_000


def nearest(data: Tensor, count: int) -> Tensor:
    """Return, of each image, the `count` others that are nearest to it, nearest first.

    Near is what is near on the first 50 principal components, of images after a mean over 3x3 pixels, so that strokes
    that lie side by side count as close; of MNIST's training images, 97 % of the five nearest are of the same digit.
    What was found for the same tensor is returned again.

    Args:
        data: uint8 images (n, c, h, w), or float vectors of the same rank, (n, d, 1, 1); not to be changed afterwards.
        count: at least 1, and below n.

    Returns:
        Indices, int64, shape (n, count), on the CPU.

    """
    if data not in _found or _found[data].shape[1] < count:
        _found[data] = _search(data, min(max(count, AT_LEAST), len(data) - 1))
    return _found[data][:, :count]


def _search(data: Tensor, count: int) -> Tensor:
    from sklearn.decomposition import PCA  # noqa: PLC0415 - slow to import
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - as well

    if len(data) >= MANY:
        _log.info("Looking for the images that look alike, once: %.0f seconds a core.", (len(data) / MANY) ** 2)
    rows = np.concatenate([_smoothed(data[start : start + BLOCK]) for start in range(0, len(data), BLOCK)])
    components = min(COMPONENTS, *rows.shape)
    codes = PCA(components, random_state=0).fit_transform(rows)
    found = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(codes).kneighbors(return_distance=False)
    return torch.from_numpy(found.astype(np.int64))


def _smoothed(data: Tensor) -> np.ndarray:
    x = data.float().cpu()
    if x.shape[-1] > 1:
        x = functional.avg_pool2d(x, 3, stride=1, padding=1)
    if max(x.shape[-2:]) > SIDE:
        x = functional.interpolate(x, size=tuple(min(SIDE, side) for side in x.shape[-2:]), mode="area")
    return x.flatten(1).numpy()

"""One size for images of many sizes, and the reason in words."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

#: The longer side of images whose size is chosen.
LONGEST = 64
#: Images that are all of one size are left so up to this side; larger ones come from a camera.
LEFT_ALONE = 128

Size = tuple[int, int]


def choose_size(sizes: Mapping[Size, int]) -> tuple[Size, str]:
    """Choose a size for images.

    One size up to `LEFT_ALONE` stays. Otherwise the size has the median proportions and the median longer side, at most
    `LONGEST`, rounded to sides that networks can halve three times (twice, where a side is below 32).

    Args:
        sizes: how many images there are of each (height, width); at least one.

    Returns:
        (height, width), and a sentence that says why; "" where nothing was chosen.
    """
    if len(sizes) == 1 and max(next(iter(sizes))) <= LEFT_ALONE:
        return next(iter(sizes)), ""
    height, width = np.array(list(sizes), dtype=float).T
    counts = np.array(list(sizes.values()))
    ratio = _median(np.log(height / width), counts)
    longer = min(_median(np.maximum(height, width), counts), LONGEST)
    chosen = (_halvable(longer * float(np.exp(min(ratio, 0)))), _halvable(longer * float(np.exp(-max(ratio, 0)))))
    found = (
        f"images are of {len(sizes)} sizes, from {_text(min(sizes))} to {_text(max(sizes))}"
        if len(sizes) > 1
        else f"images are {_text(next(iter(sizes)))}"
    )
    return chosen, (
        f"{found} (height x width); all are scaled to {_text(chosen)}, which has their usual proportions, a longer "
        f"side of at most {LONGEST} and sides that networks can halve. Choose another with the setting size."
    )


def _median(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """The smallest value that at least half of all are not above."""
    order = np.argsort(values)
    place = np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2)
    return float(values[order][place])


def _halvable(side: float) -> int:
    step = 8 if side >= 32 else 4
    return max(step, step * round(side / step))


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"

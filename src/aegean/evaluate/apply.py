"""Run a model over many images, a batch at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from aegean.data.images import Binarize, in_batches
from aegean.models.base import Model
from aegean.train.precision import autocast

#: Told what is being done, how much of it is done, and how much there is.
Advance = Callable[[str, int, int], None]


def progress_of(advance: Advance | None, what: str, total: int) -> Callable[[int], None] | None:
    """Return a function that passes on to `advance` how much of one kind of work is done; None if nobody is told."""
    return (lambda done: advance(what, done, total)) if advance else None


def apply(
    model: Model,
    task: Callable[[Tensor], Tensor],
    images: Tensor,
    dtype: torch.dtype = torch.float32,
    binarize: Binarize = None,
    batch_size: int = 500,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Return `task` of all images, in evaluation mode and without gradients.

    Args:
        model: the model, which is left in the mode it was in.
        task: one of its methods, such as `model.encode`.
        images: (n, c, h, w), uint8, or float32 in [0, 1].
        dtype: number format of network passes.
        binarize: how images are made black and white; must be what the model was trained with.
        batch_size: images at a time.
        progress: called with the number of images done.

    Returns:
        float32 on the CPU, (n, ...).
    """
    parts = []
    done = 0
    for x in in_batches(images, batch_size, model.device, binarize):
        with evaluation(model), autocast(model.device, dtype):
            parts.append(task(x).float().cpu())
        done += len(x)
        if progress:
            progress(done)
    return torch.cat(parts)


@contextmanager
def evaluation(model: Model) -> Iterator[None]:
    """Evaluation mode and no gradients for a `with` block."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)

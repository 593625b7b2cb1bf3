"""What the images that a model draws show: a classifier of real images looks at them.

The PixelGAN paper lets the reader look: at samples that are digits or merely strokes (figure 2), and at rows of one
class (figure 8). Here a small convolutional network, trained on all labels, looks instead.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aegean.data import Splits
from aegean.data.images import Binarize, ImageData, in_batches
from aegean.data.stream import Stream
from aegean.errors import DataError, UnsupportedError
from aegean.evaluate.apply import Advance, progress_of
from aegean.evaluate.classification import Array, as_labels
from aegean.models import Model
from aegean.nn import ConvEncoderConfig, MLPConfig
from aegean.train.precision import autocast

#: Mini-batches that the classifier learns from, images in each, and its rate at the start.
STEPS, BATCH_SIZE, RATE = 1000, 100, 3e-3


@dataclass(frozen=True)
class SampleClasses:
    """What a classifier says of samples.

    Attributes:
        entropy: of the mean predicted distribution over classes, in nats; log K where all K classes are drawn equally
            often, 0 where the model draws one class only.
        confidence: mean highest probability, in [0, 1]; low where samples are between the classes, or nothing. It is to
            be compared with the same classifier's on real images.
        agreement_percent: share of samples, drawn to be of a class, that the classifier takes for that class; None
            where they were not.
    """

    entropy: float
    confidence: float
    agreement_percent: float | None = None


def judge_samples(probabilities: Array, drawn: Array | None = None) -> SampleClasses:
    """Summarise what a classifier says of samples.

    Args:
        probabilities: of each class for each sample, (n, k); each row adds up to 1.
        drawn: the class that each sample was drawn to be of, integers, (n,); None if there was none.

    Raises:
        DataError: there is no sample, rows do not add up to 1, or classes do not fit.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or not p.size or not (p >= 0).all() or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        raise DataError(
            f"expected probabilities (n, k) whose rows add up to 1, found {p.shape}; give those of a classifier, after "
            "the softmax."
        )
    mean = p.mean(axis=0)
    entropy = -float((mean[mean > 0] * np.log(mean[mean > 0])).sum())
    agreement = None
    if drawn is not None:
        classes = as_labels(drawn, "drawn")
        if len(classes) != len(p) or classes.max() >= p.shape[1]:
            raise DataError(
                f"{len(p)} samples in {p.shape[1]} classes and {len(classes)} drawn classes up to {classes.max()} do "
                "not fit; give one class for each sample."
            )
        agreement = float(100 * np.mean(p.argmax(axis=1) == classes))
    return SampleClasses(max(entropy, 0.0), float(p.max(axis=1).mean()), agreement)


def train_classifier(
    data: ImageData,
    binarize: Binarize = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> nn.Module:
    """Train a small convolutional network for a thousand mini-batches; images of one row or column get an MLP.

    With all labels of MNIST it errs on 1.3 % of the test images, on scikit-learn's digits on 1.4 % (black and white
    at a threshold, and grey; one seed each).

    Args:
        data: images with labels, of two classes or more.
        binarize: as the model whose samples it will see was trained.
        device: where it learns and stays.
        dtype: number format of network passes.
        seed: of weights and order; the same seed gives the same network.
        progress: called with the mini-batches done, of `STEPS`.

    Returns:
        A network in evaluation mode, from images in [0, 1], (n, c, h, w), to logits, (n, data.classes).

    Raises:
        DataError: an image has no label, or all are of one class.
    """
    if len(data) == 0 or bool((data.labels < 0).any()) or len(torch.unique(data.labels)) < 2:
        raise DataError("A classifier needs images of two classes or more, all of them with labels; give such images.")
    # Each stage halves the image.
    stages = ((1, 3, 32), (1, 3, 64))[: int(math.log2(min(data.shape[1:])))]
    settings = ConvEncoderConfig(stages=stages) if stages else MLPConfig(widths=(100,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = settings.build_encoder(data.shape, data.classes).to(device)
    stream = Stream(data, BATCH_SIZE, seed, "classifier", binarize).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    network.train()
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        batch = stream.batch(step)
        with autocast(torch.device(device), dtype):
            logits = network(batch.x)
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits.float(), batch.y))
        optimizer.step()
        if progress:
            progress(step + 1)
    return network.eval()


def trained_classifier(
    model: Model, splits: Splits, dtype: torch.dtype, progress: Advance | None = None
) -> tuple[nn.Module, ImageData]:
    """Train a classifier on all training images with their true labels, and return it with the labelled test images."""
    train, test = splits.revealed.with_known_labels(), splits.test.with_known_labels()
    report = progress_of(progress, "training a classifier", STEPS)
    return train_classifier(train, splits.binarize, model.device, dtype, progress=report), test


def check_classifier(splits: Splits) -> None:
    """Raise UnsupportedError where there are too few labels for it."""
    train, test = splits.revealed.with_known_labels(), splits.test.with_known_labels()
    if len(torch.unique(train.labels)) < 2 or not len(test):
        raise UnsupportedError(
            "This protocol lets a classifier look; it needs training and test images with labels, of two classes or "
            "more."
        )


@torch.no_grad()
def classify(network: nn.Module, images: Tensor, binarize: Binarize = None) -> Tensor:
    """Return the probability of each class, float32 (n, k) on the CPU.

    Args:
        network: what `train_classifier` returned.
        images: uint8, or float32 in [0, 1], (n, c, h, w).
        binarize: how images are made black and white.
    """
    device = next(network.parameters()).device
    return torch.cat([network(x).float().softmax(dim=1).cpu() for x in in_batches(images, 500, device, binarize)])

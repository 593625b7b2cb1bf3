"""What a choice of settings is based on."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from aegean.data import ImageData, Splits
from aegean.data.neighbours import nearest

#: Images that are looked at to count the levels of their pixels, and labelled ones to see whether neighbours are alike.
LOOKED_AT = 2000
#: From fewer labelled images it cannot be said whether neighbours are of one class.
FEWEST_LABELLED = 20


@dataclass(frozen=True)
class DataSummary:
    """What is known of the training data.

    Attributes:
        n: training images.
        shape: (c, h, w) of one image; (d, 1, 1) of a vector.
        labelled: training images with a label.
        classes: of these labels.
        levels: different values that a pixel takes, if they are equally spaced; 256 otherwise.
        alike: share of the labelled images that look most like another labelled one of their class, in [0, 1]; None
            where there are too few to tell.
    """

    n: int
    shape: tuple[int, int, int]
    labelled: int = 0
    classes: int = 0
    levels: int = 256
    alike: float | None = None

    @classmethod
    def of(cls, splits: Splits) -> Self:
        """Summarise the training part of a data set."""
        train = splits.train
        labelled = splits.labelled
        return cls(
            len(train), train.shape, len(labelled), train.classes, _levels(train), _alike(train.subset(labelled))
        )

    @property
    def vectors(self) -> bool:
        """Whether these are vectors, not images."""
        return self.shape[1:] == (1, 1)

    @property
    def side(self) -> int:
        """The shorter side of an image, in pixels."""
        return min(self.shape[1:])

    @property
    def numbers(self) -> int:
        """How many numbers an image or a vector has."""
        channels, height, width = self.shape
        return channels * height * width

    @property
    def what(self) -> str:
        """A plural, for sentences."""
        return "vectors" if self.vectors else "images"

    @property
    def size(self) -> str:
        """The size of one, for sentences."""
        _, height, width = self.shape
        return f"{self.numbers} numbers" if self.vectors else f"{height}x{width} pixels"


def _alike(labelled: ImageData) -> float | None:
    if len(labelled) < FEWEST_LABELLED or labelled.classes < 2:
        return None
    some = labelled.subset(torch.arange(0, len(labelled), -(-len(labelled) // LOOKED_AT)))
    other = nearest(some.images, 1).flatten()
    return float((some.labels == some.labels[other]).double().mean())


def _levels(data: ImageData) -> int:
    if data.images.dtype != torch.uint8 or not len(data):
        return 256
    values = np.unique(data.images[:LOOKED_AT].cpu().numpy()).tolist()
    levels = len(values)
    spaced = levels > 1 and values == [round(255 * k / (levels - 1)) for k in range(levels)]
    return levels if spaced else 256

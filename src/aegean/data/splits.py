"""Training, validation and test images, and which labels training may see."""

import hashlib
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from aegean.config import Config
from aegean.data.images import Binarize, ImageData
from aegean.data.labels import balanced_subset, stratified_split
from aegean.data.scaling import FeatureScaler
from aegean.data.stream import Stream
from aegean.errors import DataError

#: How many images to hold out: their number (an integer), or a share of all, rounded up (a fraction below 1).
HeldOut = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)]

#: A report on images names so many of their sizes, the most frequent ones.
SHOWN_SIZES = 5

#: A file or folder. A configuration keeps it as text; `pathlib.Path` is accepted too.
PathText = Annotated[str, BeforeValidator(lambda path: os.fspath(path) if isinstance(path, Path) else path)]


@dataclass(frozen=True, eq=False)
class Splits:
    """Disjoint sets of images for training, choosing and judging.

    Attributes:
        train: the training images; their labels are -1 wherever training must not see them.
        validation: images for choices (settings, which cluster is which class), with every known label.
        test: images for the final judgement, with every known label.
        train_truth: the labels of the training images as they are, hidden ones too; int64, shape (n,). For
            evaluation only.
        pool: indices of the training images that unsupervised phases see; int64, ascending.
        binarize: how every image is to be made black and white; see `aegean.data.images.as_float`.
        description: one line on where the images are from and how they were split.
        skipped: one sentence for each damaged file that was left out.
        scaler: what brought features to [0, 1], for vectors.
        note: why the images are of the size they are; "" where nothing was chosen.

    Raises:
        DataError: the sets do not fit together.
    """

    train: ImageData
    validation: ImageData
    test: ImageData
    train_truth: Tensor
    pool: Tensor
    binarize: Binarize = None
    description: str = ""
    skipped: tuple[str, ...] = ()
    scaler: FeatureScaler | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for name, other in (("validation", self.validation), ("test", self.test)):
            if other.shape != self.train.shape or other.class_names != self.train.class_names:
                raise DataError(
                    f"Training images have the shape {self.train.shape} and {self.train.classes} classes, "
                    f"{name} images {other.shape} and {other.classes}; give both the same shape and classes."
                )
        seen = self.train.labels >= 0
        same = self.train_truth.shape == seen.shape and torch.equal(self.train_truth[seen], self.train.labels[seen])
        if not same:
            raise DataError(
                "A label that training sees differs from the true one in train_truth; hide labels with "
                "ImageData.without_labels."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (c, h, w) of one image."""
        return self.train.shape

    @property
    def classes(self) -> int:
        """Number of classes, 0 if none is known."""
        return self.train.classes

    @property
    def labelled(self) -> Tensor:
        """Indices of the training images whose labels training may use; int64, ascending."""
        return torch.nonzero(self.train.labels >= 0).flatten()

    @property
    def revealed(self) -> ImageData:
        """The training images with all labels that are known, those too that training does not see; to judge by."""
        return replace(self.train, labels=self.train_truth)

    def digest(self) -> str:
        """Return a digest of names, labels and the split, by which a run notices that its data has changed."""
        found = hashlib.blake2b(digest_size=16)
        found.update("\0".join(self.train.class_names).encode("utf-8", "surrogateescape"))
        for part, labels in (
            (self.train, self.train_truth),
            (self.train, self.train.labels),
            (self.validation, self.validation.labels),
            (self.test, self.test.labels),
        ):
            found.update(f"\0\0{len(part)}\0".encode())
            found.update(labels.cpu().numpy().tobytes())
            found.update("\0".join(part.names or ()).encode("utf-8", "surrogateescape"))
        return found.hexdigest()

    def streams(
        self, batch_size: int, labelled_batch_size: int, seed: int, neighbours: int = 0, pairs: int = 0
    ) -> dict[str, Stream]:
        """Return the mini-batches of training.

        Args:
            batch_size: of the pool.
            labelled_batch_size: of the labelled images.
            seed: of the order.
            neighbours: the pool's mini-batches come with one of so many images that look alike, for each image.
            pairs: not the pool's, but those of a stream of its own of so many images a mini-batch. 0: the pool's.

        Returns:
            `"images"`, the pool; `"labelled"`, the labelled images, if there are any; and `"pairs"`, the pool in other
            mini-batches, if they are asked for.

        Raises:
            ConfigError: there are fewer images than neighbours.
        """
        whole = len(self.pool) == len(self.train)
        images = self.train if whole else self.train.subset(self.pool)
        streams = {"images": Stream(images, batch_size, seed, "images", self.binarize, 0 if pairs else neighbours)}
        if pairs:
            streams["pairs"] = Stream(images, pairs, seed, "pairs", self.binarize, neighbours)
        if len(self.labelled):
            labelled = self.train.subset(self.labelled)
            streams["labelled"] = Stream(labelled, labelled_batch_size, seed, "labelled", self.binarize)
        return streams


@dataclass(frozen=True)
class DataReport:
    """What a source of images holds.

    Attributes:
        images: how many there are that can be read.
        classes: labelled images of each class.
        sizes: how many images are of each size, as "HxW".
        channels: 1 or 3.
        problems: one sentence for each thing that should be looked at.
        notes: one sentence for each thing that was chosen.
    """

    images: int
    classes: dict[str, int]
    sizes: dict[str, int]
    channels: int
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def labelled(self) -> int:
        """How many images have a label."""
        return sum(self.classes.values())

    def __str__(self) -> str:
        sizes = ", ".join(f"{count} of {size}" for size, count in list(self.sizes.items())[:SHOWN_SIZES])
        sizes += f" and {len(self.sizes) - SHOWN_SIZES} other sizes" if len(self.sizes) > SHOWN_SIZES else ""
        classes = ", ".join(f"{name} ({count})" for name, count in self.classes.items()) or "none"
        return "\n".join(
            (
                f"images    {self.images} in {'grey' if self.channels == 1 else 'colour'}",
                f"size      {sizes} (height x width)",
                f"labelled  {self.labelled}",
                f"classes   {classes}",
                *(f"note      {note}" for note in self.notes),
                *(f"problem   {problem}" for problem in self.problems),
            )
        )


class DataSettings(Config):
    """What every source of images has in common: which labels training sees, and in what form images arrive.

    Attributes:
        labels_per_class: labelled training images of each class, chosen at random; None uses every label
            there is, 0 none.
        label_seed: of that choice.
        pool_includes_labelled: whether unsupervised phases see the labelled images too, as images.
        binarize: None for grey values; `"threshold"` for black and white at 0.5, as in the PixelGAN paper;
            `"sample"` for a fresh draw at each visit.
    """

    labels_per_class: int | None = Field(default=None, ge=0)
    label_seed: int = Field(default=0, ge=0)
    pool_includes_labelled: bool = True
    binarize: Binarize = None

    def load(self) -> Splits:
        """Read the images and split them.

        Raises:
            DataError: images or labels are missing, damaged, or too few.
        """
        raise NotImplementedError

    def check(self) -> DataReport:
        """Count what there is; labels that training would not see count too.

        Raises:
            DataError: see `load`.
        """
        splits = self.load()
        parts = (splits.revealed, splits.validation, splits.test)
        c, h, w = splits.shape
        images = sum(len(part) for part in parts)
        classes = {name: sum(part.counts()[name] for part in parts) for name in splits.train.class_names}
        return DataReport(images, classes, {f"{h}x{w}": images}, c)

    def reveal(self, train: ImageData, validation: ImageData, test: ImageData, source: str) -> Splits:
        """Hide the labels of the training images, except as many as the settings allow.

        Args:
            train: with all labels that are known; likewise `validation` and `test`.
            validation: disjoint from the others.
            test: disjoint from the others.
            source: where the images are from, for the description.

        Raises:
            DataError: a class has fewer labels than `labels_per_class`.
        """
        if self.labels_per_class is None:
            keep = torch.nonzero(train.labels >= 0).flatten()
            choice = "every label that is known"
        else:
            keep = balanced_subset(train.labels, self.labels_per_class, self.label_seed, train.class_names)
            choice = f"{self.labels_per_class} a class, label seed {self.label_seed}"
        in_pool = torch.ones(len(train), dtype=torch.bool)
        if not self.pool_includes_labelled:
            in_pool[keep] = False
        return Splits(
            train=train.without_labels(keep),
            validation=validation,
            test=test,
            train_truth=train.labels,
            pool=torch.nonzero(in_pool).flatten(),
            binarize=self.binarize,
            description=(
                f"{source}: {len(train)} training images ({len(keep)} labelled: {choice}), "
                f"{len(validation)} validation, {len(test)} test"
            ),
        )


def check(source: DataSettings) -> DataReport:
    """Say what a source of images holds, and what should be looked at; see `DataReport`.

    Raises:
        DataError: there is nothing to look at.
    """
    return source.check()


class SplitSettings(DataSettings):
    """Settings of sources without official splits; alone, for arrays: `SplitSettings(test=0.2).split(data)`.

    Attributes:
        test: images held out for the final judgement: how many, or a share of all, rounded up.
        validation: images held out for choices; they come out of what the test images leave.
        split_seed: of the split, which is random and has every class in its proportion in every part.
    """

    test: HeldOut = 0.1
    validation: HeldOut = 0
    split_seed: int = Field(default=0, ge=0)

    def split(self, data: ImageData, source: str = "arrays", skipped: tuple[str, ...] = ()) -> Splits:
        """Split images and hide labels.

        Args:
            data: all images with all known labels.
            source: where they are from, for the description.
            skipped: sentences on files that were left out.

        Raises:
            DataError: there are too few images to hold out that many or to train on any, or too few labels.
        """
        sizes = [number_of(size, len(data)) for size in (self.test, self.validation)]
        if sum(sizes) >= len(data):
            raise DataError(
                f"{source}: {sizes[0]} test and {sizes[1]} validation images leave none of {len(data)} for "
                "training; hold out fewer."
            )
        test, validation, train = stratified_split(data.labels, sizes, self.split_seed)
        splits = self.reveal(data.subset(train), data.subset(validation), data.subset(test), source)
        return replace(splits, description=f"{splits.description}, split seed {self.split_seed}", skipped=skipped)


def number_of(held_out: int | float, n: int) -> int:
    """Return how many of n images a setting of the type `HeldOut` means."""
    # The subtraction keeps 0.07 * 100 = 7.000000000000001 from becoming 8.
    return held_out if isinstance(held_out, int) else math.ceil(held_out * n - 1e-9)

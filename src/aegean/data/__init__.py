"""Images and labels: benchmark sets, folders of one's own images, arrays; splits; mini-batches.

A *source* (`Folder`, `Arrays`, or a benchmark set such as `MNIST`) is a configuration. Its `load()` gives
`Splits`: training, validation and test images as `ImageData`, with the labels hidden that training must not see.
`Splits.streams` gives the mini-batches. Images lie in memory (or on the device) as uint8 (vectors as float32) and
are indexed a whole batch at a time.

    splits = Digits(labels_per_class=10).load()
    batch = splits.streams(batch_size=100, labelled_batch_size=100, seed=0)["images"].batch(step=0)
"""

from typing import Annotated

from pydantic import Field

from aegean.data.arrays import Arrays
from aegean.data.benchmarks import available, describe, fetch, settings_of
from aegean.data.celeba import CelebA
from aegean.data.cifar import CIFAR10
from aegean.data.digits import Digits
from aegean.data.faces import TFD, Faces
from aegean.data.files import Benchmark
from aegean.data.folder import Folder
from aegean.data.images import Binarize, ImageData, as_float, as_uint8, from_arrays
from aegean.data.labels import balanced_subset, stratified_split
from aegean.data.mnist import MNIST
from aegean.data.norb import NORB
from aegean.data.points import Points
from aegean.data.scaling import FeatureScaler
from aegean.data.splits import DataReport, DataSettings, Splits, SplitSettings, check
from aegean.data.stream import Batch, Stream
from aegean.data.svhn import SVHN
from aegean.data.vectors import Vectors, from_vectors, holds_vectors

#: Where images come from, for recipes; `kind` tells the sources apart.
DataConfig = Annotated[
    Digits | MNIST | SVHN | NORB | TFD | Faces | CIFAR10 | CelebA | Folder | Arrays | Vectors | Points,
    Field(discriminator="kind"),
]

__all__ = [
    "CIFAR10",
    "MNIST",
    "NORB",
    "SVHN",
    "TFD",
    "Arrays",
    "Batch",
    "Benchmark",
    "Binarize",
    "CelebA",
    "DataConfig",
    "DataReport",
    "DataSettings",
    "Digits",
    "Faces",
    "FeatureScaler",
    "Folder",
    "ImageData",
    "Points",
    "SplitSettings",
    "Splits",
    "Stream",
    "Vectors",
    "as_float",
    "as_uint8",
    "available",
    "balanced_subset",
    "check",
    "describe",
    "fetch",
    "from_arrays",
    "from_vectors",
    "holds_vectors",
    "settings_of",
    "stratified_split",
]

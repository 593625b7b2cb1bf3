"""Images and labels: benchmark sets, folders of one's own images, arrays; splits; mini-batches.

A *source* (`Digits`, `MNIST`, `Folder`, `Arrays`) is a configuration. Its `load()` gives `Splits`: training,
validation and test images as `ImageData`, with the labels hidden that training must not see.
`Splits.streams` gives the mini-batches. Images lie in memory (or on the device) as uint8 and are indexed a
whole batch at a time.

    splits = Digits(labels_per_class=10).load()
    batch = splits.streams(batch_size=100, labelled_batch_size=100, seed=0)["images"].batch(step=0)
"""

from typing import Annotated

from pydantic import Field

from aegean.data.arrays import Arrays
from aegean.data.benchmarks import MNIST, Benchmark, Digits, available, describe, fetch
from aegean.data.folder import Folder
from aegean.data.images import Binarize, ImageData, as_float, as_uint8, from_arrays
from aegean.data.labels import balanced_subset, stratified_split
from aegean.data.splits import DataReport, DataSettings, Splits, SplitSettings, check
from aegean.data.stream import Batch, Stream

#: Where images come from, for recipes; `kind` tells the sources apart.
DataConfig = Annotated[Digits | MNIST | Folder | Arrays, Field(discriminator="kind")]

__all__ = [
    "MNIST",
    "Arrays",
    "Batch",
    "Benchmark",
    "Binarize",
    "DataConfig",
    "DataReport",
    "DataSettings",
    "Digits",
    "Folder",
    "ImageData",
    "SplitSettings",
    "Splits",
    "Stream",
    "as_float",
    "as_uint8",
    "available",
    "balanced_subset",
    "check",
    "describe",
    "fetch",
    "from_arrays",
    "stratified_split",
]

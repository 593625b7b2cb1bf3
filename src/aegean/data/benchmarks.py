"""Benchmark sets with the splits of the literature."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from sklearn.datasets import load_digits

from aegean.data.files import OfficialFile, fetch_file, find, parse_idx, read_official
from aegean.data.images import ImageData, from_arrays
from aegean.data.splits import DataSettings, HeldOut, Splits, SplitSettings
from aegean.errors import DataError, did_you_mean

DIGIT_NAMES = tuple("0123456789")


@dataclass(frozen=True)
class Benchmark:
    """What there is to know of a set before it is loaded.

    Attributes:
        name: the `kind` of its settings.
        description: one line.
        images: how many.
        shape: (c, h, w).
        classes: how many.
        source: who made it, and its terms.
        files: what is fetched; none if the set comes with a library.
        mirrors: where from.
    """

    name: str
    description: str
    images: int
    shape: tuple[int, int, int]
    classes: int
    source: str
    files: tuple[OfficialFile, ...] = ()
    mirrors: tuple[str, ...] = ()

    @property
    def present(self) -> bool:
        """Whether it can be loaded without a network."""
        return all(find(file, self.name) for file in self.files)


_DIGITS = Benchmark(
    name="digits",
    description="8x8 handwritten digits, comes with scikit-learn",
    images=1797,
    shape=(1, 8, 8),
    classes=10,
    source="Alpaydin and Kaynak, UCI Machine Learning Repository; CC BY 4.0",
)

_MNIST = Benchmark(
    name="mnist",
    description="28x28 handwritten digits",
    images=70_000,
    shape=(1, 28, 28),
    classes=10,
    source="LeCun, Cortes and Burges; CC BY-SA 3.0 as commonly stated",
    files=(
        OfficialFile(
            name="train-images-idx3-ubyte.gz",
            sha256="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            content_sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        OfficialFile(
            name="train-labels-idx1-ubyte.gz",
            sha256="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            content_sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        OfficialFile(
            name="t10k-images-idx3-ubyte.gz",
            sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            content_sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        OfficialFile(
            name="t10k-labels-idx1-ubyte.gz",
            sha256="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            content_sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)

_BENCHMARKS = {benchmark.name: benchmark for benchmark in (_DIGITS, _MNIST)}


def available() -> tuple[Benchmark, ...]:
    """Return what is known of every benchmark set."""
    return tuple(_BENCHMARKS.values())


def describe(name: str) -> Benchmark:
    """Return what is known of a benchmark set.

    Raises:
        DataError: there is none of this name.
    """
    if name not in _BENCHMARKS:
        raise DataError(f"There is no benchmark set {name!r}{did_you_mean(name, _BENCHMARKS)}")
    return _BENCHMARKS[name]


def fetch(name: str) -> tuple[Path, ...]:
    """Make sure that the files of a benchmark set are on this machine and undamaged.

    Returns:
        Where they are; nothing for a set that comes with a library.

    Raises:
        DataError: there is no set of this name, or a file cannot be fetched or is damaged.
    """
    benchmark = describe(name)
    paths = tuple(fetch_file(file, name, benchmark.mirrors) for file in benchmark.files)
    for file, path in zip(benchmark.files, paths, strict=True):
        read_official(file, path)
    return paths


def _check_digits(classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if classes is not None and (not classes or len(set(classes)) < len(classes) or not set(classes) <= set(range(10))):
        raise ValueError(f"{list(classes)} must be different digits from 0 to 9, at least one.")
    return classes


#: Some of the ten digits, in the order in which they become labels 0, 1, ...; None for all.
DigitClasses = Annotated[tuple[int, ...] | None, AfterValidator(_check_digits)]


class Digits(SplitSettings):
    """The 1,797 digits of `sklearn.datasets.load_digits`, 8x8, grey.

    Their 17 levels 0 ... 16 become round(255 v / 16). 360 are held out for the test by default.

    Attributes:
        classes: some of the digits only.
    """

    kind: Literal["digits"] = "digits"
    test: HeldOut = 0.2
    classes: DigitClasses = None

    def load(self) -> Splits:
        """Read and split; see `SplitSettings.split`."""
        images, labels = load_digits(return_X_y=True)
        data = from_arrays(images.reshape(-1, 8, 8) / 16, labels)
        return self.split(_only(data, self.classes), source="digits")


class MNIST(DataSettings):
    """MNIST: 70,000 digits, 28x28, grey; the last 10,000 of the 60,000 training images are for validation.

    The files come from the folder that `AEGEAN_DATA` names (or its subfolder `mnist`), packed or unpacked;
    else from the cache; else they are fetched. Their hashes are checked in every case.

    Attributes:
        classes: some of the digits only, after the split.
        validation: how many of the last training images are held out.
    """

    kind: Literal["mnist"] = "mnist"
    classes: DigitClasses = None
    validation: int = Field(default=10_000, ge=0, le=50_000)

    def load(self) -> Splits:
        """Read the official files and split them.

        Raises:
            DataError: a file is damaged, or is not on this machine and cannot be fetched.
        """
        arrays = []
        for file in _MNIST.files:
            path = fetch_file(file, _MNIST.name, _MNIST.mirrors)
            arrays.append(parse_idx(read_official(file, path), str(path)))
        train_x, train_y, test_x, test_y = arrays
        train, test = from_arrays(train_x, train_y, DIGIT_NAMES), from_arrays(test_x, test_y, DIGIT_NAMES)
        first = len(train) - self.validation
        validation = train.subset(torch.arange(first, len(train)))
        train = train.subset(torch.arange(first))
        return self.reveal(
            _only(train, self.classes),
            _only(validation, self.classes),
            _only(test, self.classes),
            source="mnist",
        )


def _only(data: ImageData, classes: tuple[int, ...] | None) -> ImageData:
    """Keep some classes; the first of them becomes label 0."""
    if classes is None:
        return data
    label = torch.full((data.classes,), -1)
    label[list(classes)] = torch.arange(len(classes))
    kept = data.subset(torch.nonzero(label[data.labels] >= 0).flatten())
    return replace(kept, labels=label[kept.labels], class_names=tuple(data.class_names[k] for k in classes))

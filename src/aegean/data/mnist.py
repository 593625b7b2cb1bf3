"""MNIST, from its official IDX files."""

from typing import ClassVar, Literal

import torch
from pydantic import Field

from aegean.data.digits import DIGIT_NAMES, DigitClasses, only
from aegean.data.files import Benchmark, OfficialFile, fetch_file, parse_idx, read_official
from aegean.data.images import from_arrays
from aegean.data.splits import DataSettings, Splits


class MNIST(DataSettings):
    """MNIST: 70,000 digits, 28x28, grey; the last 10,000 of the 60,000 training images are for validation.

    The files come from the folder that `AEGEAN_DATA` names (or its subfolder `mnist`), packed or unpacked;
    else from the cache; else they are fetched. Their hashes are checked in every case.

    Attributes:
        classes: some of the digits only, after the split.
        validation: how many of the last training images are held out.
    """

    benchmark: ClassVar[Benchmark] = Benchmark(
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

    kind: Literal["mnist"] = "mnist"
    classes: DigitClasses = None
    validation: int = Field(default=10_000, ge=0, le=50_000)

    def load(self) -> Splits:
        """Read the official files and split them.

        Raises:
            DataError: a file is damaged, or is not on this machine and cannot be fetched.
        """
        arrays = []
        for file in self.benchmark.files:
            path = fetch_file(file, self.benchmark.name, self.benchmark.mirrors)
            arrays.append(parse_idx(read_official(file, path), str(path)))
        train_x, train_y, test_x, test_y = arrays
        train, test = from_arrays(train_x, train_y, DIGIT_NAMES), from_arrays(test_x, test_y, DIGIT_NAMES)
        first = len(train) - self.validation
        validation = train.subset(torch.arange(first, len(train)))
        train = train.subset(torch.arange(first))
        return self.reveal(
            only(train, self.classes),
            only(validation, self.classes),
            only(test, self.classes),
            source="mnist",
        )

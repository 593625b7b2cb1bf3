"""Street View House Numbers, cropped digits."""

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from aegean.data.digits import DIGIT_NAMES, DigitClasses, only
from aegean.data.files import Benchmark, OfficialFile
from aegean.data.images import ImageData, block_means
from aegean.data.matlab import read_mat
from aegean.data.splits import DataSettings, Splits
from aegean.errors import DataError

_AT_ONCE = 10_000  # images that are rearranged at a time


class SVHN(DataSettings):
    """SVHN: digits cropped from house numbers, 32x32, colour (Netzer et al., 2011).

    531,131 extra images, then 73,257 training images, of which the last are for validation (in a block,
    because digits of one house number follow each other and show parts of each other); 26,032 test images. The
    label 10 of the files is the digit 0. The extra images are easier than the others.

    The files are looked for and checked as those of `MNIST`; with the extra images they are 1.6 GB, and
    loading takes 4 GB of memory.

    Attributes:
        extra: whether the extra images are used for training, as in the PixelGAN paper.
        classes: some of the digits only, after the split.
        validation: how many of the last training images are held out.
        size: 32, or 16 for means of 2x2 pixels, as in the PixelGAN paper (appendix B.2).
    """

    benchmark: ClassVar[Benchmark] = Benchmark(
        name="svhn",
        description="32x32 digits from photographs of house numbers, in colour (1.6 GB)",
        images=630_420,
        shape=(3, 32, 32),
        classes=10,
        source="Netzer, Wang, Coates, Bissacco, Wu and Ng; for non-commercial use only",
        files=(
            OfficialFile(
                name="train_32x32.mat",
                sha256="435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            ),
            OfficialFile(
                name="test_32x32.mat",
                sha256="cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
            ),
            OfficialFile(
                name="extra_32x32.mat",
                sha256="a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
            ),
        ),
        mirrors=("http://ufldl.stanford.edu/housenumbers/",),
    )

    kind: Literal["svhn"] = "svhn"
    extra: bool = True
    classes: DigitClasses = None
    validation: int = Field(default=10_000, ge=0, le=70_000)
    size: Literal[32, 16] = 32

    def load(self) -> Splits:
        """Read the official files and split them.

        Raises:
            DataError: a file is damaged, or is not on this machine and cannot be fetched.
        """
        train_file, test_file, extra_file = self.benchmark.files
        test = self._read(test_file)
        parts = [self._read(extra_file)] if self.extra else []
        train = self._read(train_file)
        if self.validation > len(train):
            raise DataError(f"svhn: {self.validation} validation images of {len(train)}; hold out fewer.")
        kept = len(train) - self.validation
        validation, train = _slice(train, kept, len(train)), _slice(train, 0, kept)
        if parts:
            parts.append(train)
            train = ImageData(
                torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]), DIGIT_NAMES
            )
        return self.reveal(
            only(train, self.classes),
            only(validation, self.classes),
            only(test, self.classes),
            source="svhn",
        )

    def _read(self, file: OfficialFile) -> ImageData:
        path = self.benchmark.get(file)
        arrays = read_mat(path, "X", {"X": (32, 32, 3, None), "y": (None, 1)})
        labels = arrays["y"][:, 0]
        if len(labels) and not 1 <= labels.min() <= labels.max() <= 10:
            raise DataError(f"{path}: labels from {labels.min()} to {labels.max()}, expected 1 to 10; fetch it again.")
        return ImageData(
            torch.from_numpy(_rearranged(arrays["X"], self.size)), torch.from_numpy(labels % 10), DIGIT_NAMES
        )


def _rearranged(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return images of (32, 32, 3, n) as (n, 3, size, size), without a second copy of all of them on the way."""
    n = images.shape[3]
    out = np.empty((n, 3, size, size), np.uint8)
    for start in range(0, n, _AT_ONCE):
        some = images[..., start : start + _AT_ONCE].transpose(3, 2, 0, 1)
        out[start : start + _AT_ONCE] = block_means(some, 32 // size)
    return out


def _slice(data: ImageData, start: int, stop: int) -> ImageData:
    """Return some images in a row, without copying them."""
    return ImageData(data.images[start:stop], data.labels[start:stop], data.class_names)

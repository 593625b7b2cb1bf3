"""Small NORB: toys photographed by two cameras."""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from aegean.data.files import Benchmark, OfficialFile
from aegean.data.images import ImageData, block_means
from aegean.data.labels import stratified_split
from aegean.data.splits import DataSettings, Splits
from aegean.errors import DataError

CLASS_NAMES = ("animal", "human", "airplane", "truck", "car")

_SIDE = 96
_PAIRS = 24_300  # in the official training files, and in the test files
_MAGIC = {"<u1": 0x1E3D4C55, "<i4": 0x1E3D4C54}
_AT_ONCE = 1_000  # entries that are unpacked at a time


class NORB(DataSettings):
    """Small NORB: photographs of 50 toys of five kinds, grey (LeCun, Huang and Bottou, 2004).

    Two cameras took 24,300 pairs for training, of which some are for validation, and 24,300 for the test, at 9
    elevations, 18 azimuths and 6 lightings. The toys of the test are others than those of training. Validation pairs
    are drawn at random, every class in its proportion, so they show the toys of the training images: an error on them
    does not say how well other toys are recognised.

    The defaults are those of the PixelGAN paper (appendix B.3): images of 32x32x1, about 24,000 for training and for
    the test, 4,000 of the former for validation. It does not say how they were made smaller, nor which
    camera's they are; 24,000 of one channel are those of one camera.

    The files are looked for and checked as those of `MNIST`, packed only; those on instances, angles and lights are
    not needed. Loading takes 4 seconds; with both cameras at 96x96, 9 seconds and 2 GB of memory.

    Attributes:
        validation: how many training pairs are held out.
        split_seed: of that choice.
        size: 96 as photographed, else means of blocks of 2x2 (48) or 3x3 (32) pixels.
        cameras: the first image of each pair; or both, each an image of its own, one after the other, which doubles
            the number of images in every part and keeps a pair in one part.
    """

    benchmark: ClassVar[Benchmark] = Benchmark(
        name="norb",
        description="32x32 photographs of toys of five kinds, grey (small NORB, 263 MB)",
        images=2 * _PAIRS,
        shape=(1, 32, 32),
        classes=5,
        source="LeCun, Huang and Bottou; for research, not to be sold",
        files=(
            OfficialFile(
                name="smallnorb-5x46789x9x18x6x2x96x96-training-dat.mat.gz",
                sha256="5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873",
            ),
            OfficialFile(
                name="smallnorb-5x46789x9x18x6x2x96x96-training-cat.mat.gz",
                sha256="2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa",
            ),
            OfficialFile(
                name="smallnorb-5x01235x9x18x6x2x96x96-testing-dat.mat.gz",
                sha256="cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474",
            ),
            OfficialFile(
                name="smallnorb-5x01235x9x18x6x2x96x96-testing-cat.mat.gz",
                sha256="ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff",
            ),
        ),
        mirrors=("https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/",),
    )

    kind: Literal["norb"] = "norb"
    validation: int = Field(default=4_000, ge=0, le=24_000)
    split_seed: int = Field(default=0, ge=0)
    size: Literal[96, 48, 32] = 32
    cameras: Literal["left", "both"] = "left"

    def load(self) -> Splits:
        """Read the official files and split them.

        Raises:
            DataError: a file is damaged, or is not on this machine and cannot be fetched.
        """
        train_images, train_labels, test_images, test_labels = self.benchmark.files
        pairs, labels = self._read(train_images, train_labels)
        validation, train = stratified_split(labels, [self.validation], self.split_seed)
        return self.reveal(
            _separate(pairs[train], labels[train]),
            _separate(pairs[validation], labels[validation]),
            _separate(*self._read(test_images, test_labels)),
            source="norb",
        )

    def _read(self, images_file: OfficialFile, labels_file: OfficialFile) -> tuple[Tensor, Tensor]:
        """Return images, uint8 (n, cameras, size, size), and labels, int64 (n,)."""
        path = self.benchmark.get(labels_file)
        labels = np.concatenate(list(_entries(path, "<i4", ()))).astype(np.int64)
        if not 0 <= labels.min() <= labels.max() < len(CLASS_NAMES):
            raise DataError(f"{path}: labels from {labels.min()} to {labels.max()}, expected 0 to 4; fetch it again.")
        cameras = 2 if self.cameras == "both" else 1
        path = self.benchmark.get(images_file)
        pieces = (piece[:, :cameras] for piece in _entries(path, "<u1", (2, _SIDE, _SIDE)))
        # Copied, because a view of the first camera's images would keep those of both in memory.
        images = np.concatenate([np.array(block_means(piece, _SIDE // self.size)) for piece in pieces])
        if len(images) != len(labels):
            raise DataError(f"{path}: {len(images)} pairs of images, but {len(labels)} labels; fetch both again.")
        return torch.from_numpy(images), torch.from_numpy(labels)


def _separate(pairs: Tensor, labels: Tensor) -> ImageData:
    """Make each of the images (n, cameras, h, w) one of its own, (n * cameras, 1, h, w)."""
    return ImageData(pairs.flatten(0, 1)[:, None], labels.repeat_interleave(pairs.shape[1]), CLASS_NAMES)


def _entries(path: Path, dtype: Literal["<u1", "<i4"], shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Iterate over a packed binary matrix of (n, *shape), some of the n at a time.

    Little-endian 32-bit numbers: one that says the type, how many dimensions there are, and the dimensions, at least
    three (those too many are 1); then the values.

    Raises:
        DataError: not such a file, of another type or shape, truncated, damaged, or longer than it says.
    """
    try:
        with gzip.open(path) as stream:
            magic, dimensions = struct.unpack("<II", _take(stream, 8))
            if magic != _MAGIC[dtype] or dimensions != 1 + len(shape):
                raise DataError(
                    f"{path}: not a binary matrix of {np.dtype(dtype).name} with {1 + len(shape)} dimensions (its type "
                    f"is {magic:08x}, its dimensions are {dimensions}); fetch it again."
                )
            count, *found = struct.unpack(f"<{max(dimensions, 3)}i", _take(stream, 4 * max(dimensions, 3)))
            if not 1 <= count <= _PAIRS or tuple(found[: len(shape)]) != shape:
                sizes, right = ("x".join(map(str, sizes)) for sizes in ((count, *found), (_PAIRS, *shape)))
                raise DataError(f"{path}: its header says {sizes}, expected {right} or fewer entries; fetch it again.")
            bytes_each = math.prod(shape) * np.dtype(dtype).itemsize
            for start in range(0, count, _AT_ONCE):
                some = min(_AT_ONCE, count - start)
                yield np.frombuffer(_take(stream, some * bytes_each), dtype).reshape(some, *shape)
            if stream.read(1):  # at the end, this also compares the checksum
                raise DataError(f"{path}: longer than its header says; fetch it again.")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged ({error}); delete it and fetch it again.") from None


def _take(stream: gzip.GzipFile, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError("it ends too early")
    return content

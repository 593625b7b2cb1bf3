"""CIFAR-10."""

import io
import tarfile
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from aegean.data.files import MAX_FILE_BYTES, Benchmark, OfficialFile, gunzip
from aegean.data.folder import Folder
from aegean.data.images import ImageData
from aegean.data.labels import stratified_split
from aegean.data.splits import DataSettings, Splits
from aegean.errors import DataError
from aegean.files import read_bounded

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32  # a byte for the label, then red, green and blue, row by row
_MAX_MEMBERS = 100
_FOLDER = "cifar-10-batches-bin/"
_TRAIN, _TEST = tuple(f"{_FOLDER}data_batch_{k}.bin" for k in range(1, 6)), f"{_FOLDER}test_batch.bin"


class CIFAR10(DataSettings):
    """CIFAR-10: 60,000 photographs of ten kinds of things, 32x32, colour; 10,000 for the test (Krizhevsky, 2009).

    The official binary version is looked for and checked as the files of `MNIST`. Where the subfolder `cifar10`
    of `AEGEAN_DATA` or of the cache holds the images as PNG files instead, `train/CLASS/*.png` and
    `test/CLASS/*.png`, these are read, which takes half a minute and checks no hash. Their order is another one,
    so a seed then chooses other images.

    Attributes:
        validation: how many training images are held out, every class in its proportion.
        split_seed: of that choice.
    """

    benchmark: ClassVar[Benchmark] = Benchmark(
        name="cifar10",
        description="32x32 photographs of ten kinds of things, in colour",
        images=60_000,
        shape=_SHAPE,
        classes=10,
        source="Krizhevsky, Nair and Hinton; no terms are stated",
        files=(
            OfficialFile(
                name="cifar-10-binary.tar.gz",
                sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        mirrors=("https://www.cs.toronto.edu/~kriz/",),
        folders=("train", "test"),
    )

    kind: Literal["cifar10"] = "cifar10"
    validation: int = Field(default=5_000, ge=0, le=49_000)
    split_seed: int = Field(default=0, ge=0)

    def load(self) -> Splits:
        """Read the images and split them.

        Raises:
            DataError: the file is damaged, or is not on this machine and cannot be fetched; the folders do not
                hold such images.
        """
        folders = self.benchmark.find_folders()
        if folders:
            train, test = (_read_folder(folder) for folder in folders)
        else:
            train, test = _read_archive(self.benchmark.get(self.benchmark.files[0]))
        validation, rest = stratified_split(train.labels, [self.validation], self.split_seed)
        return self.reveal(train.subset(rest), train.subset(validation), test, source="cifar10")


def _read_folder(folder: Path) -> ImageData:
    data, _ = Folder(path=str(folder), channels=3).read()
    if data.class_names != CLASS_NAMES or data.shape != _SHAPE or bool((data.labels < 0).any()):
        raise DataError(
            f"{folder}: images of {data.shape[1]}x{data.shape[2]} in the subfolders {', '.join(data.class_names)}; "
            f"expected 32x32 in exactly {', '.join(CLASS_NAMES)}."
        )
    return data


def _read_archive(path: Path) -> tuple[ImageData, ImageData]:
    """Return training and test images of the official binary version."""
    # Unpacked in memory to a limit, so nothing that the archive says of itself can make it larger.
    content = gunzip(read_bounded(path, MAX_FILE_BYTES), MAX_FILE_BYTES, str(path))
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for count, member in enumerate(archive):
                if count == _MAX_MEMBERS:
                    raise DataError(f"{path}: holds more than {_MAX_MEMBERS} files; fetch it again.")
                wanted = member.name in (*_TRAIN, _TEST) and member.isreg() and not member.issparse()
                stream = archive.extractfile(member) if wanted else None
                if stream is not None:
                    found[member.name] = stream.read()
    except DataError:
        raise
    except Exception as error:  # on damaged files, the parser raises whatever it meets
        raise DataError(f"{path}: a damaged archive ({error}); delete it and fetch it again.") from None
    missing = [name for name in (*_TRAIN, _TEST) if name not in found]
    if missing:
        raise DataError(f"{path}: lacks {missing[0]}; fetch it again.")
    return _parse(b"".join(found[name] for name in _TRAIN), path), _parse(found[_TEST], path)


def _parse(raw: bytes, path: Path) -> ImageData:
    if not raw or len(raw) % _RECORD:
        raise DataError(f"{path}: a batch of {len(raw)} bytes is not one of {_RECORD} bytes an image; fetch it again.")
    records = np.frombuffer(raw, np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise DataError(f"{path}: holds the label {labels.max()}, expected 0 to 9; fetch it again.")
    images = records[:, 1:].reshape(-1, *_SHAPE).copy()
    return ImageData(torch.from_numpy(images), torch.from_numpy(labels), CLASS_NAMES)

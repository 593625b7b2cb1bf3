"""Benchmark sets and their official files: found, fetched, checked, unpacked and parsed."""

import gzip
import hashlib
import io
import logging
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray

from aegean.errors import DataError
from aegean.files import read_bounded

#: Names a folder with files of benchmark sets, for machines without a network.
DATA_VARIABLE = "AEGEAN_DATA"

#: No official file that is read as a whole is larger, packed or unpacked.
MAX_FILE_BYTES = 200_000_000


@dataclass(frozen=True)
class OfficialFile:
    """A file that everyone in the field uses, byte for byte.

    Attributes:
        name: as on the mirrors.
        sha256: of the file; None if it is not known, and nothing can be checked.
        content_sha256: of the unpacked content of a `.gz` file, which then may also lie here unpacked; None
            for a file that is used as it is.
    """

    name: str
    sha256: str | None = None
    content_sha256: str | None = None


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
        files: what it is made of; none if the set comes with a library.
        mirrors: where the files are fetched from; none if they cannot be.
        remedy: what to do where the files are neither here nor can be fetched.
        folders: subfolders of images that may be here in place of the files.
    """

    name: str
    description: str
    images: int
    shape: tuple[int, int, int]
    classes: int
    source: str
    files: tuple[OfficialFile, ...] = ()
    mirrors: tuple[str, ...] = ()
    remedy: str = f"Connect to a network, or put the file into a folder and set {DATA_VARIABLE} to that folder."
    folders: tuple[str, ...] = ()

    @property
    def present(self) -> bool:
        """Whether it can be loaded without a network."""
        return all(find(file, self.name) for file in self.files) or bool(self.find_folders())

    def find_folders(self) -> tuple[Path, ...]:
        """Return where the subfolders are, if they are to be used: all of them are here, and the files are not."""
        if all(find(file, self.name) for file in self.files):
            return ()
        for place in _places(self.name):
            found = tuple(place / folder for folder in self.folders)
            # Not in AEGEAN_DATA itself, where a folder `train` may be of another set.
            if found and place.name == self.name and all(folder.is_dir() for folder in found):
                return found
        return ()

    def fetch(self) -> tuple[Path, ...]:
        """Make sure that everything is on this machine and undamaged.

        Returns:
            Where the files are, or the subfolders in their place; nothing for a set that comes with a library.

        Raises:
            DataError: see `get`.
        """
        return self.find_folders() or tuple(self.get(file) for file in self.files)

    def get(self, file: OfficialFile) -> Path:
        """Return where one of the files is, fetched if need be, and checked.

        Raises:
            DataError: it is not here and cannot be fetched, or is damaged, or is another file.
        """
        path = fetch_file(file, self.name, self.mirrors, self.remedy)
        check_official(file, path)
        return path


def find(file: OfficialFile, folder_name: str) -> Path | None:
    """Return where a file lies on this machine, packed or unpacked, or None.

    `AEGEAN_DATA` is looked at first (the folder itself, then its subfolder `folder_name`), then the cache.
    """
    for folder in _places(folder_name):
        for name in (file.name, file.name.removesuffix(".gz") if file.content_sha256 else file.name):
            if (folder / name).is_file():
                return folder / name
    return None


def _places(folder_name: str) -> list[Path]:
    named = os.environ.get(DATA_VARIABLE)
    return [*([Path(named), Path(named) / folder_name] if named else []), cache_folder(folder_name)]


def cache_folder(folder_name: str) -> Path:
    """Return the folder that downloads are kept in."""
    return Path(pooch.os_cache("aegean")) / folder_name


def fetch_file(file: OfficialFile, folder_name: str, mirrors: Sequence[str], remedy: str = Benchmark.remedy) -> Path:
    """Return a file's place on this machine, downloading it first if it is not here.

    Args:
        file: which.
        folder_name: the subfolder of `AEGEAN_DATA` and of the cache.
        mirrors: addresses that the name is put behind, one after the other; none for a file that cannot be
            fetched.
        remedy: what the error asks people to do.

    Raises:
        DataError: it is not here, and no mirror could give it as it should be.
    """
    found = find(file, folder_name)
    if found is not None:
        return found
    folder, reasons = cache_folder(folder_name), []
    for mirror in mirrors:
        try:
            with _quiet():
                pooch.retrieve(mirror + file.name, f"sha256:{file.sha256}", fname=file.name, path=folder)
            return folder / file.name
        except (OSError, ValueError) as error:  # no network, no such file, no permission; another content
            reasons.append(f"{mirror}: {type(error).__name__}")
    places = ", ".join(str(place) for place in _places(folder_name))
    reason = f"could not be fetched ({'; '.join(reasons)})" if mirrors else "cannot be fetched"
    raise DataError(f"{file.name} is not in {places}, and {reason}. {remedy}")


def check_official(file: OfficialFile, path: Path) -> None:
    """Check the hash of an official file, if it is known, without reading a large file as a whole.

    Raises:
        DataError: it cannot be read, is damaged, or is another file.
    """
    if file.content_sha256 is not None:
        read_official(file, path)
    elif file.sha256 is not None:
        try:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
        _compare(file, path, found, file.sha256)


def read_official(file: OfficialFile, path: Path) -> bytes:
    """Return the unpacked content of an official `.gz` file whose content's hash is known.

    Raises:
        DataError: it cannot be read, is damaged, or is another file.
    """
    content = read_bounded(path, MAX_FILE_BYTES)
    if path.suffix == ".gz":
        content = gunzip(content, MAX_FILE_BYTES, str(path))
    _compare(file, path, hashlib.sha256(content).hexdigest(), file.content_sha256 or "")
    return content


def _compare(file: OfficialFile, path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise DataError(
            f"{path}: not the official {file.name} (its content has the SHA-256 {found[:12]}..., expected "
            f"{expected[:12]}...); delete it and fetch it again."
        )


def gunzip(raw: bytes, limit: int, where: str) -> bytes:
    """Unpack gzip data to at most `limit` bytes.

    Raises:
        DataError: not gzip, truncated, corrupt, or larger than the limit.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
            content = stream.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where}: damaged or incomplete gzip file ({error}); delete it and fetch it again.") from None
    if len(content) > limit:
        raise DataError(f"{where}: unpacks to more than {limit} bytes; this is not the file it should be.")
    return content


def parse_idx(raw: bytes, where: str) -> NDArray[np.uint8]:
    """Parse an IDX file of unsigned bytes, the format of MNIST.

    Four bytes (0, 0, type 8 for unsigned byte, number of dimensions), each dimension as a big-endian 32-bit
    number, then the values.

    Returns:
        uint8 with one to four dimensions.

    Raises:
        DataError: the header is not this, or the length is not what the header says.
    """
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or not 1 <= raw[3] <= 4:
        raise DataError(
            f"{where}: not an IDX file of unsigned bytes (it begins with {raw[:4].hex() or 'nothing'}); fetch it again."
        )
    dimensions = raw[3]
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(raw[at : at + 4], "big") for at in range(4, start, 4))
    expected = start + math.prod(shape)
    if len(raw) != expected:
        sizes = "x".join(str(size) for size in shape)
        raise DataError(
            f"{where}: {len(raw)} bytes, but its header says {sizes}, which takes {expected}; the file is "
            "truncated or damaged, fetch it again."
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pooch from writing to the terminal."""
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)

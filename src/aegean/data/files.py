"""Official files of benchmark sets: found, fetched, checked, unpacked and parsed."""

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

#: No official file is larger, packed or unpacked.
MAX_FILE_BYTES = 200_000_000


@dataclass(frozen=True)
class OfficialFile:
    """A gzip-compressed file that everyone in the field uses, byte for byte.

    Attributes:
        name: as on the mirrors, with `.gz`.
        sha256: of the compressed file.
        content_sha256: of the unpacked content.
    """

    name: str
    sha256: str
    content_sha256: str


def find(file: OfficialFile, folder_name: str) -> Path | None:
    """Return where a file lies on this machine, packed or unpacked, or None.

    `AEGEAN_DATA` is looked at first (the folder itself, then its subfolder `folder_name`), then the cache.
    """
    for folder in _places(folder_name):
        for candidate in (folder / file.name, folder / file.name.removesuffix(".gz")):
            if candidate.is_file():
                return candidate
    return None


def _places(folder_name: str) -> list[Path]:
    named = os.environ.get(DATA_VARIABLE)
    return [*([Path(named), Path(named) / folder_name] if named else []), cache_folder(folder_name)]


def cache_folder(folder_name: str) -> Path:
    """Return the folder that downloads are kept in."""
    return Path(pooch.os_cache("aegean")) / folder_name


def fetch_file(file: OfficialFile, folder_name: str, mirrors: Sequence[str]) -> Path:
    """Return a file's place on this machine, downloading it first if it is not here.

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
    raise DataError(
        f"{file.name} is not in {places}, and could not be fetched ({'; '.join(reasons)}). "
        "Connect to a network, or put the file into a folder and set "
        f"{DATA_VARIABLE} to that folder."
    )


def read_official(file: OfficialFile, path: Path) -> bytes:
    """Return the unpacked content of an official file.

    Raises:
        DataError: it cannot be read, is damaged, or is another file.
    """
    content = read_bounded(path, MAX_FILE_BYTES)
    if path.suffix == ".gz":
        content = gunzip(content, MAX_FILE_BYTES, str(path))
    found = hashlib.sha256(content).hexdigest()
    if found != file.content_sha256:
        raise DataError(
            f"{path}: not the official {file.name} (its content has the SHA-256 {found[:12]}..., expected "
            f"{file.content_sha256[:12]}...); delete it and fetch it again."
        )
    return content


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

"""Decoded images on disk, mapped into memory: 100,000 files are decoded once.

An entry is a folder with `pixels`, plain bytes of shape (n, c, h, w), and `about.json`. It is written beside the others
and renamed, so it is whole or absent. While it is written, its file is locked: another process that wants the same
entry waits for it, and what a killed one has left is known by its lock being free.
"""

import json
import math
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pooch
import torch
from numpy.typing import NDArray
from torch import Tensor

from aegean.errors import ConfigError, DataError, OutputError
from aegean.files import atomic_write_json, lock, read_bounded

#: Names the folder of the cache; `off` does without one.
CACHE_VARIABLE = "AEGEAN_CACHE"
#: How many gigabytes of decoded images are kept.
LIMIT_VARIABLE, DEFAULT_LIMIT = "AEGEAN_CACHE_GB", "20"

_PIXELS, _ABOUT = "pixels", "about.json"
_MAX_ABOUT_BYTES = 500_000_000
_POLL_SECONDS = 0.1
_PIECE = 2**24


@dataclass(frozen=True)
class Entry:
    """Decoded images.

    Attributes:
        images: uint8, shape (n, c, h, w); mapped, if they lie in the cache: read when they are used, and what is
            written to them stays in this process.
        about: what whoever made them noted, plain JSON values.
    """

    images: Tensor
    about: dict[str, Any]


class Writer:
    """Takes decoded images one after the other, into a file or into memory.

    Args:
        shape: (c, h, w).
        most: no more images than this will come.
        file: an empty file, or None for memory.
    """

    def __init__(self, shape: tuple[int, int, int], most: int, file: IO[bytes] | None = None) -> None:
        self.shape, self.count = shape, 0
        self._file = file
        self._array = np.empty((most, *shape), np.uint8) if file is None else None

    def add(self, image: NDArray[np.uint8]) -> None:
        """Add an image, (h, w) or (h, w, c)."""
        planes = np.broadcast_to(image if image.ndim == 2 else image.transpose(2, 0, 1), self.shape)
        if self._array is not None:
            self._array[self.count] = planes
        elif self._file is not None:
            self._file.write(planes.tobytes())
        self.count += 1

    def images(self) -> Tensor:
        """Return what was added to memory, (n, c, h, w)."""
        assert self._array is not None  # noqa: S101 - for the type checker
        return torch.from_numpy(self._array[: self.count])


def cache_root() -> Path | None:
    """Return the folder of decoded images, or None if the cache is switched off."""
    named = os.environ.get(CACHE_VARIABLE, "")
    if named.lower() == "off":
        return None
    return (Path(named) if named else Path(pooch.os_cache("aegean"))) / "images"


def limit_bytes() -> float:
    """Return how many bytes the cache may hold.

    Raises:
        ConfigError: the variable is not a number.
    """
    text = os.environ.get(LIMIT_VARIABLE, DEFAULT_LIMIT)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not gigabytes >= 0:
        raise ConfigError(f"{LIMIT_VARIABLE}={text}: write a number of gigabytes, as 20.")
    return gigabytes * 1e9


def find_entry(key: str) -> Entry | None:
    """Return an entry, if it is there and whole; a damaged one counts as absent."""
    root = cache_root()
    if root is None or not (root / key / _ABOUT).is_file():
        return None
    try:
        values = json.loads(read_bounded(root / key / _ABOUT, _MAX_ABOUT_BYTES))
        n, c, h, w = values["shape"]
        images = _mapped(root / key / _PIXELS, (int(n), int(c), int(h), int(w)))
        os.utime(root / key / _ABOUT)  # the entry that was used least recently goes first
        return Entry(images, dict(values["about"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def find_or_make(
    key: str | None, most: int, shape: tuple[int, int, int], fill: Callable[[Writer], Mapping[str, Any]], shrink: bool
) -> Entry:
    """Return an entry of the cache, made if it is not there.

    Where nothing can be written (a full disk, no permission), the images are made in memory instead.

    Args:
        key: what the images depend on, as hexadecimal digits; None makes them in memory.
        most: no more images than this.
        shape: (c, h, w) of one.
        fill: adds the images to a writer and returns what is to be noted of them; JSON values.
        shrink: of three equal channels, keep one, if what `fill` returns has `"colour": False`.

    Raises:
        DataError: the images take more than the cache may hold.
        AegeanError: what `fill` raises; then nothing is kept.
    """
    root = cache_root()
    if root is not None and key is not None:
        if most * math.prod(shape) > limit_bytes():
            raise DataError(
                f"{most} images of {shape[1]}x{shape[2]} take {most * math.prod(shape) / 1e9:.1f} GB, more than the "
                f"cache may hold; choose a smaller size, or set {LIMIT_VARIABLE} to more gigabytes."
            )
        _wait_for_others(root, key)
        if (found := find_entry(key)) is not None:
            return found
        with suppress(OSError):  # no space or no permission: no cache, then
            return _make(root, key, most, shape, fill, shrink)
    writer = Writer(shape, most)
    about = dict(fill(writer))
    images = writer.images()
    return Entry(images[:, :1].contiguous() if shrink and not about["colour"] else images, about)


def entries() -> list[tuple[Path, int]]:
    """Return the entries and their bytes, the least recently used first."""
    root = cache_root()
    if root is None or not root.is_dir():
        return []
    found = [path for path in root.iterdir() if not path.name.startswith(".") and (path / _ABOUT).is_file()]
    found.sort(key=lambda path: (path / _ABOUT).stat().st_mtime)
    return [(path, sum(file.stat().st_size for file in path.iterdir())) for path in found]


def clear() -> int:
    """Remove all entries; return how many bytes that freed. Runs that read one go on."""
    freed = 0
    for path, size in entries():
        _remove(path)
        freed += size
    root = cache_root()
    if root is not None:
        _remove_abandoned(root)
    return freed


def _make(
    root: Path,
    key: str,
    most: int,
    shape: tuple[int, int, int],
    fill: Callable[[Writer], Mapping[str, Any]],
    shrink: bool,
) -> Entry:
    temporary = root / f".{key}-{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir(parents=True)
        _remove_abandoned(root)
        with (temporary / _PIXELS).open("x+b") as stream:
            lock(stream)
            writer = Writer(shape, most, stream)
            about = dict(fill(writer))
            count = (writer.count, *shape)
            if shrink and not about["colour"]:
                count = _keep_one_channel(stream, count)
            stream.flush()
            os.fsync(stream.fileno())
            atomic_write_json(temporary / _ABOUT, {"shape": list(count), "about": about})
            if not (root / key).exists():
                temporary.rename(root / key)
        _prune(root, key)
        found = find_entry(key)
        if found is None:
            raise OutputError(f"{root / key}: cannot be read back.")
        return found
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _keep_one_channel(stream: IO[bytes], shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Move the first channel of each image to the front, piece by piece, and cut off the rest."""
    n, channels, h, w = shape
    step = max(1, _PIECE // (channels * h * w))
    for start in range(0, n, step):
        count = min(step, n - start)
        stream.seek(start * channels * h * w)
        piece = np.frombuffer(stream.read(count * channels * h * w), np.uint8).reshape(count, channels, h * w)
        stream.seek(start * h * w)
        stream.write(piece[:, 0].tobytes())
    stream.flush()
    stream.truncate(n * h * w)
    return n, 1, h, w


def _mapped(path: Path, shape: tuple[int, int, int, int]) -> Tensor:
    """Map a file; ValueError if it is not of this shape."""
    size = math.prod(shape)
    with path.open("rb") as stream:
        if min(shape) < 1 or os.fstat(stream.fileno()).st_size != size:
            raise ValueError("not as large as its description says")
        if hasattr(mmap, "MAP_NORESERVE"):
            # Private and writable, as tensors want it; without reserve, because what is only read needs no memory.
            flags, access = mmap.MAP_PRIVATE | mmap.MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            mapped = mmap.mmap(stream.fileno(), size, flags=flags, prot=access)
        else:
            mapped = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_COPY)
    return torch.frombuffer(mapped, dtype=torch.uint8).view(shape)


def _wait_for_others(root: Path, key: str) -> None:
    """Wait while another process makes this entry."""
    while any(_in_work(path) for path in root.glob(f".{key}-*.tmp")):
        time.sleep(_POLL_SECONDS)


def _in_work(folder: Path) -> bool:
    """Whether a living process writes into a temporary folder."""
    try:
        with (folder / _PIXELS).open("rb+") as stream:
            return not lock(stream)
    except OSError:  # it is just being made, or just gone
        return False


def _remove_abandoned(root: Path) -> None:
    """Remove what killed processes have left."""
    for path in root.glob(".*.tmp"):
        # A folder without a file is being made, unless it has been so for long.
        abandoned = (path / _PIXELS).exists() and not _in_work(path)
        try:
            if abandoned or time.time() - path.stat().st_mtime > 86400:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue


def _prune(root: Path, newest: str) -> None:
    found = entries()
    excess = sum(size for _, size in found) - limit_bytes()
    for path, size in found:
        if excess <= 0:
            break
        if path.name != newest:
            _remove(path)
            excess -= size


def _remove(path: Path) -> None:
    """Take an entry away whole: a part of one is never seen."""
    gone = path.with_name(f".{path.name}-{secrets.token_hex(4)}.tmp")
    try:
        path.rename(gone)
    except OSError:  # another process was faster
        return
    shutil.rmtree(gone, ignore_errors=True)

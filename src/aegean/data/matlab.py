"""Numeric arrays from MATLAB files of version 5 to 7, the format of SVHN and of the Toronto faces.

A file is a header of 128 bytes and one element a variable: a type and a size, 32 bits each, then that many
bytes. An element is an array, or an array compressed with zlib. An array is four elements: flags, dimensions,
name and values. (MAT-File Format, The MathWorks, chapter 1.) SciPy reads all of the format, but compiled code
of its version 1.17 ends the process on some damaged files; what is needed here is little.
"""

import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from aegean.errors import DataError

#: The official arrays take 1.6 GB at most.
MAX_ARRAY_BYTES = 2_000_000_000

Shapes = Mapping[str, tuple[int | None, ...]]

_ARRAY, _COMPRESSED = 14, 15
_INT8, _INT32, _UINT32 = 1, 5, 6
_STORED = {
    1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"
}  # fmt: skip
_OTHER = ("", "a cell array", "a structure", "an object", "text", "a sparse matrix")
_NUMERIC = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_CLASSES = dict(enumerate(_OTHER + _NUMERIC))
_COMPLEX, _LOGICAL = 0x800, 0x200
_PIECE = 2**20


def read_mat(path: Path, pixels: str, shapes: Shapes) -> dict[str, NDArray[Any]]:
    """Read arrays of numbers from a MATLAB file of version 5 to 7.

    An array's values are not unpacked if its header says another type or shape. Other arrays are skipped.

    Args:
        path: the file.
        pixels: which of the arrays holds images; it must be uint8.
        shapes: the shape of each array; None where there is one entry an image.

    Returns:
        The arrays: `pixels` as uint8, in the order of MATLAB (the first axis changes fastest), the others,
        which must be whole numbers, as int64.

    Raises:
        DataError: not such a file, truncated, or an array is missing or of another type or shape.
    """
    try:
        with path.open("rb") as file:
            if file.read(128)[124:] != b"\0\1IM":  # the version, and the order of bytes
                raise DataError(f"{path}: not a MATLAB file of version 5 to 7; save it with the option -v7.")
            arrays = _read_arrays(file, path, pixels, shapes)
    except DataError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: truncated or damaged ({error}); get it again.") from None
    for name in shapes.keys() - arrays.keys():
        raise DataError(f"{path}: has no array {name!r}; get the official file.")
    if len({size for name in shapes for size in _free(arrays[name].shape, shapes[name])}) > 1:
        raise DataError(f"{path}: its arrays are of different numbers of images; get the official file.")
    return arrays


def _read_arrays(file: BinaryIO, path: Path, pixels: str, shapes: Shapes) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    place, end = 128, path.stat().st_size
    while place < end:
        file.seek(place)
        stream = _Bytes(file, 8)
        kind, size, _ = _tag(stream)
        place += 8 + size
        if place > end:
            raise EOFError("it ends too early")
        stream = _Bytes(file, size, compressed=kind == _COMPRESSED)
        if kind == _COMPRESSED:
            kind, _, _ = _tag(stream)
        if kind != _ARRAY:
            raise ValueError(f"an element of type {kind} where an array is expected")
        flags = int.from_bytes(_element(stream, _UINT32)[:4], "little")
        shape = tuple(np.frombuffer(_element(stream, _INT32), "<i4").tolist())
        name = _element(stream, _INT8).decode("latin-1")
        if name in found:
            raise DataError(f"{path}: holds two arrays {name!r}; get the official file.")
        if name in shapes:
            _check(f"{path}: its array {name!r}", flags, shape, shapes[name], name == pixels)
            values = _values(stream, shape)
            if name == pixels and values.dtype != np.uint8:
                raise ValueError(f"pixels are stored as {values.dtype}")
            found[name] = values if name == pixels else _whole(values, f"{path}: its array {name!r}")
    return found


def _check(what: str, flags: int, shape: tuple[int, ...], expected: tuple[int | None, ...], pixels: bool) -> None:
    kind = _CLASSES.get(flags & 0xFF, "of an unknown type")
    kind = "complex" if flags & _COMPLEX else "logical" if flags & _LOGICAL else kind
    fits = len(shape) == len(expected) and all(
        size >= 0 and want in (None, size) for size, want in zip(shape, expected, strict=True)
    )
    wanted = ("uint8",) if pixels else _NUMERIC
    if kind not in wanted or not fits or math.prod(shape) > MAX_ARRAY_BYTES:
        sizes = "x".join(str(size) for size in shape)
        right = "x".join("n" if size is None else str(size) for size in expected)
        right = f"uint8 of {right}" if pixels else f"numbers of {right}"
        raise DataError(f"{what} is {kind} of {sizes}, expected {right}; get the official file.")


def _free(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> set[int]:
    return {size for size, want in zip(shape, expected, strict=True) if want is None}


def _values(stream: "_Bytes", shape: tuple[int, ...]) -> NDArray[Any]:
    kind, size, inside = _tag(stream)
    if kind not in _STORED or size != math.prod(shape) * np.dtype(_STORED[kind]).itemsize:
        raise ValueError(f"{size} bytes of type {kind} for an array of {'x'.join(map(str, shape))}")
    values = np.empty(math.prod(shape), _STORED[kind])
    target = values.view(np.uint8).data
    if inside is None:
        stream.fill(target)
        stream.finish()
    else:
        target[:] = inside
    return values.reshape(shape, order="F")


def _whole(values: NDArray[Any], what: str) -> NDArray[np.int64]:
    if not (np.isfinite(values) & (values == np.rint(values))).all():
        raise DataError(f"{what} must hold whole numbers; get the official file.")
    return values.astype(np.int64)


class _Bytes:
    """The bytes of an element, unpacked no further than they are asked for."""

    def __init__(self, file: BinaryIO, size: int, compressed: bool = False) -> None:
        self._file, self._left = file, size
        self._inflate = zlib.decompressobj() if compressed else None

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes; EOFError if there are fewer."""
        buffer = bytearray(size)
        self.fill(memoryview(buffer))
        return bytes(buffer)

    def fill(self, target: memoryview) -> None:
        """Fill a buffer with the next bytes; EOFError if there are fewer."""
        done = 0
        while done < len(target):
            piece = self._some(min(_PIECE, len(target) - done))
            if not piece:
                raise EOFError("it ends too early")
            target[done : done + len(piece)] = piece
            done += len(piece)

    def finish(self) -> None:
        """Read the padding of a compressed array, for its checksum follows: zlib.error if that is wrong."""
        if self._inflate is None:
            return
        padding = 0
        while piece := self._some(8):
            padding += len(piece)
            if padding >= 8:
                raise ValueError("an array is longer than it says")
        if not self._inflate.eof:
            raise EOFError("it ends too early")

    def _some(self, most: int) -> bytes:
        """Return at least one of the next bytes, and at most `most`; none at the end."""
        if self._inflate is None:
            return self._packed(most)
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._packed(_PIECE)
            unpacked = self._inflate.decompress(packed, most)
            if unpacked or not packed:
                return unpacked
        return b""

    def _packed(self, most: int) -> bytes:
        piece = self._file.read(min(most, self._left))
        self._left -= len(piece)
        return piece


def _tag(stream: _Bytes) -> tuple[int, int, bytes | None]:
    """Return the type and size of an element, and its content if that is in the tag (four bytes at most)."""
    raw = stream.take(8)
    kind, size = struct.unpack("<II", raw)
    if kind >> 16:
        kind, size = kind & 0xFFFF, kind >> 16
        return kind, size, raw[4 : 4 + size]
    return kind, size, None


def _element(stream: _Bytes, expected: int) -> bytes:
    """Return the content of a short element: flags, dimensions or a name."""
    kind, size, inside = _tag(stream)
    if kind != expected or size > 256:
        raise ValueError(f"{size} bytes of type {kind} in the header of an array")
    return stream.take(size + -size % 8)[:size] if inside is None else inside

"""One image file of any kind to uint8 pixels: formats, 16 bits, transparency, orientation, size."""

import io
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from aegean.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
#: What error messages call them.
KINDS = "PNG, JPEG, WebP, BMP, TIFF or GIF"
#: An image with more pixels is refused before it is unpacked.
MAX_PIXELS = 100_000_000

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # no other decoder of Pillow sees the files
_GREY_MODES = ("1", "L", "LA", "La", "F")
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange height and width
_AT_ONCE = 32  # files that a thread takes at a time

#: A file, or its content.
Source = Path | io.BytesIO
Opener = Callable[[str], Source]
Advance = Callable[[int, int], None]
T = TypeVar("T")

_progress: ContextVar[Advance | None] = ContextVar("progress of reading images", default=None)


@dataclass(frozen=True)
class Form:
    """What all images are brought to.

    Attributes:
        size: (height, width); None leaves each image as large as it is.
        channels: 1 for grey; otherwise an image without colour is grey and others have three channels.
        background: what shines through where an image is transparent.
    """

    size: tuple[int, int] | None
    channels: int | None
    background: Literal["white", "black"]


@dataclass(frozen=True)
class Decoded:
    """An image.

    Attributes:
        pixels: uint8, grey (h, w) or colour (h, w, 3).
        size: (height, width) as it was in the file, turned upright.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]


@contextmanager
def report_reading(advance: Advance) -> Iterator[None]:
    """Call `advance(done, total)` from time to time while images are read inside a `with` block."""
    token = _progress.set(advance)
    try:
        yield
    finally:
        _progress.reset(token)


def in_threads(work: Callable[[str], T], names: Sequence[str]) -> Iterator[T]:
    """Do the same to many files in several threads, for Pillow releases the interpreter lock.

    Progress is reported to `report_reading`. Few results wait at a time, however many files there are.

    Returns:
        The results, in the order of the names.
    """
    advance, done = _progress.get(), 0
    workers = os.cpu_count() or 1
    pool = ThreadPoolExecutor(max_workers=workers)
    pieces = (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE))
    waiting: deque[Future[list[T]]] = deque()
    try:
        while True:
            while len(waiting) < 2 * workers and (piece := next(pieces, None)):
                waiting.append(pool.submit(lambda some: [work(name) for name in some], piece))
            if not waiting:
                return
            results = waiting.popleft().result()
            yield from results
            done += len(results)
            if advance:
                advance(done, len(names))
    finally:
        pool.shutdown(cancel_futures=True)


def decode(
    source: Source,
    where: str,
    form: Form,
    remedy: str = "remove it, or leave such files out with the setting skip_damaged: true",
) -> Decoded | DataError:
    """Return an image, or why the file cannot be read.

    Args:
        source: the file.
        where: its name in errors.
        form: what to bring it to.
        remedy: what the error asks people to do.
    """
    too_large = DataError(f"{where}: has more than {MAX_PIXELS} pixels; scale it down, or remove it.")
    try:
        with Image.open(source, formats=_FORMATS) as opened:
            size = _upright_size(opened)
            if opened.width * opened.height > MAX_PIXELS:
                return too_large
            if form.size is not None:
                # A JPEG can be unpacked to a half, a quarter or an eighth at a fraction of the time; twice the size
                # that is asked for keeps the scaling that follows as good as it is.
                opened.draft(None, (2 * max(form.size),) * 2)
            upright = ImageOps.exif_transpose(opened)
            # Some formats know their orientation only once they are unpacked.
            image = bring_to(_to_eight_bits(upright, form.background), form)
            size = size if opened.format in ("JPEG", "MPO") else (upright.height, upright.width)
        pixels: NDArray[np.uint8] = np.asarray(image)
    except Image.DecompressionBombError:
        return too_large
    except Exception as error:  # on damaged files, decoders raise whatever they stumble over
        text = getattr(error, "strerror", None) or str(error).replace(repr(str(source)), "")
        reason = " ".join(text.split()) or type(error).__name__
        return DataError(f"{where}: damaged, or not an image ({reason}); {remedy}.")
    if pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, 0]
    return Decoded(pixels, size)


def bring_to(image: Image.Image, form: Form) -> Image.Image:
    """Scale an image of mode L or RGB until it covers the size, crop it around the centre; make it grey if asked."""
    if form.channels == 1:
        image = image.convert("L")
    if form.size is not None and image.size != form.size[::-1]:
        image = ImageOps.fit(image, form.size[::-1])
    return image


def measure(source: Source) -> tuple[tuple[int, int], bool] | None:
    """Read (height, width) and whether there may be colour from the first bytes of a file; None if it is damaged."""
    try:
        with Image.open(source, formats=_FORMATS) as opened:
            return _upright_size(opened), not (opened.mode in _GREY_MODES or opened.mode.startswith("I"))
    except Exception:  # on damaged files, decoders raise whatever they stumble over; `decode` tells the user
        return None


def read_grey(path: str | Path) -> NDArray[np.uint8]:
    """Read one image file as grey values, uint8 (h, w).

    Raises:
        DataError: there is no such file, or it is damaged or no image.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file; give a {KINDS} image.")
    found = decode(Path(path), str(path), Form(None, 1, "black"), f"give a {KINDS} image")
    if isinstance(found, DataError):
        raise found
    return found.pixels


def _upright_size(opened: Image.Image) -> tuple[int, int]:
    # A PNG's orientation may stand behind its pixels, and asking for it would unpack them.
    exif = opened.getexif() if opened.format != "PNG" or "exif" in opened.info else {}
    sideways = exif.get(_ORIENTATION) in _SIDEWAYS
    return (opened.width, opened.height) if sideways else (opened.height, opened.width)


def _to_eight_bits(image: Image.Image, background: str) -> Image.Image:
    """Return mode L or RGB, without transparency."""
    if image.mode.startswith("I"):  # 16 bits a pixel, in several orders and containers
        values: NDArray[Any] = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its values do not fit into 16 bits")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError("its floating-point values are not in [0, 1]")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, background)
        return Image.alpha_composite(below, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")

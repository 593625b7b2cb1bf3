"""Grids of images as pixels and as PNG."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from aegean.errors import DataError

#: A NumPy array or a torch tensor on any device.
Array = npt.NDArray[Any] | torch.Tensor
Pixels = npt.NDArray[np.uint8]

#: Images of fewer pixels a side are enlarged to about this size, to be seen.
SMALLEST_SIDE = 48


def to_pixels(images: Array) -> Pixels:
    """Turn images into pixels.

    Args:
        images: floats in [0, 1] (rounding errors of 0.01 are forgiven) or uint8, shape `(n, c, h, w)`, with 1
            or 3 channels; or vectors, `(n, d, 1, 1)`, which become a square of grey cells, row by row.

    Returns:
        uint8, shape `(n, h, w, c)`.

    Raises:
        DataError: another shape or range, or NaN.
    """
    array = np.asarray(images.detach().cpu().float() if isinstance(images, torch.Tensor) else images)
    given_bytes = array.dtype == np.uint8 or (isinstance(images, torch.Tensor) and images.dtype == torch.uint8)
    if array.ndim == 4 and array.shape[2:] == (1, 1):
        array = _as_square(array)
    if array.ndim != 4 or not array.size or array.shape[1] not in {1, 3}:
        raise DataError(f"expected images of shape (n, c, h, w) with 1 or 3 channels, found {array.shape}.")
    if not given_bytes:
        if not ((array >= -0.01) & (array <= 1.01)).all():
            raise DataError(f"expected pixels in [0, 1], found {array.min():.3g} to {array.max():.3g}.")
        array = np.clip(array, 0.0, 1.0)
        np.rint(np.multiply(array, 255.0, out=array), out=array)
    return array.astype(np.uint8).transpose(0, 2, 3, 1)


def image_grid(
    images: Array,
    columns: int | None = None,
    scale: int | None = None,
    row_labels: Sequence[str] | None = None,
    background: int | None = 255,
) -> Pixels:
    """Lay images out in rows, from left to right and from top to bottom.

    Args:
        images: as for `to_pixels`.
        columns: images a row; by default the grid is about square.
        scale: each pixel becomes a square of `scale` x `scale`; by default small images are enlarged so that
            8x8 digits can be seen.
        row_labels: written to the left of the rows, one a row.
        background: grey level between and beside the images; None is transparent.

    Returns:
        uint8, shape `(height, width, 3)`, or `(height, width, 4)` where the background is transparent.

    Raises:
        DataError: images as for `to_pixels`, or the number of labels is not the number of rows.
    """
    pixels = to_pixels(images)
    count, height, width, _ = pixels.shape
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    scale = scale or max(1, round(SMALLEST_SIDE / min(height, width)))
    height, width = height * scale, width * scale
    gap = gap_beside(height, width)

    if row_labels is not None and len(row_labels) != rows:
        raise DataError(f"{len(row_labels)} labels for {rows} rows of images; give one a row.")
    labels = None if row_labels is None else _label_column(row_labels, height, gap)
    beside = 0 if labels is None else labels.shape[1]
    size = rows * (height + gap) - gap, beside + columns * (width + gap) - gap
    # Tiles are opaque, so they are pasted: to blend the whole of a large grid would take many times its memory.
    grid = np.zeros((*size, 4), np.uint8) if background is None else np.full((*size, 3), background, np.uint8)
    if labels is not None:
        grid[:, :beside] = labels if background is None else _blended(labels, background)
    for index, tile in enumerate(pixels):
        top, left = index // columns * (height + gap), beside + index % columns * (width + gap)
        place = grid[top : top + height, left : left + width]
        place[..., :3] = tile.repeat(scale, axis=0).repeat(scale, axis=1)
        place[..., 3:] = 255
    return grid


def drawn_size(images: Array) -> tuple[int, int]:
    """Return height and width of one image (n, c, h, w), or of the square that a vector (n, d, 1, 1) becomes."""
    _, d, height, width = images.shape
    if (height, width) == (1, 1) and d:
        return (math.isqrt(d - 1) + 1,) * 2
    return height, width


def _as_square(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Lay vectors (n, d, 1, 1) out as grey images (n, 1, side, side); the cells that are left over are 0."""
    n, d = vectors.shape[:2]
    side, _ = drawn_size(vectors)
    return np.pad(vectors.reshape(n, d), ((0, 0), (0, side**2 - d))).reshape(n, 1, side, side)


def filled(images: torch.Tensor, columns: int) -> torch.Tensor:
    """Return a row of float images (n, c, h, w) with white ones after them, `columns` in all."""
    missing = columns - len(images)
    return torch.cat((images, torch.ones(missing, *images.shape[1:]))) if missing > 0 else images


def gap_beside(height: int, width: int) -> int:
    """Return how many pixels lie between neighbouring images of this size in a grid."""
    return max(1, round(min(height, width) / 14))


def png_bytes(pixels: Pixels, text: Mapping[str, str] | None = None) -> bytes:
    """Encode pixels as PNG, losslessly.

    Args:
        pixels: uint8, shape `(h, w)`, `(h, w, 1)`, `(h, w, 3)` or, with transparency, `(h, w, 4)`.
        text: what the file shall say of itself, by keyword (such as Title, Description, Source).
    """
    channels = pixels.shape[2:]
    if channels in {(3,), (4,)} and (pixels[..., :1] == pixels[..., 1:3]).all():
        image = Image.fromarray(pixels).convert("L" if channels == (3,) else "LA")  # grey: a third of the size
    else:
        image = Image.fromarray(pixels[..., 0] if channels == (1,) else pixels)
    chunks = PngInfo()
    for keyword, value in (text or {}).items():
        chunks.add_itxt(keyword, value)
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True, pnginfo=chunks)
    return stream.getvalue()


def png_text(raw: bytes, where: str | Path) -> dict[str, str]:
    """Return what a PNG says of itself, see `png_bytes`.

    Args:
        raw: content of the file.
        where: what complaints call it.

    Raises:
        DataError: it is no PNG, or a damaged one.
    """
    try:
        with Image.open(io.BytesIO(raw), formats=["PNG"]) as image:
            image.load()  # text may stand behind the pixels
            return {keyword: str(value) for keyword, value in image.text.items()}  # type: ignore[attr-defined]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: not a PNG ({error}).") from None


def _blended(pixels: Pixels, background: int) -> Pixels:
    """Lay transparent pixels (h, w, 4) on a grey level, to (h, w, 3)."""
    alpha = pixels[..., 3:].astype(np.float64) / 255.0
    return np.rint(pixels[..., :3] * alpha + background * (1.0 - alpha)).astype(np.uint8)


def _label_column(labels: Sequence[str], height: int, gap: int) -> Pixels:
    """Write one label beside each row, right-aligned, in a grey that shows on light and on dark."""
    font = ImageFont.load_default(size=max(10, min(18, height // 3)))
    width = math.ceil(max(font.getlength(label) for label in labels)) + 8
    column = Image.new("RGBA", (width, len(labels) * (height + gap) - gap))
    pen = ImageDraw.Draw(column)
    for row, label in enumerate(labels):
        middle = row * (height + gap) + height / 2
        pen.text((width - 6, middle), label, fill=(110, 110, 110, 255), font=font, anchor="rm")
    return np.asarray(column)

"""Images in the plane, each where its code is."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from aegean.errors import DataError
from aegean.plots.grids import Array, Pixels, to_pixels

#: The longer side of a map, in pixels, and the longer side that an image on it has at most and at least.
MAP_SIDE, LARGEST, SMALLEST = 1200, 96, 24
#: Cells a side of the map, for each root of the number of images: where codes are Gaussian, most cells stay empty.
CELLS = 1.2
#: Codes further out than this share of all are moved to the edge, so that a few do not press the others together.
OUTLIERS = 0.01


def thumbnail_map(codes: Array, images: Array) -> Pixels:
    """Draw images at their codes: the plane is cut into cells, and each shows the image that is nearest to its centre.

    Args:
        codes: shape `(n, 2)`; the first coordinate grows rightwards, the second upwards.
        images: floats in [0, 1] or uint8, shape `(n, c, h, w)`.

    Returns:
        uint8, shape `(height, width, 4)`, transparent where there is no image.

    Raises:
        DataError: shapes do not fit, or a code is not finite.
    """
    points = np.asarray(codes, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or len(points) != len(images):
        raise DataError(f"expected codes of shape (n, 2) and n images, found {points.shape} and {len(images)} images.")
    if not np.isfinite(points).all():
        raise DataError("a code is not finite; the model has diverged.")
    places, columns, rows = _cells(points)
    side = int(np.clip(MAP_SIDE // max(columns, rows), SMALLEST, LARGEST))
    shown = nearest_to_centres(places)
    canvas = Image.new("RGBA", (columns * side, rows * side))
    tiles = to_pixels(images[shown])
    height, width = tiles.shape[1:3]
    factor = (side - 2) / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = Image.Resampling.LANCZOS if factor < 1 or max(height, width) >= 32 else Image.Resampling.NEAREST
    for index, tile in zip(shown.tolist(), tiles, strict=True):
        picture = Image.fromarray(tile[..., 0] if tile.shape[2] == 1 else tile).convert("RGB").resize(size, smooth)
        column, row = (int(place) for place in places[index])
        canvas.paste(picture, (column * side, (rows - 1 - row) * side))
    return np.asarray(canvas)


def nearest_to_centres(places: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return one index for each cell that has points: of the one nearest to the middle of its cell."""
    cells = np.floor(places).astype(np.int64)
    distance = ((places - cells - 0.5) ** 2).sum(axis=1)
    order = np.lexsort((distance, cells[:, 1], cells[:, 0]))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (cells[order][1:] != cells[order][:-1]).any(axis=1)
    return order[first]


def _cells(points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], int, int]:
    """Return places in units of cells, and the number of columns and rows."""
    low, high = np.quantile(points, [OUTLIERS, 1 - OUTLIERS], axis=0)
    span = np.maximum(high - low, 1e-9)
    most = int(np.clip(round(CELLS * np.sqrt(len(points))), 4, MAP_SIDE // SMALLEST))
    cell = span.max() / most
    counts = np.maximum(1, np.ceil(span / cell - 1e-9)).astype(int)
    places = np.clip((points - low) / cell, 0, counts - 1e-6)
    return places, int(counts[0]), int(counts[1])

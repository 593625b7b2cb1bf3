"""The images of a page, as elements that need no file, and the charts of its codes and curves."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup

from aegean.errors import DataError
from aegean.plots.curves import Points, curve_svg, short
from aegean.plots.grids import Array, Pixels, drawn_size, gap_beside, image_grid, png_bytes, to_pixels
from aegean.plots.latent import codes_svg
from aegean.report.content import Cluster, Codes, Figure, ImageRow, Mistakes, Proposals, Reconstructions
from aegean.report.words import Names

#: Images are shown this many CSS pixels wide, or about so: enlarged by whole numbers only.
SHOWN_SIDE = 52
#: Images smaller than this keep their sharp pixels when enlarged.
PIXELATED_BELOW = 64
#: A row of images is not wider than this, in CSS pixels, where it is enlarged; grids side by side, than that.
ROW_WIDTH, PANEL_WIDTH = 600, 200

Row = TypeVar("Row", ImageRow, Cluster)


@dataclass(frozen=True)
class Picture:
    """An image element: a data URI, its width in CSS pixels, and what it shows in words."""

    source: str
    width: int
    alt: str
    pixelated: bool


def picture(images: Array, in_row: int, columns: int, alt: str, room: int = ROW_WIDTH) -> Picture:
    """Rows of `in_row` images on room for `columns`: short rows must not be enlarged on a narrow page."""
    pixels = image_grid(images, columns=in_row, scale=1, background=None)
    height, width = drawn_size(images)
    gap = gap_beside(height, width)
    pixels = np.pad(pixels, ((0, 0), (0, columns * (width + gap) - gap - pixels.shape[1]), (0, 0)))
    factor = max(1, min(round(SHOWN_SIDE / max(height, width)), room // pixels.shape[1]))
    source = "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()
    return Picture(source, pixels.shape[1] * factor, alt, factor > 1 and max(height, width) < PIXELATED_BELOW)


def in_a_row(images: Array) -> int:
    """How many images of this size go into one row."""
    side = max(drawn_size(images))
    shown = side * max(1, round(SHOWN_SIDE / side))
    return max(4, min(10, round(ROW_WIDTH / (shown + shown / 14))))


def strips(rows: Sequence[tuple[Row, str]]) -> list[tuple[Row, Picture | None]]:
    """One picture a row; None for a row without images (an empty cluster, say)."""
    longest = max((len(row.images) for row, _ in rows), default=0)
    strips: list[tuple[Row, Picture | None]] = []
    for row, alt in rows:
        columns = min(longest, in_a_row(row.images))
        count = len(row.images)
        strips.append((row, picture(row.images, columns, columns, f"{count} {alt}") if count else None))
    return strips


def figure_panels(figure: Figure) -> dict[str, Any]:
    """Name and picture of each panel that has images: named rows one below the other, named grids side by side."""
    panels = []
    for panel in figure.shown:
        alt = ": ".join(filter(None, (f"{len(panel.images)} images", figure.title, panel.name)))
        room = PANEL_WIDTH if figure.layout == "beside" else ROW_WIDTH
        panels.append((panel.name, picture(panel.images, panel.in_row or figure.columns, figure.columns, alt, room)))
    return {"title": figure.title, "caption": figure.caption, "panels": panels, "layout": figure.layout}


def reconstruction_pairs(shown: Reconstructions | None) -> list[Picture] | None:
    """Rows of originals above their reconstructions."""
    if shown is None or not len(shown.originals):
        return None
    originals, rebuilt = shown.originals, shown.rebuilt
    if tuple(originals.shape) != tuple(rebuilt.shape):
        raise DataError(f"{tuple(originals.shape)} originals, {tuple(rebuilt.shape)} reconstructions; give pairs.")
    columns = min(len(originals), in_a_row(originals))
    pictures = []
    for start in range(0, len(originals), columns):
        above, below = (to_pixels(images[start : start + columns]) for images in (originals, rebuilt))
        pairs = np.concatenate([above, below]).transpose(0, 3, 1, 2)
        alt = f"{len(above)} images above their reconstructions"
        pictures.append(picture(pairs, len(above), columns, alt))
    return pictures


def mistake_tiles(shown: Mistakes | None, names: Names) -> list[dict[str, Any]] | None:
    """Return each mistake as a picture, its class, the prediction, and how sure the model was."""
    if shown is None:
        return None
    sure = shown.confidence
    beside = [shown.true, shown.predicted, shown.names, sure]
    if any(values is not None and len(values) != len(shown.images) for values in beside):
        raise DataError(f"{len(shown.images)} mistakes; give a class, prediction, name and confidence for each.")
    tiles = []
    for index in range(len(shown.images)):
        true, predicted = names[int(shown.true[index])], names[int(shown.predicted[index])]
        tiles.append(
            {
                "picture": picture(shown.images[index : index + 1], 1, 1, f"{true}, taken for {predicted}"),
                "true": true,
                "predicted": predicted,
                "name": shown.names[index] if shown.names is not None else None,
                "confidence": None if sure is None else f"{100 * float(sure[index]):.0f}\u202f%",
            }
        )
    return tiles


def proposal_tiles(shown: Proposals | None) -> list[dict[str, Any]]:
    """Return each image that should be labelled next as a picture with a guess."""
    if shown is None:
        return []
    return [
        {
            "picture": picture(shown.images[index : index + 1], 1, 1, f"perhaps {guess}"),
            "guess": guess,
            "name": shown.names[index] if shown.names is not None else None,
            "confidence": f"{100 * float(shown.confidence[index]):.0f}\u202f%",
        }
        for index, guess in enumerate(shown.guesses)
    ]


def map_picture(pixels: Pixels) -> Picture:
    """Return the map of images as an element."""
    source = "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()
    return Picture(source, pixels.shape[1], "images, each where its code is", pixelated=False)


def code_chart(shown: Codes | None, names: Names) -> Markup | None:
    """Return the codes as points in the colours of their classes."""
    if shown is None:
        return None
    count = int(np.asarray(shown.labels).max(initial=-1)) + 1
    class_names = [names[label] for label in range(count)]
    return Markup(codes_svg(shown.codes, shown.labels, class_names, shown.marks))  # noqa: S704 - escapes


def curve_charts(curves: Mapping[str, Points], unit: str) -> list[tuple[str, Markup | None, str]]:
    """Name, chart and last value of each curve; no chart where no value is finite."""
    charts: list[tuple[str, Markup | None, str]] = []
    for name, points in curves.items():
        finite = [value for _, value in points if math.isfinite(value)]
        chart = Markup(curve_svg(points, name, unit=unit)) if finite else None  # noqa: S704 - curve_svg escapes
        charts.append((name, chart, short(finite[-1]) if finite else "no finite value"))
    return charts

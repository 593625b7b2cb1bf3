"""The pictures of a report as PNG files, for documents; each says in itself which run it is of."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from aegean.data import as_float
from aegean.errors import ConfigError
from aegean.files import atomic_write
from aegean.plots.curves import figure_png
from aegean.plots.grids import Array, Pixels, drawn_size, filled, image_grid, png_bytes
from aegean.plots.latent import codes_figure
from aegean.report.content import Cluster, Codes, Figure, ImageRow, Reconstructions, ReportContent
from aegean.report.words import Names

#: Pixels that a picture is not wider and not higher than, where its images are enlarged; and by how much at most.
ROOM = (720, 900)
MOST = 6
#: Images a row where nothing else says how many.
COLUMNS = 10
#: Pixels between panels that stand side by side.
BETWEEN = 16

Row = tuple[str, torch.Tensor]


@dataclass(frozen=True)
class Still:
    """A picture: its title, what it shows in plain sentences, and what draws it, uint8 (h, w, 3)."""

    title: str
    caption: str
    draw: Callable[[], Pixels]


def picture_name(title: str) -> str:
    """Return a figure's title as the name of a file, without ending: `Drawn or copied?` is `drawn-or-copied`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def pictures(content: ReportContent) -> dict[str, Still]:
    """Return the pictures of a report by name."""
    found: list[Still] = []
    if content.samples:
        several = ", one row a class or component" if len(content.samples) > 1 else ""
        draw = partial(_samples, content.samples)
        found.append(Still("Samples", f"New images that the model drew{several}.", draw))
    if content.clusters:
        of = "class" if content.classification is not None else "cluster"
        caption = f"Each row shows the {content.judged} that are most typical of a {of}, as the model sees it."
        if content.clustering is not None:
            caption += " Beside it stands the class that it is named after."
        found.append(Still("Clusters", caption, partial(_clusters, content.clusters)))
    if content.reconstructions is not None and len(content.reconstructions.originals):
        caption = f"A row of {content.judged}, and below it what the model makes of their codes."
        found.append(Still("Reconstructions", caption, partial(_reconstructions, content.reconstructions)))
    if content.codes is not None:
        draw = partial(_codes, content.codes, content.class_names)
        found.append(Still(content.codes.title, content.codes.caption, draw))
    found += [
        Still(figure.title, _caption(figure), partial(figure_pixels, figure))
        for figure in content.figures
        if figure.shown
    ]
    return {picture_name(still.title): still for still in found}


def save_pictures(
    content: ReportContent, folder: Path, source: Mapping[str, str], only: Sequence[str] = ()
) -> list[Path]:
    """Write the pictures of a report as `folder/NAME.png`.

    Each has as text chunks its `Title`, its `Description` and what `source` says.

    Args:
        content: of the report.
        folder: made if it does not exist.
        source: what the pictures are of, by keyword.
        only: names of the pictures wanted; by default all of them.

    Returns:
        The files.

    Raises:
        ConfigError: there is no picture of that name, or none at all.
        OutputError: a file cannot be written.
    """
    drawn = pictures(content)
    if unknown := [name for name in only if name not in drawn]:
        raise ConfigError(f"no picture {unknown[0]!r}; this run has: {', '.join(drawn) or 'none'}.")
    if not drawn:
        raise ConfigError("this run has no pictures.")
    paths = []
    for name in only or drawn:
        still = drawn[name]
        paths.append(folder / f"{name}.png")
        text = {"Title": still.title, "Description": still.caption, **source}
        atomic_write(paths[-1], png_bytes(still.draw(), text))
    return paths


def figure_pixels(figure: Figure) -> Pixels:
    """Draw a figure: named grids side by side, all else one below the other, named rows with their names."""
    if figure.layout == "beside":
        panels = [_grid([("", _tensor(panel.images))], figure.columns, len(figure.shown)) for panel in figure.shown]
        height = max(len(panel) for panel in panels)
        padded = [
            np.pad(panel, ((0, height - len(panel)), (0, BETWEEN), (0, 0)), constant_values=255) for panel in panels
        ]
        return np.concatenate(padded, axis=1)[:, :-BETWEEN]
    rows: list[Row] = []
    for panel in figure.shown:
        parts = torch.split(_tensor(panel.images), panel.in_row or figure.columns)
        rows += [(panel.name if k == 0 else "", part) for k, part in enumerate(parts)]
    return _grid(rows, figure.columns)


def _caption(figure: Figure) -> str:
    if figure.layout != "beside":
        return figure.caption
    return f"{figure.caption} From left to right: {', '.join(panel.name for panel in figure.shown)}."


def _samples(rows: Sequence[ImageRow]) -> Pixels:
    if len(rows) == 1:
        return _grid([("", _tensor(rows[0].images))], COLUMNS)
    return _grid([(row.name, _tensor(row.images)) for row in rows])


def _clusters(clusters: Sequence[Cluster]) -> Pixels:
    return _grid([(cluster.label or str(cluster.number), _tensor(cluster.images)) for cluster in clusters])


def _reconstructions(shown: Reconstructions) -> Pixels:
    rows: list[Row] = []
    originals, rebuilt = (torch.split(_tensor(images), COLUMNS) for images in (shown.originals, shown.rebuilt))
    for above, below in zip(originals, rebuilt, strict=True):
        rows += [("images", above), ("redrawn", below)]
    return _grid(rows)


def _codes(shown: Codes, class_names: Sequence[str]) -> Pixels:
    names = Names(class_names)
    count = int(np.asarray(shown.labels).max(initial=-1)) + 1
    figure = codes_figure(shown.codes, shown.labels, [names[k] for k in range(count)], shown.marks)
    return np.asarray(Image.open(io.BytesIO(figure_png(figure, dpi=100))).convert("RGB"))


def _grid(rows: Sequence[Row], columns: int | None = None, panels: int = 1) -> Pixels:
    """Draw named rows of images; a single one is broken into several. What is missing in a row is white."""
    longest = max(len(images) for _, images in rows)
    columns = min(columns or longest, longest)
    if len(rows) == 1:
        name, images = rows[0]
        rows = [(name if k == 0 else "", part) for k, part in enumerate(torch.split(images, columns))]
    height, width = drawn_size(rows[0][1])
    room = min(ROOM[0] // panels // (columns * width), ROOM[1] // (len(rows) * height))
    labels = [name for name, _ in rows]
    return image_grid(
        torch.cat([filled(images, columns) for _, images in rows]),
        columns=columns,
        scale=max(1, min(MOST, room)),
        row_labels=labels if any(labels) else None,
    )


def _tensor(images: Array) -> torch.Tensor:
    """Floats in [0, 1] on the CPU, of floats or bytes."""
    tensor = torch.as_tensor(images).detach().cpu()
    return as_float(tensor) if tensor.dtype == torch.uint8 else tensor.float()

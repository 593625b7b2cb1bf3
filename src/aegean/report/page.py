"""From `ReportContent` to one HTML page that needs nothing but itself."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from aegean.errors import DataError
from aegean.evaluate.classification import Classification
from aegean.evaluate.clustering import Clustering
from aegean.plots.curves import Points, curve_svg, short
from aegean.plots.grids import Array, Pixels, drawn_size, gap_beside, image_grid, png_bytes, to_pixels
from aegean.plots.latent import codes_svg
from aegean.report.content import (
    Cluster,
    Codes,
    Figure,
    ImageRow,
    Mistakes,
    Proposals,
    Reconstructions,
    ReportContent,
)
from aegean.report.health import AdversaryHealth

#: Images are shown this many CSS pixels wide, or about so: enlarged by whole numbers only.
SHOWN_SIDE = 52
#: Images smaller than this keep their sharp pixels when enlarged.
PIXELATED_BELOW = 64
#: A row of images is not wider than this, in CSS pixels, where it is enlarged; grids side by side, than that.
ROW_WIDTH, PANEL_WIDTH = 600, 200
#: A confusion matrix of more classes is not shown as a table, but as its most frequent mistakes.
MOST_CLASSES = 30


Row = TypeVar("Row", ImageRow, Cluster)


@dataclass(frozen=True)
class Picture:
    """An image element: a data URI, its width in CSS pixels, and what it shows in words."""

    source: str
    width: int
    alt: str
    pixelated: bool


def render_report(content: ReportContent) -> str:
    """Return the page as one HTML string.

    It makes no network request, runs no script, follows the reader's light or dark mode, and its security
    policy forbids the browser anything else. All text is escaped.

    Raises:
        DataError: images or codes of a wrong shape or range.
    """
    template, style = _template(), _read("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    names = _Names(content.class_names)
    errors = _curves({"error on validation images": content.errors}, "percent") if content.errors else []
    losses = _curves(content.curves or {}, "nats an image")
    page = template.render(
        content=content,
        style=Markup(style),  # noqa: S704 - our own file
        style_digest=digest,
        names=names,
        lead=lead(content),
        baselines=_baselines(content),
        samples=_strips([(row, f"generated images: {row.name}") for row in content.samples or ()]),
        figures=[_figure(figure) for figure in content.figures],
        clusters=_strips([(row, f"typical members of cluster {row.number}") for row in content.clusters or ()]),
        confusion=_confusion(content.classification, names),
        measures=_measures(content.clustering),
        reconstructions=_reconstructions(content.reconstructions),
        mistakes=_mistakes(content.mistakes, names),
        proposals=_proposals(content.proposals),
        map=None if content.map is None else _map(content.map),
        codes=_codes(content.codes, names),
        curves=[*errors, *losses],
        adversaries=[_adversary(health) for health in content.adversaries or ()],
        duration=_duration(content.technical.minutes if content.technical else None),
    )
    # A file name that is not UTF-8 holds surrogates, which no browser and no file takes.
    return page.encode("utf-8", "replace").decode("utf-8")


def _read(name: str) -> str:
    return resources.files("aegean.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_read("template.html"))


def lead(content: ReportContent) -> list[str]:
    """Return the plain sentences for the top of the page."""
    names = _Names(content.class_names)
    sentences = list(content.findings[:1])
    if content.classification is not None:
        result = content.classification
        right = result.examples - result.mistakes
        if not content.findings:
            sentences.append(
                f"{right:,} of {result.examples:,} {content.judged} were labelled correctly "
                f"({percent(result.error_percent, result.examples)} error)."
            )
        worst = [
            f"{names[true]} taken for {names[predicted]} ({_times(count)})"
            for true, predicted, count in result.most_confused(2)
        ]
        if worst:
            sentences.append(f"Most mistakes: {' and '.join(worst)}.")
    sentences += content.findings[1:]
    if content.clustering is not None and not content.findings:
        found = content.clustering
        right = found.examples - round(found.examples * found.error_percent / 100)
        sentences.append(
            f"{found.clusters} clusters were found without labels; each named after its most typical image, "
            f"they put {right:,} of {found.examples:,} {content.judged} into the right class "
            f"({percent(found.error_percent, found.examples)} error with K = {found.clusters})."
        )
        if found.collapsed:
            sentences.append(f"{found.collapsed} of the {found.clusters} clusters are empty or nearly so.")
    if content.labels is not None:
        labelled, images = content.labels
        some = f"{labelled:,}" if labelled else "none"
        sentences.append(f"It learned from {images:,} images, {some} of them with a label.")
    return [*sentences, *content.sentences]


def percent(value: float, examples: int = 0) -> str:
    """Format a percentage with one decimal, or two where there are enough examples to know the second."""
    return f"{value:.{2 if examples >= 2000 else 1}f}\u202f%"


def error_interval(mistakes: int, examples: int) -> tuple[float, float]:
    """Return the 95 % interval (Wilson 1927) of an error rate, in percent."""
    z = 1.959964
    rate = mistakes / examples
    centre = (rate + z * z / (2 * examples)) / (1 + z * z / examples)
    half = z / (1 + z * z / examples) * math.sqrt(rate * (1 - rate) / examples + z * z / (4 * examples**2))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


class _Names:
    """Names of classes; the number where there is no name."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __getitem__(self, label: int) -> str:
        return self._names[label] if 0 <= label < len(self._names) else str(label)


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _duration(minutes: float | None) -> str | None:
    if minutes is None:
        return None
    if minutes < 2:
        return f"{60 * minutes:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _picture(images: Array, in_row: int, columns: int, alt: str, room: int = ROW_WIDTH) -> Picture:
    """Rows of `in_row` images on room for `columns`: short rows must not be enlarged on a narrow page."""
    pixels = image_grid(images, columns=in_row, scale=1, background=None)
    height, width = drawn_size(images)
    gap = gap_beside(height, width)
    pixels = np.pad(pixels, ((0, 0), (0, columns * (width + gap) - gap - pixels.shape[1]), (0, 0)))
    factor = max(1, min(round(SHOWN_SIDE / max(height, width)), room // pixels.shape[1]))
    source = "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()
    return Picture(source, pixels.shape[1] * factor, alt, factor > 1 and max(height, width) < PIXELATED_BELOW)


def _columns(images: Array) -> int:
    """How many images of this size go into one row."""
    side = max(drawn_size(images))
    shown = side * max(1, round(SHOWN_SIDE / side))
    return max(4, min(10, round(ROW_WIDTH / (shown + shown / 14))))


def _strips(rows: Sequence[tuple[Row, str]]) -> list[tuple[Row, Picture | None]]:
    """One picture a row; None for a row without images (an empty cluster, say)."""
    longest = max((len(row.images) for row, _ in rows), default=0)
    strips: list[tuple[Row, Picture | None]] = []
    for row, alt in rows:
        columns = min(longest, _columns(row.images))
        count = len(row.images)
        strips.append((row, _picture(row.images, columns, columns, f"{count} {alt}") if count else None))
    return strips


def _figure(figure: Figure) -> dict[str, Any]:
    """Name and picture of each panel that has images: named rows one below the other, named grids side by side."""
    shown = [panel for panel in figure.panels if len(panel.images)]
    named = any(panel.name for panel in shown)
    beside = named and any(len(panel.images) > figure.columns for panel in shown)
    panels = []
    for panel in shown:
        alt = ": ".join(filter(None, (f"{len(panel.images)} images", figure.title, panel.name)))
        room = PANEL_WIDTH if beside else ROW_WIDTH
        panels.append((panel.name, _picture(panel.images, figure.columns, figure.columns, alt, room)))
    layout = "beside" if beside else "strips" if named else "plain"
    return {"title": figure.title, "caption": figure.caption, "panels": panels, "layout": layout}


def _baselines(content: ReportContent) -> dict[str, Any] | None:
    """Bars of all errors in order, and one sentence about them."""
    if content.baselines is None:
        return None
    judged = content.classification or content.clustering
    rows = [(name, error, False) for name, error in content.baselines.items()]
    interval, comment = None, ""
    if judged is not None:
        rows.append(("this model", judged.error_percent, True))
        interval = error_interval(round(judged.error_percent * judged.examples / 100), judged.examples)
        better = [name for name, error, _ in rows[:-1] if error < judged.error_percent]
        total = len(rows) - 1
        if not better:
            equal = [name for name, error, _ in rows[:-1] if error == judged.error_percent]
            comment = "No simple method does better with the same labels on the same images."
            comment += f" As good: {' and '.join(equal)}." if equal else ""
        elif len(better) == total:
            comment = "Every simple method does better with the same labels on the same images."
        else:
            comment = f"With the same labels on the same images, {' and '.join(better)} did better."
    longest = max((error for _, error, _ in rows), default=0.0)
    examples = judged.examples if judged is not None else 0
    return {
        "rows": [
            (name, percent(error, examples), 100 * error / longest if longest else 0.0, ours)
            for name, error, ours in sorted(rows, key=lambda row: (row[1], not row[2]))
        ],
        "comment": comment,
        "interval": interval and f"{interval[0]:.1f} to {percent(interval[1])}",
        "examples": examples,
    }


def _confusion(result: Classification | None, names: _Names) -> dict[str, Any] | None:
    """Cells with a class for their colour: d1 to d5 on the diagonal, m1 to m5 for mistakes."""
    if result is None:
        return None
    counts, recall = result.confusion, result.recall
    most = int((counts - np.diag(np.diag(counts))).max())
    rows = []
    for i, row in enumerate(counts):
        cells = []
        for j, count in enumerate(row):
            strength = math.ceil(5 * (recall[i] if i == j else count / max(most, 1))) if count else 0
            cells.append((int(count), f"{'d' if i == j else 'm'}{strength}" if count else "zero"))
        rows.append((names[i], cells, "" if np.isnan(recall[i]) else percent(100 * recall[i])))
    pairs = [(names[true], names[predicted], count) for true, predicted, count in result.most_confused(20)]
    present = np.flatnonzero(~np.isnan(recall))
    hardest = present[np.argmin(recall[present])]
    return {
        "rows": rows,
        "as_table": len(rows) <= MOST_CLASSES,
        "pairs": pairs,
        "hardest": (names[int(hardest)], percent(100 * recall[hardest])),
        "calibration": None if result.calibration_error is None else f"{100 * result.calibration_error:.1f}",
    }


def _reconstructions(shown: Reconstructions | None) -> list[Picture] | None:
    """Rows of originals above their reconstructions."""
    if shown is None or not len(shown.originals):
        return None
    originals, rebuilt = shown.originals, shown.rebuilt
    if tuple(originals.shape) != tuple(rebuilt.shape):
        raise DataError(f"{tuple(originals.shape)} originals, {tuple(rebuilt.shape)} reconstructions; give pairs.")
    columns = min(len(originals), _columns(originals))
    pictures = []
    for start in range(0, len(originals), columns):
        above, below = (to_pixels(images[start : start + columns]) for images in (originals, rebuilt))
        pairs = np.concatenate([above, below]).transpose(0, 3, 1, 2)
        alt = f"{len(above)} images above their reconstructions"
        pictures.append(_picture(pairs, len(above), columns, alt))
    return pictures


def _mistakes(shown: Mistakes | None, names: _Names) -> list[dict[str, Any]] | None:
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
                "picture": _picture(shown.images[index : index + 1], 1, 1, f"{true}, taken for {predicted}"),
                "true": true,
                "predicted": predicted,
                "name": shown.names[index] if shown.names is not None else None,
                "confidence": None if sure is None else f"{100 * float(sure[index]):.0f}\u202f%",
            }
        )
    return tiles


def _proposals(shown: Proposals | None) -> list[dict[str, Any]]:
    if shown is None:
        return []
    return [
        {
            "picture": _picture(shown.images[index : index + 1], 1, 1, f"perhaps {guess}"),
            "guess": guess,
            "name": shown.names[index] if shown.names is not None else None,
            "confidence": f"{100 * float(shown.confidence[index]):.0f}\u202f%",
        }
        for index, guess in enumerate(shown.guesses)
    ]


def _map(pixels: Pixels) -> Picture:
    source = "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()
    return Picture(source, pixels.shape[1], "images, each where its code is", pixelated=False)


def _codes(shown: Codes | None, names: _Names) -> Markup | None:
    if shown is None:
        return None
    count = int(np.asarray(shown.labels).max(initial=-1)) + 1
    class_names = [names[label] for label in range(count)]
    return Markup(codes_svg(shown.codes, shown.labels, class_names, shown.marks))  # noqa: S704 - escapes


def _curves(curves: Mapping[str, Points], unit: str) -> list[tuple[str, Markup | None, str]]:
    """Name, chart and last value of each curve; no chart where no value is finite."""
    charts: list[tuple[str, Markup | None, str]] = []
    for name, points in curves.items():
        finite = [value for _, value in points if math.isfinite(value)]
        chart = Markup(curve_svg(points, name, unit=unit)) if finite else None  # noqa: S704 - curve_svg escapes
        charts.append((name, chart, short(finite[-1]) if finite else "no finite value"))
    return charts


def _adversary(health: AdversaryHealth) -> dict[str, Any]:
    """Verdict, sentence and charts of one discriminator."""
    chance = health.discriminator_chance
    charts = [
        ("discriminator's loss", health.discriminator_loss, chance),
        ("opponent's loss", health.generator_loss, health.generator_chance),
    ]
    verdict, end = health.verdict, short(health.final_loss)
    sentence = {
        "working": f"Its loss left chance ({short(chance)}) during training and ended at {end}.",
        "diverged": "Its loss became NaN or infinite. Lower the learning rates.",
        "never started": (
            f"Its loss stayed at chance ({short(chance)}) all the time, so it taught its opponent nothing. "
            "Raise its learning rate, or lower the noise on its inputs."
        ),
        "overpowered": (
            "It is almost never wrong, so its opponent hardly learns from it. Lower its learning rate, or "
            "give it noisier inputs or a gradient penalty (R1)."
        ),
    }[verdict]
    return {
        "name": health.name,
        "verdict": verdict,
        "sentence": sentence,
        "accuracies": [
            (name, percent(100 * value))
            for name, value in (("real", health.real_accuracy), ("fake", health.fake_accuracy))
            if value is not None
        ],
        "charts": [
            (label, Markup(curve_svg(points, f"{health.name}: {label}", (level, "chance"))))  # noqa: S704
            for label, points, level in charts
            if any(math.isfinite(value) for _, value in points)
        ],
    }


def _measures(found: Clustering | None) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each measure of a clustering."""
    if found is None:
        return []
    n = found.examples
    rows = [
        (
            "Clusters (K)",
            str(found.clusters),
            f"{found.classes} classes; more clusters make a low error easier",
        ),
        (
            "Error, most typical",
            percent(found.error_percent, n),
            "each cluster named after its most typical image",
        ),
        (
            "Error, majority",
            percent(found.majority_error_percent, n),
            "each named by the majority of its images",
        ),
    ]
    if found.hungarian_error_percent is not None:
        meaning = "each class given to one cluster only"
        rows.append(("Error, one to one", percent(found.hungarian_error_percent, n), meaning))
    rows += [
        ("NMI", f"{found.nmi:.3f}", "shared information of clusters and classes; 1 is perfect"),
        ("ARI", f"{found.ari:.3f}", "agreement on pairs of images; 1 is perfect, 0 is chance"),
        ("Empty / collapsed", f"{found.empty} / {found.collapsed}", "clusters with no or hardly any images"),
    ]
    return rows

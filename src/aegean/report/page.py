"""From `ReportContent` to one HTML page that needs nothing but itself."""

import base64
import hashlib
from functools import cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from aegean.report.content import ReportContent
from aegean.report.pictures import (
    code_chart,
    curve_charts,
    figure_panels,
    map_picture,
    mistake_tiles,
    proposal_tiles,
    reconstruction_pairs,
    strips,
)
from aegean.report.tables import adversary_verdict, baseline_bars, clustering_measures, confusion_table
from aegean.report.words import Names, duration, lead


def render_report(content: ReportContent) -> str:
    """Return the page as one HTML string.

    It makes no network request, runs no script, follows the reader's light or dark mode, and its security
    policy forbids the browser anything else. All text is escaped.

    Raises:
        DataError: images or codes of a wrong shape or range.
    """
    template, style = _template(), _read("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    names = Names(content.class_names)
    errors = curve_charts({"error on validation images": content.errors}, "percent") if content.errors else []
    losses = curve_charts(content.curves or {}, "nats an image")
    page = template.render(
        content=content,
        style=Markup(style),  # noqa: S704 - our own file
        style_digest=digest,
        names=names,
        lead=lead(content),
        baselines=baseline_bars(content),
        samples=strips([(row, f"generated images: {row.name}") for row in content.samples or ()]),
        figures=[figure_panels(figure) for figure in content.figures],
        clusters=strips([(row, f"typical members of cluster {row.number}") for row in content.clusters or ()]),
        confusion=confusion_table(content.classification, names),
        measures=clustering_measures(content.clustering),
        reconstructions=reconstruction_pairs(content.reconstructions),
        mistakes=mistake_tiles(content.mistakes, names),
        proposals=proposal_tiles(content.proposals),
        map=None if content.map is None else map_picture(content.map),
        codes=code_chart(content.codes, names),
        curves=[*errors, *losses],
        adversaries=[adversary_verdict(health) for health in content.adversaries or ()],
        duration=duration(content.technical.minutes if content.technical else None),
    )
    # A file name that is not UTF-8 holds surrogates, which no browser and no file takes.
    return page.encode("utf-8", "replace").decode("utf-8")


def _read(name: str) -> str:
    return resources.files("aegean.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_read("template.html"))

"""Training curves: small SVG charts that follow the page's colours, and a matplotlib figure."""

import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from aegean.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Points (epoch, value) of one curve.
Points = Sequence[tuple[float, float]]

#: Positive values of which the largest is this many times the smallest are drawn on a logarithmic axis.
LOGARITHMIC_FROM = 30.0


def curve_svg(points: Points, name: str, reference: tuple[float, str] | None = None, unit: str = "") -> str:
    """Draw one curve as an SVG element of 300 x 150 units that scales with the page.

    The line has the class `line`, a reference the class `reference`, text the class `tick`; without a style
    sheet all are drawn in `currentColor`.

    Args:
        points: (epoch, value) in order; values that are not finite interrupt the line.
        name: what is drawn, for readers who cannot see it.
        reference: a level to compare with, and its name (`(1.386, "chance")`); the axis then starts at 0, or ends
            there where all lies below.
        unit: what the values count, written along their axis.

    Returns:
        The element as text; `name`, `unit` and the name of the reference are escaped.

    Raises:
        DataError: no point is finite.
    """
    finite = _finite(points, name)
    width, height, left, right, top, bottom = 300.0, 150.0, 44.0, 10.0, 10.0, 22.0
    first, last = finite[0][0], finite[-1][0]
    lowest, highest = _axis([value for _, value in finite], reference)
    logarithmic = not reference and _is_logarithmic([lowest, highest])
    level = math.log if logarithmic else float

    def place(epoch: float, value: float) -> tuple[float, float]:
        x = (epoch - first) / (last - first) if last > first else 0.5
        y = (level(value) - level(lowest)) / (level(highest) - level(lowest))
        return left + (width - left - right) * x, height - bottom - (height - top - bottom) * y

    path, pen_down = [], False
    for epoch, value in points:
        if not math.isfinite(value):
            pen_down = False
            continue
        path.append("{}{:.1f} {:.1f}".format("L" if pen_down else "M", *place(epoch, value)))
        pen_down = True
    end_x, end_y = place(*finite[-1])
    parts = [
        f'<path class="axis" d="M{left} {top}V{height - bottom}H{width - right}" '
        'fill="none" stroke="currentColor" stroke-opacity=".25"/>'
    ]
    if reference:
        y = place(first, reference[0])[1]
        parts.append(
            f'<path class="reference" d="M{left} {y:.1f}H{width - right}" fill="none" stroke="currentColor" '
            f'stroke-dasharray="3 3" stroke-opacity=".6"/>'
            + _text(width - right, y - 4 if y > 24 else y + 12, reference[1], "end")
        )
    parts.append(
        f'<path class="line" d="{"".join(path)}" fill="none" stroke="currentColor" stroke-width="1.75" '
        'stroke-linejoin="round" stroke-linecap="round"/>'
        f'<circle class="end" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3" fill="currentColor"/>'
    )
    parts += [_text(left - 6, height - bottom, short(lowest), "end")]
    parts += [_text(left - 6, top + 8, short(highest), "end")]
    parts += [_text(left, height - 6, f"{first:g}", "start")]
    parts += [_text(width - right, height - 6, f"{last:g}", "end")] if last > first else []
    if unit:
        middle = (top + height - bottom) / 2
        parts.append(_text(11.0, middle, unit, "middle", f' transform="rotate(-90 11 {middle:g})"'))
    scale = ", logarithmic axis" if logarithmic else ""
    parts.append(_text((left + width - right) / 2, height - 6, f"epoch{scale}", "middle"))
    start, end = short(finite[0][1]), short(finite[-1][1])
    spoken = f"{name}{f' in {unit}' if unit else ''}: from {start} at epoch {first:g} to {end} at epoch {last:g}{scale}"
    return (
        f'<svg class="curve" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(spoken)}">'
        f"{''.join(parts)}</svg>"
    )


def curves_figure(curves: Mapping[str, Points]) -> "Figure":
    """Draw curves as a matplotlib figure, one small chart a curve.

    Args:
        curves: (epoch, value) in order, by name.

    Raises:
        DataError: no curves, or a curve without a finite point.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    if not curves:
        raise DataError("no curves to draw.")
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.2 * rows), layout="constrained")
    for index, (name, points) in enumerate(curves.items()):
        _finite(points, name)
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.plot([epoch for epoch, _ in points], [value for _, value in points], linewidth=1.5, color="#1d6a96")
        axes.set_title(name, fontsize=10, loc="left", parse_math=False)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        if _is_logarithmic([value for _, value in points if math.isfinite(value)]):
            axes.set_yscale("log")
    return figure


def figure_png(figure: "Figure", dpi: int = 150) -> bytes:
    """Render a figure as PNG without a display (Agg)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow to import

    stream = io.BytesIO()
    FigureCanvasAgg(figure).figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def short(value: float) -> str:
    """Format a number with three significant digits and without an exponent where it can be."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        digits = 2 - math.floor(math.log10(abs(value))) if value else 0
        text = f"{value:.{max(0, digits)}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "\u2212")
    return f"{value:.1e}".replace("-", "\u2212")


def _finite(points: Points, name: str) -> list[tuple[float, float]]:
    found = [(epoch, value) for epoch, value in points if math.isfinite(value)]
    if not found:
        raise DataError(f"{name}: no finite value to draw.")
    return found


def _axis(values: Sequence[float], reference: tuple[float, str] | None) -> tuple[float, float]:
    """Lowest and highest value of the axis; a curve that hardly moves must look like one."""
    values = (*values, reference[0], 0.0) if reference else values
    lowest, highest = min(values), max(values)
    least = 0.02 * max(abs(lowest), abs(highest), 1e-6)
    pad = max(0.0, (least - (highest - lowest)) / 2)
    return lowest - pad, highest + pad


def _is_logarithmic(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) > LOGARITHMIC_FROM * min(values)


def _text(x: float, y: float, text: str, anchor: str, attributes: str = "") -> str:
    return (
        f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="10" '
        f'fill="currentColor"{attributes}>{escape(text)}</text>'
    )

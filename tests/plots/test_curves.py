import math
import re
from xml.etree import ElementTree as ET

import pytest

from aegean.errors import DataError
from aegean.plots.curves import curve_svg, curves_figure, figure_png, short


def parse(svg):
    return ET.fromstring(svg)  # noqa: S314 - our own text


def line(svg):
    """Coordinates of the line, one list for each uninterrupted piece."""
    path = next(part for part in parse(svg).iter("path") if part.get("class") == "line").get("d")
    return [[tuple(map(float, point.split())) for point in piece.split("L")] for piece in path.split("M")[1:]]


def texts(svg):
    return [text.text for text in parse(svg).iter("text")]


def test_values_are_placed_on_a_linear_axis_from_lowest_to_highest():
    (points,) = line(curve_svg([(0, 3.0), (1, 2.0), (2, 1.0), (4, 2.5)], "loss"))
    (x0, top), (x1, middle), (x2, bottom), (x4, y4) = points
    assert top < middle < bottom
    assert middle == pytest.approx((top + bottom) / 2, abs=0.11)
    assert y4 == pytest.approx(bottom + 0.75 * (top - bottom), abs=0.11)
    assert x1 - x0 == pytest.approx((x4 - x0) / 4, abs=0.11)
    assert x2 - x0 == pytest.approx((x4 - x0) / 2, abs=0.11)


def test_values_of_many_magnitudes_are_placed_on_a_logarithmic_axis():
    svg = curve_svg([(0, 100.0), (1, 10.0), (2, 1.0)], "loss")
    (points,) = line(svg)
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.11)
    assert "epoch, logarithmic axis" in texts(svg)
    assert "epoch" in texts(curve_svg([(0, 100.0), (1, 10.0), (2, -1.0)], "loss"))


def test_a_curve_that_hardly_moves_looks_like_one():
    (points,) = line(curve_svg([(0, 1.3860), (1, 1.3863)], "loss"))
    assert abs(points[0][1] - points[1][1]) < 3
    (level,) = line(curve_svg([(0, 0.0), (1, 0.0)], "loss"))
    assert level[0][1] == level[1][1]


def test_with_a_reference_the_axis_starts_at_zero():
    svg = curve_svg([(0, 1.386), (1, 0.693)], "loss", (1.386, "chance <>"))
    (points,) = line(svg)
    reference = next(part for part in parse(svg).iter("path") if part.get("class") == "reference")
    assert float(re.match(r"M[\d.]+ ([\d.]+)H", reference.get("d"))[1]) == points[0][1]
    height_of_zero = 150 - 22
    assert height_of_zero - points[1][1] == pytest.approx((height_of_zero - points[0][1]) / 2, abs=0.11)
    assert "chance <>" in texts(svg)
    assert "0" in texts(svg)


@pytest.mark.parametrize("level", [0.0, -1.0, 1.0])
def test_a_curve_that_never_moves_is_drawn_with_any_reference(level):
    """A dead critic's loss is exactly 0; the chance of a generator that minimises minus a divergence is negative."""
    svg = curve_svg([(0, level), (1, level)], "loss", (level, "chance"))
    (points,) = line(svg)
    reference = next(part for part in parse(svg).iter("path") if part.get("class") == "reference")
    height = float(re.match(r"M[\d.]+ ([\d.]+)H", reference.get("d"))[1])
    assert points[0][1] == points[1][1] == height
    assert 10 <= height <= 150 - 22


def test_a_negative_reference_is_within_the_axis():
    svg = curve_svg([(0, -0.5), (1, 0.5)], "loss", (-1.0, "chance"))
    assert "\u22121" in texts(svg)
    reference = next(part for part in parse(svg).iter("path") if part.get("class") == "reference")
    assert re.match(r"M[\d.]+ ([\d.]+)H", reference.get("d"))[1] == "128.0"


def test_values_that_are_not_finite_interrupt_the_line():
    points = [(0, 1.0), (1, 2.0), (2, math.nan), (3, 2.0), (4, math.inf), (5, 1.5)]
    assert [len(piece) for piece in line(curve_svg(points, "loss"))] == [2, 1, 1]
    with pytest.raises(DataError, match="confuse: no finite value"):
        curve_svg([(0, math.nan)], "confuse")
    with pytest.raises(DataError, match="no finite value"):
        curve_svg([], "confuse")


def test_one_point_is_drawn():
    svg = curve_svg([(3, 7.0)], "loss")
    assert len(line(svg)[0]) == 1
    assert parse(svg).find("circle") is not None


def test_the_unit_stands_along_the_axis_of_values():
    svg = curve_svg([(1, 2.0), (5, 1.0)], "error", unit="percent <of> images")
    (label,) = [text for text in parse(svg).iter("text") if text.text == "percent <of> images"]
    assert label.get("transform") == "rotate(-90 11 69)"
    assert (float(label.get("x")), float(label.get("y"))) == (11, 69)  # turned around itself, in the middle
    assert parse(svg).get("aria-label") == "error in percent <of> images: from 2 at epoch 1 to 1 at epoch 5"
    assert not any(text.get("transform") for text in parse(curve_svg([(1, 2.0), (5, 1.0)], "error")).iter("text"))


def test_names_are_escaped_and_spoken():
    svg = curve_svg([(1, 2.0), (5, 1.0)], '"><script>alert(1)</script>')
    assert "<script>" not in svg
    assert parse(svg).get("aria-label") == ('"><script>alert(1)</script>: from 2 at epoch 1 to 1 at epoch 5')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.3862944, "1.39"),
        (543.21, "543"),
        (10, "10"),
        (0.00123, "0.00123"),
        (1e-5, "1.0e\u221205"),
        (-2.5, "\u22122.5"),
        (99999, "99999"),
        (1e6, "1.0e+06"),
        (100, "100"),
    ],
)
def test_short_numbers(value, text):
    assert short(value) == text


def test_a_figure_has_one_chart_a_curve():
    curves = {f"phase ${i}": [(1, 2.0), (2, 1.0), (3, math.nan)] for i in range(4)} | {"wide": [(1, 1e3), (2, 1.0)]}
    figure = curves_figure(curves)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(curves)
    assert [axes.get_yscale() for axes in figure.axes] == ["linear"] * 4 + ["log"]
    assert figure_png(figure, dpi=40).startswith(b"\x89PNG")
    for bad in ({}, {"loss": [(1, math.nan)]}):
        with pytest.raises(DataError):
            curves_figure(bad)

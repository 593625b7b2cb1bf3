import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.errors import DataError
from aegean.plots.curves import figure_png
from aegean.plots.latent import MOST_POINTS, PALETTE, codes_figure, codes_svg, project_simplex


def parse(svg):
    return ET.fromstring(svg)  # noqa: S314 - our own text


def dots(svg):
    """Coordinates of the dots by colour, in the order of drawing."""
    found = {}
    for path in parse(svg).iter("path"):
        if path.get("class") != "axis":
            pairs = re.findall(r"M([-\d.]+) ([-\d.]+)h0", path.get("d"))
            found[path.get("stroke")] = np.array(pairs, dtype=float)
    return found


def test_the_corners_of_the_simplex_make_an_equilateral_triangle():
    corners = project_simplex(np.eye(3))
    sides = [np.linalg.norm(corners[i] - corners[j]) for i, j in ((0, 1), (1, 2), (2, 0))]
    assert sides == pytest.approx([1, 1, 1])
    np.testing.assert_allclose(project_simplex(np.full((1, 3), 1 / 3))[0], corners.mean(axis=0))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_height_in_the_triangle_is_the_probability(weights):
    q = np.array(weights) / sum(weights)
    assert project_simplex(q[None])[0, 1] / np.sqrt(0.75) == pytest.approx(q[2])


@pytest.mark.parametrize("q", [np.ones((2, 3)), np.eye(2), np.array([[1.5, -0.5, 0]]), np.ones(3)])
def test_what_is_not_a_probability_is_refused(q):
    with pytest.raises(DataError, match="three categories"):
        project_simplex(q)


def test_dots_keep_their_places_and_take_the_colour_of_their_class():
    codes = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    found = dots(codes_svg(codes, torch.tensor([0, 1, 0, -1]), ["a", "b"]))
    assert list(found) == ["#8c8c8c", PALETTE[0], PALETTE[1]]  # unlabelled dots lie below
    (low, high), (right,), (corner,) = found[PALETTE[0]], found[PALETTE[1]], found["#8c8c8c"]
    assert low[0] == high[0] < right[0] == corner[0]
    assert high[1] == corner[1] < low[1] == right[1]  # y points upwards
    assert right[0] - low[0] == pytest.approx(2 * (low[1] - high[1]), abs=0.2)  # one scale for both axes


def test_names_stand_at_the_medians_and_are_escaped():
    codes = np.random.default_rng(0).normal(size=(100, 2))
    labels = np.repeat([0, 1], 50)
    svg = codes_svg(codes, labels, ["<script>alert(1)</script>", "b"])
    assert "<script>" not in svg
    first, second = parse(svg).iter("text")
    assert first.text == "<script>alert(1)</scrip…"
    assert float(second.get("x")) == pytest.approx(np.median(dots(svg)[PALETTE[1]][:, 0]), abs=0.2)


def test_a_triangle_is_drawn_for_three_categories():
    svg = codes_svg(np.eye(3), np.array([0, 1, 2]), "abc")
    triangle = next(path for path in parse(svg).iter("path") if path.get("class") == "axis").get("d")
    corners = {tuple(map(float, corner.split())) for corner in triangle[1:-1].split("L")}
    assert corners == {tuple(place[0]) for place in dots(svg).values()}


def test_many_points_are_thinned_out():
    codes = np.random.default_rng(0).normal(size=(4 * MOST_POINTS, 2))
    svg = codes_svg(codes, np.arange(len(codes)) % 2, ["a", "b"])
    assert sum(map(len, dots(svg).values())) == MOST_POINTS


def test_all_codes_at_one_place_can_be_drawn():
    assert len(dots(codes_svg(np.zeros((5, 2)), np.zeros(5, int), ["a"]))[PALETTE[0]]) == 5


def test_marks_are_rings_where_they_belong_and_widen_the_drawing():
    codes = np.array([[0.0, 0.0], [1.0, 1.0]])
    svg = codes_svg(codes, np.array([0, 0]), ["a"], marks=torch.tensor([[1.0, 1.0], [3.0, 0.0]]))
    rings = [(float(ring.get("cx")), float(ring.get("cy"))) for ring in parse(svg).iter("circle")]
    (low, high) = dots(svg)[PALETTE[0]]
    assert rings[0] == pytest.approx(tuple(high))
    assert rings[1] == pytest.approx((low[0] + 3 * (high[0] - low[0]), low[1]), abs=0.2)
    width = float(parse(svg).get("viewBox").split()[2])
    assert rings[1][0] + 8 < width
    assert "<circle" not in codes_svg(codes, np.array([0, 0]), ["a"])


@pytest.mark.parametrize(
    ("codes", "labels", "message"),
    [
        (np.zeros((3, 4)), np.zeros(3, int), "expected codes"),
        (np.zeros((3, 2)), np.zeros(2, int), "expected codes"),
        (np.zeros((0, 2)), np.zeros(0, int), "expected codes"),
        (np.full((3, 2), np.nan), np.zeros(3, int), "not finite"),
        (np.zeros((3, 2)), np.array([0, 1, 2]), "do not fit 2 class names"),
        (np.zeros((3, 2)), np.array([0, 1, -2]), "do not fit 2 class names"),
    ],
)
@pytest.mark.parametrize("draw", [codes_svg, codes_figure])
def test_bad_codes_are_refused(draw, codes, labels, message):
    with pytest.raises(DataError, match=message):
        draw(codes, labels, ["a", "b"])


@pytest.mark.parametrize("size", [2, 3])
def test_the_figure_names_each_class(size):
    q = np.random.default_rng(0).dirichlet(np.ones(size), 60)
    figure = codes_figure(q, np.arange(60) % 3 - 1, ["$a", "b"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["unlabelled", "$a", "b"]
    assert figure_png(figure, dpi=40).startswith(b"\x89PNG")

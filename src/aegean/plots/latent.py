"""Codes of two dimensions, or of three categories, as scatter plots."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aegean.errors import DataError
from aegean.plots.grids import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Ten hues of alternating lightness, to be seen on light and on dark; an eleventh class starts again.
PALETTE = (
    "#0480c9",
    "#ea942f",
    "#078f74",
    "#f180b3",
    "#8a7b04",
    "#9ca0fe",
    "#c35043",
    "#7bc05d",
    "#9d5ab4",
    "#15c0d5",
)
_UNLABELLED = "#8c8c8c"

#: More points than this are thinned out evenly in an SVG; each costs bytes and says little.
MOST_POINTS = 3000

_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])


def density_image(densities: Array) -> npt.NDArray[np.float64]:
    """Paint several densities over each other, each in a colour of the palette on white.

    Args:
        densities: on a grid, not negative, shape `(k, h, w)`; each is scaled to its own maximum.

    Returns:
        One image in [0, 1], shape `(1, 3, h, w)`.

    Raises:
        DataError: another shape, or values that are negative or not finite.
    """
    array = np.asarray(densities, dtype=np.float64)
    if array.ndim != 3 or not array.size or not np.isfinite(array).all() or (array < 0).any():
        raise DataError(f"expected densities of shape (k, h, w), finite and not negative, found {array.shape}.")
    strength = array / np.maximum(array.max(axis=(1, 2), keepdims=True), 1e-300)
    paints = [PALETTE[k % len(PALETTE)] for k in range(len(array))]
    colours = np.array([[int(paint[i : i + 2], 16) / 255 for i in (1, 3, 5)] for paint in paints])  # (k, 3)
    # Each colour takes away from white what it lacks, so overlaps are darker.
    painted = 1 - strength[:, None] * (1 - colours)[:, :, None, None]
    return np.asarray(painted.prod(axis=0)[None])


def project_simplex(q: Array) -> npt.NDArray[np.float64]:
    """Place probabilities of three categories in a triangle with corners (0, 0), (1, 0) and (1/2, sqrt(3)/2).

    Args:
        q: non-negative, rows sum to 1, shape `(n, 3)`.

    Returns:
        Points, shape `(n, 2)`.

    Raises:
        DataError: not probabilities of three categories.
    """
    array = np.asarray(q, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3 or not np.allclose(array.sum(axis=1), 1, atol=1e-3) or (array < 0).any():
        raise DataError(f"expected probabilities of three categories, shape (n, 3), found shape {array.shape}.")
    return array @ _CORNERS  # type: ignore[no-any-return]


def codes_svg(codes: Array, labels: Array, class_names: Sequence[str], marks: Array | None = None) -> str:
    """Draw codes by class as an SVG element; each class's name stands at the median of its points.

    Args:
        codes: 2-D codes, shape `(n, 2)`, or probabilities of three categories, shape `(n, 3)`, drawn in a
            triangle.
        labels: shape `(n,)`; -1 (unlabelled) is grey and lies below.
        class_names: of classes 0, 1, ...
        marks: points to mark with rings of the class `mark`, such as cluster heads, shape `(k, 2)`.

    Returns:
        The element as text; names are escaped.

    Raises:
        DataError: shapes do not fit, a code is not finite, or a label has no name.
    """
    points, classes, simplex = _prepare(codes, labels, class_names)
    if len(points) > MOST_POINTS:
        chosen = np.linspace(0, len(points) - 1, MOST_POINTS).astype(int)
        points, classes = points[chosen], classes[chosen]
    rings = np.zeros((0, 2)) if marks is None else np.asarray(marks, dtype=np.float64)
    corners = _CORNERS if simplex else np.concatenate([points, rings])
    low, size = corners.min(axis=0), max(float(np.ptp(corners, axis=0).max()), 1e-9)
    margin, side = 16.0, 480.0

    def place(where: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        moved: npt.NDArray[np.float64] = (where - low) / size * (side - 2 * margin) + margin
        return moved

    height = float(place(corners)[:, 1].max()) + margin
    width = float(place(corners)[:, 0].max()) + margin
    parts = []
    if simplex:
        outline = "L".join(f"{x:.1f} {height - y:.1f}" for x, y in place(_CORNERS))
        parts.append(f'<path class="axis" d="M{outline}Z" fill="none" stroke="currentColor" stroke-opacity=".3"/>')
    names = []
    for label in np.unique(classes):  # -1 comes first, so the classes lie above the unlabelled points
        placed = place(points[classes == label])
        dots = "".join(f"M{x:.1f} {height - y:.1f}h0" for x, y in placed)
        parts.append(
            f'<path d="{dots}" fill="none" stroke="{_colour(label)}" stroke-opacity=".75" stroke-width="5" '
            'stroke-linecap="round"/>'
        )
        if label >= 0:
            x, y = np.median(placed, axis=0)
            name = class_names[label] if len(class_names[label]) <= 24 else f"{class_names[label][:23]}…"
            half = 4.5 * len(name)  # about half its width, to keep it inside
            x = min(max(x, half), max(width - half, half))
            names.append(
                f'<text class="name" x="{x:.1f}" y="{height - y:.1f}" text-anchor="middle" font-size="16" '
                f'dominant-baseline="central" fill="currentColor">{escape(name)}</text>'
            )
    for x, y in place(rings):
        parts.append(
            f'<circle class="mark" cx="{x:.1f}" cy="{height - y:.1f}" r="8" fill="none" stroke="currentColor" '
            'stroke-width="2.5"/>'
        )
    return (
        f'<svg class="codes" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="Codes of {len(points)} images, coloured by class">{"".join(parts + names)}</svg>'
    )


def codes_figure(codes: Array, labels: Array, class_names: Sequence[str], marks: Array | None = None) -> "Figure":
    """Draw codes by class as a matplotlib figure. Arguments and errors are as for `codes_svg`."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    points, classes, simplex = _prepare(codes, labels, class_names)
    figure = Figure(figsize=(6.0, 5.2), layout="constrained")
    axes = figure.add_subplot()
    for label in np.unique(classes):
        x, y = points[classes == label].T
        name = class_names[label] if label >= 0 else "unlabelled"
        axes.scatter(x, y, s=7, color=_colour(label), alpha=0.75, linewidths=0, label=name)
    if simplex:
        axes.plot(*_CORNERS[[0, 1, 2, 0]].T, color="#888888", linewidth=0.8)
        axes.set_axis_off()
    if marks is not None:
        x, y = np.asarray(marks, dtype=np.float64).T
        axes.scatter(x, y, s=130, facecolors="none", edgecolors="black", linewidths=1.5)
    axes.set_aspect("equal")
    axes.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(loc="outside right upper", fontsize=8, frameon=False, markerscale=2)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _prepare(
    codes: Array, labels: Array, class_names: Sequence[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], bool]:
    points, classes = np.asarray(codes, dtype=np.float64), np.asarray(labels).astype(np.int64)
    if points.ndim != 2 or points.shape[1] not in {2, 3} or classes.shape != (len(points),) or not len(points):
        raise DataError(
            f"expected codes of shape (n, 2) or (n, 3) and n labels, found {points.shape}, {classes.shape}."
        )
    if not np.isfinite(points).all():
        raise DataError("a code is not finite; the model has diverged.")
    if classes.min() < -1 or classes.max() >= len(class_names):
        raise DataError(f"labels {classes.min()} to {classes.max()} do not fit {len(class_names)} class names.")
    simplex = points.shape[1] == 3
    return (project_simplex(points) if simplex else points), classes, simplex


def _colour(label: int) -> str:
    return PALETTE[label % len(PALETTE)] if label >= 0 else _UNLABELLED

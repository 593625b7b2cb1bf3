"""Figures from plain arrays: image grids, training curves, codes.

What goes into an HTML page is SVG that follows the page's colours, or PNG; what goes into a file of its own
is a matplotlib figure, made without any global state.
"""

from aegean.plots.curves import curve_svg, curves_figure, figure_png
from aegean.plots.grids import filled, image_grid, png_bytes, to_pixels
from aegean.plots.latent import PALETTE, codes_figure, codes_svg, project_simplex
from aegean.plots.thumbnails import thumbnail_map

__all__ = [
    "PALETTE",
    "codes_figure",
    "codes_svg",
    "curve_svg",
    "curves_figure",
    "figure_png",
    "filled",
    "image_grid",
    "png_bytes",
    "project_simplex",
    "thumbnail_map",
    "to_pixels",
]

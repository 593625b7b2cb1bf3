"""Pictures of a report as files: what is in them, and what they say of themselves."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from aegean.errors import ConfigError, DataError
from aegean.plots.grids import png_text
from aegean.report import Cluster, Codes, Figure, ImageRow, Reconstructions, ReportContent
from aegean.report.png import MOST, ROOM, figure_pixels, picture_name, pictures, save_pictures

#: Between images of 8x8.
GAP = round(8 * MOST / 14)


def shades(*values, side=8):
    """Images of one shade each."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, side, side).contiguous()


def shade_at(pixels, row, column, side=8, left=0):
    """Shade in the middle of an image in a grid of images without names, times 10."""
    step, middle = side * MOST + GAP, side * MOST // 2
    return round(float(pixels[row * step + middle, left + column * step + middle, 0]) / 25.5)


FIGURE = Figure(title="Drawn or copied?", caption="Said.", panels=[ImageRow("", shades(0.1, 0.2, 0.3))], columns=2)
CODES = Codes(torch.rand(30, 2), torch.arange(30) % 3)


def full():
    return ReportContent(
        title="run",
        samples=[ImageRow("0", shades(0.1, 0.2)), ImageRow("1", shades(0.3, 0.4))],
        clusters=[Cluster(0, shades(0.1, 0.2, 0.3), "cat"), Cluster(4, shades(0.4))],
        reconstructions=Reconstructions(shades(*[0.1] * 12), shades(*[0.9] * 12)),
        codes=CODES,
        figures=[FIGURE],
    )


@pytest.mark.parametrize("title", ["Drawn or copied?", " Content and style", "Äpfel: c_d"])
def test_names_of_files_are_plain(title):
    assert set(picture_name(title)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not picture_name(title).startswith("-")
    assert not picture_name(title).endswith("-")


def test_every_part_of_a_report_with_images_is_a_picture():
    assert list(pictures(full())) == ["samples", "clusters", "reconstructions", "the-map-of-codes", "drawn-or-copied"]
    assert pictures(ReportContent(title="run")) == {}
    empty = Figure(title="t", caption="", panels=[ImageRow("", shades())], columns=2)
    assert pictures(ReportContent(title="run", figures=[empty])) == {}


def test_each_says_what_it_shows_and_of_which_run_it_is(tmp_path):
    paths = save_pictures(full(), tmp_path / "new", {"Recipe": "mine", "Seed": "3"})
    assert [path.name for path in paths] == [f"{name}.png" for name in pictures(full())]
    told = png_text(paths[-1].read_bytes(), paths[-1])
    assert told == {"Title": "Drawn or copied?", "Description": "Said.", "Recipe": "mine", "Seed": "3"}
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 8


def test_the_same_content_gives_the_same_files(tmp_path):
    first, second = (save_pictures(full(), tmp_path / name, {}) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_one_may_ask_for_some(tmp_path):
    assert [path.name for path in save_pictures(full(), tmp_path, {}, ["clusters"])] == ["clusters.png"]
    with pytest.raises(ConfigError, match=r"no picture 'cluster'; this run has: samples, clusters"):
        save_pictures(full(), tmp_path, {}, ["cluster"])
    with pytest.raises(ConfigError, match="has no pictures"):
        save_pictures(ReportContent(title="run"), tmp_path, {})


def test_a_figure_without_names_lies_row_by_row_and_what_is_missing_is_white():
    pixels = figure_pixels(FIGURE)
    assert [shade_at(pixels, *place) for place in ((0, 0), (0, 1), (1, 0), (1, 1))] == [1, 2, 3, 10]


def test_pairs_of_rows_stay_together_where_a_row_is_shorter():
    panels = [ImageRow("", shades(0.1, 0.2, 0.6, 0.7)), ImageRow("", shades(0.3, 0.8), in_row=1)]
    pixels = figure_pixels(Figure(title="t", caption="", panels=panels, columns=2))
    found = [[shade_at(pixels, row, column) for column in range(2)] for row in range(4)]
    assert found == [[1, 2], [6, 7], [3, 10], [8, 10]]


def test_named_grids_stand_side_by_side_and_the_caption_names_them():
    panels = [ImageRow("true", shades(0.1, 0.2)), ImageRow("empty", shades()), ImageRow("learned", shades(0.3))]
    figure = Figure(title="t", caption="Two.", panels=panels, columns=1)
    pixels = figure_pixels(figure)
    width = (pixels.shape[1] - 16) // 2
    assert [shade_at(pixels, 0, 0), shade_at(pixels, 1, 0)] == [1, 2]
    assert [shade_at(pixels, 0, 0, left=width + 16), shade_at(pixels, 1, 0, left=width + 16)] == [3, 10]
    (still,) = pictures(ReportContent(title="run", figures=[figure])).values()
    assert still.caption == "Two. From left to right: true, learned."


def test_rows_with_names_have_them_beside():
    named = pictures(full())["samples"].draw()
    plain = pictures(ReportContent(title="run", samples=[ImageRow("samples", shades(0.1, 0.2, 0.3, 0.4))]))[
        "samples"
    ].draw()
    assert named.shape[1] > 2 * 8 * MOST + 8
    assert plain.shape[1] == 4 * 8 * MOST + 3 * GAP


def test_reconstructions_lie_below_their_images():
    pixels = pictures(full())["reconstructions"].draw()
    left = pixels.shape[1] - (10 * (8 * MOST + GAP) - GAP)
    assert [shade_at(pixels, row, 0, left=left) for row in range(4)] == [1, 9, 1, 9]
    assert [shade_at(pixels, row, 2, left=left) for row in range(4)] == [1, 9, 10, 10]  # of the last two pairs


@pytest.mark.parametrize(("count", "columns", "side"), [(400, 20, 28), (2, 2, 8), (30, 10, 64), (9, 3, 512)])
def test_pictures_fit_a_page_where_images_are_not_too_many_or_too_large(count, columns, side):
    images = torch.rand(count, 1, side, side)
    pixels = figure_pixels(Figure(title="t", caption="", panels=[ImageRow("", images)], columns=columns))
    height, width, _ = pixels.shape
    smallest = columns * side, -(-count // columns) * side
    assert width <= 1.2 * max(ROOM[0], smallest[0])
    assert height <= 1.2 * max(ROOM[1], smallest[1])


def test_bytes_are_drawn_as_floats_are():
    figure = Figure(title="t", caption="", panels=[ImageRow("", (255 * shades(0.2, 0.4)).round().byte())], columns=2)
    assert [shade_at(figure_pixels(figure), 0, k) for k in range(2)] == [2, 4]


def test_marks_are_rings_on_the_map():
    without, marked = (
        pictures(ReportContent(title="run", codes=Codes(CODES.codes, CODES.labels, marks=marks)))[
            "the-map-of-codes"
        ].draw()
        for marks in (None, torch.full((1, 2), 0.5))
    )
    assert without.shape == marked.shape
    assert (marked.astype(int).sum(axis=2) < 60).sum() > (without.astype(int).sum(axis=2) < 60).sum()


def test_what_is_no_png_is_refused():
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(stream, format="JPEG")
    for raw in (b"", b"text", stream.getvalue()):
        with pytest.raises(DataError, match="here: not a PNG"):
            png_text(raw, "here")

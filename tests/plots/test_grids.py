import io
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from aegean.errors import DataError
from aegean.plots.grids import gap_beside, image_grid, png_bytes, to_pixels


def read(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_floats_and_bytes_become_the_same_pixels():
    x = torch.tensor([0.0, 0.5, 1.0, 0.2]).reshape(1, 1, 2, 2)
    pixels = to_pixels(x)
    assert pixels.shape == (1, 2, 2, 1)
    assert pixels.dtype == np.uint8
    assert pixels.ravel().tolist() == [0, 128, 255, 51]
    as_bytes = (x * 255).round().to(torch.uint8)
    for same in (x.numpy(), x.double(), as_bytes, as_bytes.numpy(), x.requires_grad_()):
        np.testing.assert_array_equal(to_pixels(same), pixels)
    np.testing.assert_array_equal(to_pixels(torch.tensor([[[[0.25]]]]).bfloat16()), [[[[64]]]])


def test_channels_go_last():
    x = np.zeros((1, 3, 2, 4))
    x[0, 2, 1, 3] = 1
    assert to_pixels(x)[0, 1, 3].tolist() == [0, 0, 255]


def test_rounding_errors_are_forgiven_and_wrong_ranges_are_not():
    assert to_pixels(np.array([[[[-0.005, 1.005]]]])).ravel().tolist() == [0, 255]
    for wrong in (-1.0, 1.1, 255.0, np.nan, np.inf):
        with pytest.raises(DataError, match=r"expected pixels in \[0, 1\]"):
            to_pixels(np.full((1, 1, 2, 2), wrong))


@pytest.mark.parametrize("shape", [(2, 28, 28), (1, 2, 4, 4), (0, 1, 4, 4), (1, 4, 4, 3)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(DataError, match="expected images of shape"):
        to_pixels(np.zeros(shape))


def test_images_lie_in_rows_and_each_pixel_is_a_square():
    x = np.linspace(0.1, 1, 5 * 4).reshape(5, 1, 2, 2)
    grid = image_grid(x, columns=3, scale=7, background=0)
    gap = gap_beside(14, 14)
    pitch = 14 + gap
    assert gap == 1
    assert grid.shape == (2 * pitch - gap, 3 * pitch - gap, 3)
    for index, tile in enumerate(to_pixels(x)[..., 0]):
        top, left = index // 3 * pitch, index % 3 * pitch
        for row in range(2):
            for column in range(2):
                square = grid[top + 7 * row :, left + 7 * column :][:7, :7]
                assert (square == tile[row, column]).all()
    assert (grid[14] == 0).all()
    assert (grid[pitch:, 2 * pitch :] == 0).all()


def test_small_images_are_enlarged_to_be_seen_and_large_ones_are_not():
    assert image_grid(np.ones((1, 1, 8, 8))).shape == (48, 48, 3)
    assert image_grid(np.ones((1, 3, 100, 80))).shape == (100, 80, 3)
    assert image_grid(np.ones((9, 1, 48, 48))).shape == image_grid(np.ones((9, 1, 48, 48)), columns=3).shape


@pytest.mark.parametrize("background", [0, 200, 255])
def test_the_background_has_its_grey(background):
    grid = image_grid(np.full((3, 1, 14, 14), 0.5), columns=2, scale=1, background=background)
    assert set(grid[14].ravel().tolist()) == {background}
    assert set(grid[15:, 15:].ravel().tolist()) == {background}
    assert set(grid[:14, :14].ravel().tolist()) == {128}


def test_a_transparent_background():
    grid = image_grid(np.full((3, 1, 14, 14), 0.5), columns=2, scale=1, background=None)
    assert grid.shape == (29, 29, 4)
    assert set(grid[:14, :14, 3].ravel().tolist()) == {255}
    assert set(grid[14, :, 3].tolist()) == {0}


def test_row_labels_stand_beside_their_rows():
    x = np.zeros((4, 1, 8, 8))
    plain, labelled = image_grid(x, columns=2), image_grid(x, columns=2, row_labels=["one", "three"])
    width = labelled.shape[1] - plain.shape[1]
    np.testing.assert_array_equal(labelled[:, width:], plain)
    above, below = labelled[:48, :width], labelled[51:, :width]
    assert (above < 200).any()
    assert (below < 200).sum() > (above < 200).sum()
    with pytest.raises(DataError, match="1 labels for 2 rows"):
        image_grid(x, columns=2, row_labels=["one"])


@pytest.mark.parametrize("background", [0, 77, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_grey_background_is_the_transparent_grid_laid_on_it(background, channels):
    x = np.random.default_rng(0).random((5, channels, 8, 8))
    clear, laid = (
        image_grid(x, columns=2, row_labels=["a", "b", "c"], background=level).astype(float)
        for level in (None, background)
    )
    alpha = clear[..., 3:] / 255
    np.testing.assert_array_equal(laid, np.rint(clear[..., :3] * alpha + background * (1 - alpha)))
    assert 0 < alpha[:, :-101].mean() < 1  # of the labels


def test_a_large_grid_takes_a_few_bytes_a_pixel():
    x = np.zeros((400, 1, 8, 8), np.float32)
    tracemalloc.start()
    try:
        grid = image_grid(x)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 5 * grid.shape[0] * grid.shape[1]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_png_is_lossless(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(read(png_bytes(pixels)), pixels.reshape(5, 7) if shape[2:] == (1,) else pixels)


def test_grey_pixels_make_a_grey_png():
    grey = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    np.testing.assert_array_equal(read(png_bytes(np.stack([grey] * 3, axis=-1))), grey)
    alpha = np.random.default_rng(1).integers(0, 256, (5, 7), dtype=np.uint8)
    both = read(png_bytes(np.stack([grey, grey, grey, alpha], axis=-1)))
    np.testing.assert_array_equal(both, np.stack([grey, alpha], axis=-1))


def test_vectors_are_squares_of_grey_cells():
    vectors = torch.linspace(0, 1, 2 * 5).view(2, 5, 1, 1)
    pixels = to_pixels(vectors)
    assert pixels.shape == (2, 3, 3, 1)
    assert pixels[1].ravel().tolist() == [142, 170, 198, 227, 255, 0, 0, 0, 0]

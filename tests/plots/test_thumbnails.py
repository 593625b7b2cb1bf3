"""Images in the plane, each where its code is."""

import numpy as np
import pytest

from aegean.errors import DataError
from aegean.plots import thumbnail_map
from aegean.plots.thumbnails import nearest_to_centres


def test_images_are_where_their_codes_are() -> None:
    """Four shades in the four corners: the first coordinate grows rightwards, the second upwards."""
    codes = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    shades = np.array([50, 100, 150, 200], dtype=np.uint8)
    pixels = thumbnail_map(codes, np.broadcast_to(shades[:, None, None, None], (4, 1, 8, 8)))
    quarter = pixels.shape[0] // 8
    corners = pixels[-quarter, quarter], pixels[-quarter, -quarter], pixels[quarter, quarter], pixels[quarter, -quarter]
    assert [int(corner[0]) for corner in corners] == [50, 100, 150, 200]
    assert pixels[pixels.shape[0] // 2, pixels.shape[1] // 2, 3] == 0  # nothing in the middle


def test_a_cell_shows_the_image_nearest_to_its_middle() -> None:
    places = np.array([[0.1, 0.1], [0.5, 0.6], [0.9, 0.9], [3.2, 0.5]])
    assert nearest_to_centres(places).tolist() == [1, 3]


def test_one_image_far_away_does_not_press_the_others_together() -> None:
    codes = np.concatenate([np.random.default_rng(0).normal(size=(300, 2)), [[1e6, 0.0]]])
    pixels = thumbnail_map(codes, np.zeros((301, 3, 4, 6), np.uint8))
    assert (pixels[..., 3] > 0).mean() > 0.1


@pytest.mark.parametrize("codes", [np.zeros((3, 3)), np.zeros((2, 2)), np.full((3, 2), np.nan), np.zeros((0, 2))])
def test_what_does_not_fit_is_refused(codes: np.ndarray) -> None:
    with pytest.raises(DataError):
        thumbnail_map(codes, np.zeros((3, 1, 2, 2), np.uint8))


def test_all_at_one_point() -> None:
    assert thumbnail_map(np.zeros((5, 2)), np.zeros((5, 1, 2, 2), np.uint8)).shape[2] == 4

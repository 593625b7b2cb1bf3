"""Points in the plane are where their settings say."""

import math

import pytest
import torch

from aegean.data import Points
from aegean.errors import ConfigError


def test_modes_lie_on_the_ring_with_the_spread_asked_for():
    splits = Points(points=20_000, modes=5, radius=0.3, std=0.03, test=0.5).load()
    assert (splits.shape, splits.classes, len(splits.train), len(splits.test)) == ((2, 1, 1), 5, 10_000, 10_000)
    x = splits.test.images.flatten(1) / 255
    for mode in range(5):
        own = x[splits.test.labels == mode]
        angle = 2 * math.pi * mode / 5
        centre = torch.tensor([0.5 + 0.3 * math.cos(angle), 0.5 + 0.3 * math.sin(angle)])
        torch.testing.assert_close(own.mean(dim=0), centre, atol=3e-3, rtol=0)
        torch.testing.assert_close(own.std(dim=0), torch.full((2,), 0.03), atol=3e-3, rtol=0)


def test_without_spread_there_are_as_many_points_as_modes():
    splits = Points(points=100, modes=4, std=0.0).load()
    assert len(splits.train.images.flatten(1).unique(dim=0)) == 4


def test_no_point_leaves_the_square_and_a_ring_that_would_is_refused():
    x = Points(points=1000, radius=0.5, std=0.3).load().train.images
    assert (int(x.min()), int(x.max())) == (0, 255)
    with pytest.raises(ConfigError, match="radius"):
        Points(radius=0.6)

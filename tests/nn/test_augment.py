"""Random affine changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.nn.augment import Affine, Jitter

STILL = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}


def blob(
    h: int = 21, w: int = 31, cy: float = 10.0, cx: float = 15.0, sy: float = 2.0, sx: float = 2.0
) -> torch.Tensor:
    y, x = torch.arange(h)[:, None], torch.arange(w)[None]
    return torch.exp(-((y - cy) ** 2) / (2 * sy**2) - (x - cx) ** 2 / (2 * sx**2))[None, None].float()


def moments(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre (x, y) in pixels and covariance of the mass of an image (h, w)."""
    h, w = image.shape
    y, x = torch.meshgrid(torch.arange(h).float(), torch.arange(w).float(), indexing="ij")
    points = torch.stack((x, y), dim=-1).reshape(-1, 2)
    mass = (image / image.sum()).reshape(-1, 1)
    centre = (points * mass).sum(0)
    return centre, ((points - centre) * mass).T @ (points - centre)


@given(st.integers(3, 9), st.integers(3, 9), st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_nothing_changes_where_everything_is_off(h: int, w: int, c: int) -> None:
    x = torch.rand(2, c, h, w)
    torch.testing.assert_close(Affine(**STILL).apply(x), x, atol=1e-5, rtol=0)


def test_images_stay_in_range_and_differ_from_each_other() -> None:
    x = blob().expand(8, 1, -1, -1)
    changed = Affine().apply(x, torch.Generator().manual_seed(0))
    assert changed.shape == x.shape
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.equal(changed[0], changed[1])
    assert torch.equal(changed, Affine().apply(x, torch.Generator().manual_seed(0)))


def test_a_shift_moves_the_centre_up_to_its_share_of_the_size() -> None:
    x = blob().expand(200, 1, -1, -1)
    shifts = torch.stack(
        [moments(image[0])[0] for image in Affine(**(STILL | {"shift": 0.1})).apply(x)]
    ) - torch.tensor([15.0, 10.0])
    assert shifts[:, 0].abs().max() == pytest.approx(3.1, abs=0.15)
    assert shifts[:, 1].abs().max() == pytest.approx(2.1, abs=0.15)


def test_a_rotation_keeps_lengths_on_images_that_are_not_square() -> None:
    """A line's spread is the same at every angle; without the aspect it would be stretched."""
    x = blob(sx=4.0, sy=1.0).expand(100, 1, -1, -1)
    for image in Affine(**(STILL | {"rotation": 60.0})).apply(x)[:20]:
        spread = torch.linalg.eigvalsh(moments(image[0])[1])
        assert spread[1].sqrt() == pytest.approx(4.0, abs=0.25)
        assert spread[0].sqrt() == pytest.approx(1.0, abs=0.25)


def test_a_scale_changes_both_directions_alike_and_a_stretch_apart() -> None:
    x = blob().expand(100, 1, -1, -1)
    for name, sign in (("scale", 1.0), ("stretch", -1.0)):
        found = [moments(image[0])[1].diagonal().sqrt() for image in Affine(**(STILL | {name: 0.3})).apply(x)]
        widths = torch.stack(found)
        assert torch.corrcoef(widths.T)[0, 1] * sign > 0.9
        assert widths.max() / 2.0 == pytest.approx(1 / 0.7, abs=0.05)


def test_a_shear_is_horizontal() -> None:
    x = blob(sy=4.0).expand(50, 1, -1, -1)
    covariances = torch.stack([moments(image[0])[1] for image in Affine(**(STILL | {"shear": 30.0})).apply(x)])
    assert covariances[:, 1, 1].std() < 0.05 * covariances[:, 1, 1].mean()
    slopes = covariances[:, 0, 1] / covariances[:, 1, 1]
    assert slopes.abs().max() == pytest.approx(0.577, abs=0.08)


def test_jitter_adds_noise_and_takes_features_from_other_vectors() -> None:
    x = torch.arange(400.0)[:, None].expand(400, 50)[:, :, None, None] / 400  # features tell whose they are
    generator = torch.Generator().manual_seed(0)
    noisy = Jitter(noise=0.1).apply(x, generator)
    assert (noisy - x).std().item() == pytest.approx(0.1, rel=0.05)
    swapped = Jitter(noise=0.0, swap=0.2).apply(x, generator)
    assert (swapped != x).float().mean().item() == pytest.approx(0.2, rel=0.1)
    assert torch.isin(swapped, x).all()
    assert torch.equal(Jitter(noise=0.0).apply(x), x)

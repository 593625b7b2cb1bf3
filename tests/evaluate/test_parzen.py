import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.errors import CheckpointError, DataError
from aegean.evaluate import parzen as module
from aegean.evaluate.parzen import FINE_SIGMAS, OFFICIAL_SIGMAS, kmeans_centroids, log_density, parzen


def naive(centres, x, sigmas):
    c, x = centres.double().flatten(1), x.double().flatten(1)
    squares = (x[:, None] - c[None]).square().sum(dim=2)
    return torch.stack(
        [
            torch.logsumexp(-squares / (2 * s**2), dim=1)
            - math.log(len(c))
            - x.shape[1] / 2 * math.log(2 * math.pi * s**2)
            for s in sigmas
        ]
    )


def digit_like(n, seed, d=784):
    """Images in [0, 1] with strokes and background, about as far from each other as MNIST's."""
    generator = torch.Generator().manual_seed(seed)
    strokes = torch.rand(20, d, generator=torch.Generator().manual_seed(99)) < 0.1
    which = torch.rand(n, 20, generator=generator) < 0.15
    noise = 0.1 * torch.rand(n, d, generator=generator)
    return ((which.float() @ strokes.float()).clamp(max=1) * 0.9 + noise).clamp(0, 1)


def of(tensor):
    return lambda start, stop: tensor[start:stop]


class Interrupted(Exception):
    pass


def interrupt_after(centres_done):
    def progress(done):
        if done >= centres_done:
            raise Interrupted

    return progress


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 40), m=st.integers(1, 12), d=st.integers(1, 6), block=st.integers(1, 50), seed=st.integers(0, 99)
)
def test_equals_the_formula_whatever_the_blocks(n, m, d, block, seed):
    generator = torch.Generator().manual_seed(seed)
    c, x = torch.rand(n, d, generator=generator), torch.rand(m, d, generator=generator)
    sigmas = [0.05, 0.3, 1.0]
    found = log_density(of(c), n, x, sigmas, block=block)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, naive(c, x, sigmas), rtol=1e-5, atol=1e-3)


def test_blocks_of_images_do_not_change_the_result(monkeypatch):
    c, x = digit_like(70, 0), digit_like(50, 1)
    whole = log_density(of(c), 70, x, [0.2, 0.4], block=70)
    monkeypatch.setattr(module, "_ROWS", 7)
    torch.testing.assert_close(log_density(of(c), 70, x, [0.2, 0.4], block=9), whole, rtol=0, atol=5e-3)


@pytest.mark.parametrize("order", [1, -1])
def test_centres_far_away_neither_hide_the_near_ones_nor_count(order):
    near = torch.rand(10, 4, generator=torch.Generator().manual_seed(0))
    far = near + 30  # at sigma 0.1 some 180,000 nats away: exp of it is 0 in every number format
    c = torch.cat([far, near][::order])
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(1))
    found = log_density(of(c), 20, x, [0.1], block=5)
    torch.testing.assert_close(found, naive(near, x, [0.1]) - math.log(2), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(log_density(of(far), 10, x, [0.1]), naive(far, x, [0.1]), rtol=1e-5, atol=0)


def test_many_small_terms_are_not_lost():
    # 100,000 centres 20 nats further away than the only near one add 2e-4; those beyond 2^-126 nothing that counts.
    distance = 0.1 * math.sqrt(2 * 20)
    c = torch.cat([torch.zeros(1, 1), torch.full((100_000, 1), distance), torch.full((1000, 1), 10.0)])
    found = log_density(of(c), len(c), torch.zeros(1, 1), [0.1], block=3000)
    expected = math.log1p(1e5 * math.exp(-20)) - math.log(len(c)) - 0.5 * math.log(2 * math.pi * 0.01)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_the_density_integrates_to_one():
    c = torch.tensor([[0.1], [0.5], [0.55], [0.9]])
    x = torch.linspace(-6, 7, 20_001)[:, None]
    densities = log_density(of(c), 4, x, [0.05, 0.2, 0.7], block=3).exp()
    np.testing.assert_allclose(torch.trapezoid(densities, x[:, 0].double()), 1, atol=1e-4)


def test_float32_is_as_good_as_float64_on_images():
    c, x = digit_like(600, 0), digit_like(200, 1)
    sigmas = [0.1, 0.17, 0.3]
    found, expected = (
        log_density(of(c), 600, x, sigmas, block=250),
        torch.cat([naive(c, part, sigmas) for part in x.split(20)], dim=1),
    )
    assert ((found.mean(dim=1) / expected.mean(dim=1) - 1).abs() < 1e-6).all()
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)  # nats of one image


def test_products_are_full_float32_even_where_fewer_bits_are_allowed():
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    c, x = digit_like(256, 0), digit_like(256, 1)
    exact = log_density(of(c), 256, x, [0.17])
    inside = []
    try:
        matmul.fp32_precision = "bf16"
        found = log_density(lambda a, b: inside.append(matmul.fp32_precision) or c[a:b], 256, x, [0.17])
        assert matmul.fp32_precision == "bf16"  # what the caller allowed stays allowed
    finally:
        matmul.fp32_precision = before
    assert inside == ["ieee"]
    assert torch.equal(found, exact)


def test_an_interrupted_estimate_goes_on_where_it_was(tmp_path):
    c, x = digit_like(50, 0, d=20), digit_like(30, 1, d=20)
    whole = log_density(of(c), 50, x, [0.1, 0.3], block=8)
    state = tmp_path / "deep" / "state.safetensors"
    with pytest.raises(Interrupted):
        log_density(of(c), 50, x, [0.1, 0.3], block=8, state=state, save_every=0, progress=interrupt_after(24))
    asked, reported = [], []

    def centres(start, stop):
        asked.append((start, stop))
        return c[start:stop]

    arguments = {"block": 8, "state": state, "save_every": 0, "progress": reported.append}
    resumed = log_density(centres, 50, x, [0.1, 0.3], **arguments)
    assert asked == [(24, 32), (32, 40), (40, 48), (48, 50)]
    assert reported == [32, 40, 48, 50]
    assert torch.equal(resumed, whole)
    again = log_density(centres, 50, x, [0.1, 0.3], **arguments)  # complete: nothing is left to ask for
    assert len(asked) == 4
    assert torch.equal(again, whole)


def test_the_state_is_not_written_more_often_than_asked(tmp_path):
    c, state = digit_like(50, 0, d=20), tmp_path / "state"
    with pytest.raises(Interrupted):
        log_density(of(c), 50, c, [0.1], block=8, state=state, save_every=1e6, progress=interrupt_after(24))
    assert not state.exists()


@pytest.mark.parametrize("other", ["key", "n", "block", "sigmas", "images", "brightness", "shape"])
def test_the_state_of_something_else_is_refused(tmp_path, other):
    c, x, state = digit_like(50, 0, d=20), digit_like(30, 1, d=20), tmp_path / "state"
    given_ = {"n": 50, "x": x, "sigmas": [0.1], "block": 8, "key": "model 1"}
    with pytest.raises(Interrupted):
        log_density(of(c), **given_, state=state, save_every=0, progress=interrupt_after(24))
    changes = {
        "key": "model 2",
        "n": 49,
        "block": 4,
        "sigmas": [0.2],
        "images": x.flip(0),
        "brightness": x + 0.5,  # the same after centring, but for rounding
        "shape": x[:, :10],
    }
    name = {"images": "x", "brightness": "x", "shape": "x"}.get(other, other)
    with pytest.raises(DataError, match=r"another estimate.*delete it"):
        log_density(of(c), **{**given_, name: changes[other]}, state=state)
    log_density(of(c), **given_, state=state)


def test_a_damaged_state_is_refused(tmp_path):
    state = tmp_path / "state"
    state.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="damaged"):
        log_density(of(torch.rand(4, 2)), 4, torch.rand(3, 2), [0.1], state=state)


def test_both_grids_are_what_they_are_called():
    np.testing.assert_allclose(OFFICIAL_SIGMAS, np.logspace(-1, 0, 10))
    assert len(FINE_SIGMAS) == 23
    np.testing.assert_allclose(np.diff(np.log(FINE_SIGMAS)), np.log(3) / 22)


def test_sigma_is_chosen_on_the_first_thousand_validation_images_alone():
    generator = torch.Generator().manual_seed(0)
    c = torch.rand(40, 1, 2, 2, generator=generator)
    near = (c.repeat(30, 1, 1, 1) + 0.01 * torch.randn(1200, 1, 2, 2, generator=generator)).clamp(0, 1)
    far = 1 - near.round()
    test = far[:50]
    sharp, smooth = parzen(of(c), 40, near, test), parzen(of(c), 40, far, test)
    assert sharp.official.sigma == pytest.approx(0.1)
    assert smooth.official.sigma > 0.3  # though the test images are the same
    assert parzen(of(c), 40, torch.cat([near[:1000], far[:200]]), test) == sharp
    assert parzen(of(c), 40, torch.cat([near[:800], far[:200]]), test).official.sigma > 0.1
    assert sharp.samples == 40
    for result, validation in ((sharp, near), (smooth, far)):
        for estimate, grid in ((result.official, OFFICIAL_SIGMAS), (result.fine, FINE_SIGMAS)):
            best = naive(c, validation[:1000], grid).mean(dim=1).argmax()
            assert estimate.sigma == grid[best]
            values = naive(c, test, [estimate.sigma])[0].numpy()
            assert estimate.log_likelihood == pytest.approx(values.mean(), rel=1e-5)
            assert estimate.standard_error == pytest.approx(values.std() / np.sqrt(50), rel=1e-4)


def test_an_interrupted_parzen_asks_for_no_centre_twice_and_cleans_up(tmp_path, monkeypatch):
    c, validation, test = digit_like(60, 0, d=20), digit_like(30, 1, d=20), digit_like(40, 2, d=20)
    saving = log_density
    monkeypatch.setattr(module, "log_density", lambda *a, **k: saving(*a, **k, save_every=0))
    expected = parzen(of(c), 60, validation, test, block=20)
    asked, reported, results = [], [], []

    def centres(start, stop):
        asked.append(start)
        return c[start:stop]

    def progress(done):
        reported.append(done)
        raise Interrupted

    for _ in range(10):
        try:
            results.append(parzen(centres, 60, validation, test, block=20, state=tmp_path / "s", progress=progress))
            break
        except Interrupted:
            pass
    assert results == [expected]
    assert asked == [0, 20, 40] * 2
    assert reported == [600, 1200, 1800, 2600, 3400, 4200]
    assert list((tmp_path / "s").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "at least one"),
        ({"block": 0}, "at least one"),
        ({"sigmas": []}, "sigmas"),
        ({"sigmas": [0.1, 0.0]}, "positive"),
        ({"sigmas": [math.nan]}, "positive"),
        ({"x": torch.rand(0, 4)}, "finite ones"),
        ({"x": torch.full((3, 4), math.nan)}, "finite ones"),
        ({"x": torch.rand(4)}, r"images: .*expected floats"),
        ({"x": torch.zeros(3, 4, dtype=torch.uint8)}, "expected floats"),
        ({"centres": of(torch.rand(6, 5))}, r"centres 0 to 2: shape \(2, 5\), expected \(2, 4\)"),
        ({"centres": of(torch.rand(5, 4))}, "centres 4 to 6"),
        ({"centres": of(torch.tensor([0.0, 0, 0, math.nan, 0, 0]).expand(4, 6).T)}, "centres 2 to 4: some are NaN"),
        ({"centres": of(torch.full((6, 4), math.inf))}, "NaN or infinite"),
    ],
)
def test_bad_input_is_refused(changes, message):
    arguments = {"centres": of(torch.rand(6, 4)), "n": 6, "x": torch.rand(3, 4), "sigmas": [0.1], "block": 2} | changes
    with pytest.raises(DataError, match=message):
        log_density(**arguments)


@pytest.mark.parametrize(
    "bad", [torch.full((3, 4), 255.0), torch.full((3, 4), -0.1), torch.ones(3, 4, dtype=torch.uint8)]
)
def test_images_of_another_range_are_refused(bad):
    good = torch.rand(3, 4)
    for validation, test in ((bad, good), (good, bad)):
        with pytest.raises(DataError, match="in \\[0, 1\\]"):
            parzen(of(good), 3, validation, test)


def test_centroids_of_kmeans_are_means_of_their_images():
    points = torch.rand(60, 1, 2, 2, generator=torch.Generator().manual_seed(0)) * 0.01
    points[20:40] += 0.5
    points[40:] += 0.9
    centroids = kmeans_centroids(points, 3, seed=5, iterations=100)
    assert centroids.shape == (3, 1, 2, 2)
    assert centroids.dtype == torch.float32
    nearest = torch.cdist(points.flatten(1), centroids.flatten(1)).argmin(dim=1)
    for k in range(3):
        torch.testing.assert_close(centroids[k], points[nearest == k].mean(dim=0))
    assert torch.equal(kmeans_centroids(points, 3, seed=5, iterations=100), centroids)
    for k in (0, 61):
        with pytest.raises(DataError, match="1 to 60"):
            kmeans_centroids(points, k)

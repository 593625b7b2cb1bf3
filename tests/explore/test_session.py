"""What the explorer answers: places on the map, images of codes, neighbours."""

import base64
import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from aegean.data import ImageData, as_float
from aegean.errors import ConfigError, DataError, UnsupportedError
from aegean.explore import Session
from aegean.explore.axes import corners, find_axes, neighbours
from aegean.models import CategoricalAAE, Model, create
from conftest import SMALL_MODELS, make_splits

#: Every model that makes images of codes.
EXPLORED = sorted(set(SMALL_MODELS) - {"pixelcnn", "pixelgan-matching"})


def session_of(kind: str, n: int = 20, shape: tuple[int, int, int] = (1, 8, 8)) -> Session:
    model = create(SMALL_MODELS[kind], shape, 3, seed=0).eval()
    data = make_splits(shape).train.subset(torch.arange(n))
    return Session(model, data, encoded(model, data) if model.can("encode") else None, seed=5)


def encoded(model: Model, data: ImageData) -> torch.Tensor:
    with torch.no_grad():
        return model.encode(as_float(data.images))


def pixels(uri: str) -> np.ndarray:
    kind, _, raw = uri.partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(raw))) as image:
        return np.asarray(image.convert("RGB"))


def as_pixels(x: torch.Tensor) -> np.ndarray:
    return np.rint(255 * x.detach().numpy()).astype(np.uint8).transpose(1, 2, 0).repeat(3 // x.shape[0], axis=2)


# ---- axes ------------------------------------------------------------------------------------------------------------


def test_two_free_coordinates_are_the_map_themselves() -> None:
    z = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    free = torch.tensor([False, True, False, True, False])
    axes = find_axes(z, free, principal=True)
    assert torch.equal(axes.values(z), z[:, free])
    assert (axes.names, axes.share) == (("z1", "z2"), 1.0)
    assert (axes.low < z[:, free].min(dim=0).values).all()
    assert (axes.high > z[:, free].max(dim=0).values).all()


def test_more_coordinates_are_seen_along_their_principal_components() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 12)) @ np.diag(np.arange(12.0, 0, -1)) + 3
    free = torch.arange(12) > 0  # the first coordinate, which varies most, is a category
    axes = find_axes(torch.from_numpy(z).float(), free, principal=True, most=4)
    variances, vectors = np.linalg.eigh(np.cov(z[:, 1:].T))
    expected = vectors[:, ::-1][:, :4].T
    found = axes.directions.numpy()
    np.testing.assert_allclose(np.abs((found[:, 1:] * expected).sum(axis=1)), 1, atol=1e-4)
    assert (found[:, 0] == 0).all()
    np.testing.assert_allclose(found @ found.T, np.eye(4), atol=1e-5)
    values = axes.values(torch.from_numpy(z).float()).numpy()
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(values.var(axis=0, ddof=1), variances[::-1][:4], rtol=1e-3)
    assert axes.share == pytest.approx(variances[::-1][:2].sum() / variances.sum(), rel=1e-4)


def test_draws_of_a_prior_are_not_searched_for_components() -> None:
    axes = find_axes(torch.randn(50, 30), torch.ones(30, dtype=torch.bool), principal=False)
    assert torch.equal(axes.directions, torch.eye(30)[:8])


def test_codes_that_never_change_still_have_a_range() -> None:
    axes = find_axes(torch.ones(5, 6), torch.ones(6, dtype=torch.bool), principal=True)
    assert (axes.high > axes.low).all()
    assert math.isfinite(axes.share)


@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_corners_are_equally_far_from_the_middle_and_from_each_other(k: int) -> None:
    found = corners(k)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(k))
    torch.testing.assert_close(found[0], torch.tensor([0.0, 1.0]))
    sides = (found - found.roll(1, dims=0)).norm(dim=1)
    torch.testing.assert_close(sides, torch.full((k,), 2 * math.sin(math.pi / k)), atol=1e-6, rtol=1e-5)


def test_neighbours_are_those_of_a_search_one_by_one() -> None:
    z = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    for index in (0, 17, 39):
        expected = sorted((math.dist(z[k].tolist(), z[index].tolist()), k) for k in range(40) if k != index)[:6]
        found, distances = neighbours(z, index, 6)
        assert found.tolist() == [k for _, k in expected]
        assert distances.tolist() == pytest.approx([distance for distance, _ in expected], rel=1e-5)
    assert len(neighbours(z[:3], 0, 6)[0]) == 2


# ---- a session -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXPLORED)
def test_every_model_with_a_decoder_can_be_explored(kind: str) -> None:
    session = session_of(kind)
    about = json.loads(json.dumps(session.describe(), allow_nan=False))
    assert len(about["start"]) == about["dim"] == session.z.shape[1]
    assert pixels(session.decode(about["start"], 0)["image"]).shape == (8, 8, 3)
    assert about["encodes"] == session.model.can("encode")
    assert len(about["points"]) == len(about["groups"]) == (20 if about["encodes"] else 0)
    for part in about["categories"]:  # what the page sets is a one-hot vector
        assert sum(about["start"][part["start"] : part["stop"]]) == 1
        assert len(part["names"]) == part["stop"] - part["start"] == 3
    middle, half = np.array(about["view"]["middle"]), about["view"]["half"]
    assert all((np.abs(np.array(point) - middle) <= half).all() for point in about["points"])
    for axis in about["axes"]:
        assert len(axis["direction"]) == about["dim"]
        assert all(axis["direction"][k] == 0 for part in session.categories for k in range(part.start, part.stop))
    assert session.sentences()
    if about["samples"]:
        drawn = session.sample(None, 3)
        # What is drawn is what the page then decodes.
        assert session.decode(drawn["code"], drawn["seed"])["image"] == drawn["image"]
    if about["encodes"]:
        found = session.look(4, 1)
        assert session.decode(found["code"], 1)["image"] == found["reconstruction"]
        assert (pixels(found["image"]) == as_pixels(as_float(session.data.images[4]))).all()
        assert 4 not in [near["index"] for near in found["neighbours"]]


@pytest.mark.parametrize("kind", ["aae", "vae-gan", "aae-classified", "aae-heads", "implicit-supervised"])
def test_the_picture_of_an_image_is_its_reconstruction(kind: str) -> None:
    session = session_of(kind)
    x = as_float(session.data.images[7:8])
    with torch.no_grad():
        expected = session.model.reconstruct(x, torch.Generator().manual_seed(2))[0]
    found = pixels(session.look(7, 2)["reconstruction"]).astype(int)
    assert np.abs(found - as_pixels(expected)).max() <= 1


def test_heads_and_styles_are_explored_as_their_sum() -> None:
    session = session_of("aae-heads")
    model = session.model
    assert isinstance(model, CategoricalAAE)
    assert (session.z.shape[1], session.categories, session.axes.names) == (2, (), ("z1", "z2"))
    with torch.no_grad():
        torch.testing.assert_close(session.z, model.represent(encoded(model, session.data)))
        torch.testing.assert_close(model.represent(session._split(session.z)), session.z)


def test_categories_alone_have_a_corner_each() -> None:
    about = session_of("pixelgan-categorical").describe()
    np.testing.assert_allclose(about["corners"], corners(3).numpy())
    assert about["axes"] == []
    assert "corner" in " ".join(session_of("pixelgan-categorical").sentences())


def test_a_decoder_that_draws_does_so_by_the_seed() -> None:
    session = session_of("pixelgan-gaussian")
    assert session.draws
    assert session.decode([0.0, 0.0], 1) == session.decode([0.0, 0.0], 1)
    assert session.decode([0.0, 0.0], 1) != session.decode([0.0, 0.0], 2)
    assert not session_of("aae").draws


def test_samples_are_of_the_class_that_is_asked_for() -> None:
    session = session_of("aae-classified")
    assert session.describe()["components"] == ["class 0", "class 1", "class 2"]
    for label in range(3):
        assert session.sample(label, 0)["code"][:3] == [float(k == label) for k in range(3)]
    codes = {tuple(session.sample(None, seed)["code"]) for seed in range(4)}
    assert len(codes) == 4
    with pytest.raises(ConfigError, match="no class 3"):
        session.sample(3, 0)
    with pytest.raises(ConfigError, match="no class 0"):
        session_of("aae").sample(0, 0)


def test_points_without_labels_are_coloured_by_cluster() -> None:
    model = create(SMALL_MODELS["aae-clustered"], (1, 8, 8), 3, seed=0).eval()
    data = make_splits().train.without_labels()
    z = encoded(model, data)
    about = Session(model, data, z).describe()
    assert about["groups"] == z[:, :3].argmax(dim=1).tolist()
    assert about["groupNames"] == ["cluster 0", "cluster 1", "cluster 2"]


def test_what_cannot_be_explored_is_refused() -> None:
    data = make_splits().train
    for kind in ("pixelcnn", "pixelgan-matching"):
        with pytest.raises(UnsupportedError, match="nothing to explore; use a model with a decoder"):
            Session(create(SMALL_MODELS[kind], (1, 8, 8), 3), data, None)
    model = create(SMALL_MODELS["aae"], (1, 8, 8), 3)
    with pytest.raises(DataError, match="diverged"):
        Session(model, data, torch.full((len(data), 3), math.nan))
    with pytest.raises(DataError, match="two images or more"):
        Session(model, data.subset(torch.arange(1)), torch.zeros(1, 3))
    unregularised = session_of("implicit-free")
    assert not unregularised.describe()["samples"]
    with pytest.raises(UnsupportedError, match="follow no prior"):
        unregularised.sample(None, 0)


def test_codes_and_indices_that_make_no_sense_are_refused() -> None:
    session = session_of("aae")
    with pytest.raises(ConfigError, match="has 3 numbers, not 2"):
        session.decode([0.0, 0.0], 0)
    for far in (1e7, -1e300, math.nan):
        with pytest.raises(ConfigError, match="must lie between"):
            session.decode([0.0, 0.0, far], 0)
    for index in (-1, 20):
        with pytest.raises(ConfigError, match="no image"):
            session.look(index, 0)
    with pytest.raises(ConfigError, match="no image 0"):
        session_of("gan").look(0, 0)


def test_vectors_and_colour_are_shown_too() -> None:
    model = create(SMALL_MODELS["vae"], (5, 1, 1), 0, seed=0)
    data = ImageData(torch.rand(10, 5, 1, 1), torch.full((10,), -1))
    session = Session(model, data, torch.randn(10, 3))
    assert pixels(session.look(0, 0)["reconstruction"]).shape == (3, 3, 3)
    colour = session_of("vae-gan", shape=(3, 8, 8))
    assert (pixels(colour.look(3, 0)["image"]) == as_pixels(as_float(colour.data.images[3]))).all()

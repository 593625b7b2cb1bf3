"""Vectors of real numbers: their scaler, their files, and what a run keeps of them."""

import csv

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as made_arrays

from aegean import Experiment, Run
from aegean.data import FeatureScaler, SplitSettings, Vectors, from_vectors, holds_vectors
from aegean.data.images import as_float
from aegean.errors import DataError
from aegean.models import CategoricalAAEConfig, VAEConfig
from aegean.nn import MLPConfig
from aegean.plots import image_grid
from aegean.priors import Categorical, Gaussian
from aegean.train import TrainConfig
from aegean.use import codes, data_source, images_for

RNG = np.random.default_rng(0)
#: Three features of very different sizes, one constant, one that is nearly always 0.
X = np.column_stack(
    (RNG.normal(size=200), 1e6 + 1e4 * RNG.normal(size=200), np.full(200, 7.0), np.eye(200)[50] * 3)
).astype(np.float64)


def test_scaler_maps_quantiles_and_comes_back():
    scaler = FeatureScaler.fit(X)
    low, high = np.quantile(X[:, 0], [0.01, 0.99])
    scaled = scaler.apply(np.array([[low, 1e6, 7, 0], [high, 1e6, 7, 3], [1e9, -1e9, 8, 1.5]]))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:, 0], [0.1, 0.9, 1.0], atol=1e-6)
    assert scaled[2, 1] == 0
    np.testing.assert_allclose(scaled[:, 2], 0.5)  # constant in training
    np.testing.assert_allclose(scaled[:, 3], [0.1, 0.9, 0.5], atol=1e-6)  # quantiles say nothing of a rare value
    inside = (scaler.low < X) & (scaler.high > X)
    back = scaler.inverse(scaler.apply(X))
    np.testing.assert_allclose(back[inside], X[inside], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(back[:, 2], 7)


def test_a_wild_value_does_not_press_the_others_together():
    x = X.copy()
    x[0, 0] = 1e12
    spread = FeatureScaler.fit(x).apply(x)[1:, 0].std()
    assert spread > 0.8 * FeatureScaler.fit(X).apply(X)[1:, 0].std()


@settings(max_examples=60, deadline=None)
@given(made_arrays(np.float64, (5, 2), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_any_finite_numbers_are_scaled_into_the_unit_interval(x):
    scaled = FeatureScaler.fit(x).apply(x)
    assert np.isfinite(scaled).all()
    assert 0 <= scaled.min() <= scaled.max() <= 1


def test_scaler_on_disk(tmp_path):
    scaler = FeatureScaler.fit(X)
    scaler.save(tmp_path / "s")
    assert FeatureScaler.load(tmp_path / "s") == scaler
    assert FeatureScaler.fit(X * 2) != scaler
    raw = (tmp_path / "s").read_bytes()
    for damaged in (raw[:-3], b"{}", raw.replace(b"low", b"lov")):
        (tmp_path / "d").write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            FeatureScaler.load(tmp_path / "d")
    FeatureScaler(scaler.high, scaler.low).save(tmp_path / "d")
    with pytest.raises(DataError, match="damaged"):
        FeatureScaler.load(tmp_path / "d")


def test_errors_of_the_scaler_name_the_place():
    scaler = FeatureScaler.fit(X)
    x = X.copy()
    x[3, 1] = np.nan
    with pytest.raises(DataError, match="Vector 3 has nan as its feature 1"):
        scaler.apply(x)
    with pytest.raises(DataError, match="3 numbers each, those of training 4"):
        scaler.apply(X[:, :3])
    with pytest.raises(DataError, match="at least one"):
        FeatureScaler.fit(X[:0])


def test_float_data_is_held_as_it_is():
    data = from_vectors(X, ["a", ""] * 100)
    assert data.shape == (4, 1, 1)
    assert data.images.dtype == torch.float32
    assert torch.equal(data.images.flatten(1), torch.from_numpy(X).float())
    assert as_float(data.images) is data.images  # not divided by 255
    assert data.class_names == ("a",)
    for bad in (X[:, :, None], X.astype(str), X * 1e300):
        with pytest.raises(DataError):
            from_vectors(bad)


def write_csv(path, x, labels=None, names=None):
    with open(path, "w", newline="") as stream:
        rows = csv.writer(stream)
        extra = (["label"] if labels else []) + (["name"] if names else [])
        rows.writerow([f"f{k}" for k in range(x.shape[1])] + extra)
        for i, row in enumerate(x):
            rows.writerow([*map(repr, row.tolist()), *([labels[i]] if labels else []), *([names[i]] if names else [])])


def test_files(tmp_path):
    labels = [10, 2, -1, 2] * 50
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", vectors=X, labels=labels)
    write_csv(tmp_path / "x.csv", X, labels, [f"cell {i}" for i in range(200)])
    for ending in ("npy", "npz", "csv"):
        path = tmp_path / f"x.{ending}"
        assert holds_vectors(path)
        assert isinstance(data_source(str(path)), Vectors)
        data = Vectors(path=path).read()
        assert torch.equal(data.images.flatten(1), torch.from_numpy(X).float())
        if ending != "npy":
            assert data.class_names == ("2", "10")  # by number, not by letter
            assert data.labels[:4].tolist() == [1, 0, -1, 0]
    assert (data.names or ())[3] == "cell 3"
    assert "200 of 4 numbers" in str(Vectors(path=path).check())
    np.save(tmp_path / "images.npy", np.zeros((3, 4, 4), np.uint8))
    (tmp_path / "paths.csv").write_text("file,label\na.png,cat\n")
    assert not holds_vectors(tmp_path / "images.npy")
    assert not holds_vectors(tmp_path / "paths.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,4\n", "must name the columns"),
        ("a,b\n", "no numbers"),
        ("label\n3\n", "no numbers"),
        ("a,b\n1,2\n1\n", "vector 2: 1 values"),
        ("a,b\n1,=2+3\n", "vector 1: not a number"),
        ("a,b\n1,nan\n", "NaN"),
        ('a,b\n1,"2\n', "not CSV"),
    ],
)
def test_tables_that_are_none(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        Vectors(path=tmp_path / "x.csv").read()


def test_scaled_by_the_training_vectors_alone(tmp_path):
    np.save(tmp_path / "x.npy", X)
    splits = Vectors(path=tmp_path / "x.npy", test=50).load()
    assert splits.scaler is not None
    raw = SplitSettings(test=50).split(from_vectors(X))
    train = raw.train.images.flatten(1).numpy()
    assert splits.scaler == FeatureScaler.fit(train)
    assert splits.scaler != FeatureScaler.fit(X.astype(np.float32))
    for scaled, part in ((splits.train, raw.train), (splits.test, raw.test)):
        expected = splits.scaler.apply(part.images.flatten(1).numpy())
        assert torch.equal(scaled.images.flatten(1), torch.from_numpy(expected))


MODELS = {
    "vae": VAEConfig(prior=Gaussian(dim=2), encoder=MLPConfig(widths=(8,)), decoder=MLPConfig(widths=(8,))),
    "aae-categorical": CategoricalAAEConfig(
        content="clustered",
        category=Categorical(categories=3),
        style=Gaussian(dim=2),
        encoder=MLPConfig(widths=(8,)),
        decoder=MLPConfig(widths=(8,)),
        discriminator=MLPConfig(widths=(8,)),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_run_keeps_the_scaler_and_uses_it_for_new_vectors(tmp_path, name):
    np.save(tmp_path / "x.npy", X)
    experiment = Experiment(
        name="vectors",
        title="vectors",
        data=Vectors(path=tmp_path / "x.npy"),
        model=MODELS[name],
        train=TrainConfig(epochs=1, batch_size=20),
    )
    if name == "vae":  # its default likelihood is of binary pixels
        experiment = experiment.override({"model.likelihood": {"kind": "gaussian"}})
    run = Run.create(tmp_path / "run", experiment)
    run.train()
    run = Run.open(tmp_path / "run")
    model = run.model()
    np.save(tmp_path / "new.npy", X[:5])
    new = images_for(run, model, tmp_path / "new.npy")
    assert run.scaler is not None
    assert torch.equal(new.images.flatten(1), torch.from_numpy(run.scaler.apply(X[:5].astype(np.float32))))
    assert codes(run, model, new).shape[0] == 5
    assert image_grid(model.sample(2)).ndim == 3  # a square of grey cells each
    np.save(tmp_path / "x.npy", X * 2)
    with pytest.raises(DataError, match="have changed since"):
        _ = Run.open(tmp_path / "run").splits

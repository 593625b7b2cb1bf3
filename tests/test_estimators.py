"""The scikit-learn estimators, beyond scikit-learn's own checks."""

import json
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aegean import AdversarialClusterer, AdversarialEmbedding, SemiSupervisedClassifier
from aegean.errors import CheckpointError, ConfigError, DataError
from aegean.estimators.arrays import Form, rows_of

DIGITS, TRUTH = load_digits(return_X_y=True)
DIGITS, TRUTH = DIGITS[:300].reshape(-1, 8, 8), TRUTH[:300]
BLOBS, KIND = make_blobs(90, centers=3, cluster_std=0.5, random_state=0)
BLOBS = BLOBS * [1, 1000]  # features of very different units


@pytest.fixture(scope="module")
def classifier():
    names = np.array([f"d{k}" for k in TRUTH], dtype=object)
    names[100:] = -1
    return SemiSupervisedClassifier(epochs=4, random_state=0).fit(DIGITS, names)


@pytest.fixture(scope="module")
def clusterer():
    return AdversarialClusterer(6, epochs=20, random_state=0).fit(BLOBS)


@pytest.fixture(scope="module")
def embedding():
    return AdversarialEmbedding(2, epochs=100, random_state=0).fit(BLOBS)


def test_few_labels_name_the_rest(classifier):
    names = np.array([f"d{k}" for k in TRUTH], dtype=object)
    assert classifier.classes_.tolist() == [f"d{k}" for k in range(10)]
    assert classifier.score(DIGITS[100:], names[100:]) > 0.85
    q = classifier.predict_proba(DIGITS)
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-5)
    assert (classifier.transduction_[:100] == names[:100]).all()
    assert (classifier.predict(DIGITS) == classifier.classes_[q.argmax(axis=1)]).all()
    names[:] = -1
    with pytest.raises(DataError, match="No example has a label"):
        classifier.score(DIGITS, names)


def test_samples_have_the_form_and_range_of_the_data(classifier, clusterer):
    drawn = classifier.sample(3, "d3", random_state=1)
    assert drawn.shape == (3, 8, 8)
    assert 4 < drawn.max() <= 16
    np.testing.assert_array_equal(drawn, classifier.sample(3, "d3", random_state=1))
    assert (drawn != classifier.sample(3, "d4", random_state=1)).any()
    vectors = clusterer.sample(50, random_state=0)
    assert vectors.shape == (50, 2)
    assert BLOBS[:, 1].min() - 2000 < vectors[:, 1].mean() < BLOBS[:, 1].max() + 2000
    for estimator, label in ((classifier, "d11"), (clusterer, 6), (clusterer, -1)):
        with pytest.raises(ConfigError, match="There is no"):
            estimator.sample(1, label)


def test_clusters_of_blobs_are_numbered_by_size(clusterer):
    sizes = np.bincount(clusterer.labels_)
    assert (np.diff(sizes) <= 0).all()
    assert adjusted_rand_score(KIND, clusterer.labels_) > 0.3
    np.testing.assert_array_equal(clusterer.predict(BLOBS), clusterer.labels_)


def test_coordinates_and_back(embedding):
    z = embedding.transform(BLOBS)
    np.testing.assert_array_equal(z, embedding.embedding_)
    back = embedding.inverse_transform(z)
    assert back.shape == BLOBS.shape
    explained = 1 - np.square(back - BLOBS).mean(axis=0) / BLOBS.var(axis=0)
    assert explained.max() > 0.5
    with pytest.raises(DataError, match="expected \\(n, 2\\)"):
        embedding.inverse_transform(z[:, :1])
    with pytest.raises(ConfigError, match="no classes"):
        embedding.sample(2, 1)


@pytest.mark.parametrize("form", ["images", "channels", "flat", "bytes", "unit"])
def test_images_in_every_form_are_the_same_images(classifier, form):
    given = {
        "images": DIGITS,
        "channels": DIGITS[..., None],
        "flat": DIGITS.reshape(-1, 64),
        "bytes": np.rint(DIGITS * 255 / 16).astype(np.uint8),
        "unit": (DIGITS / 16).astype(np.float32),
    }[form]
    rows, shape, flat = rows_of(given, (8, 8) if form == "flat" else None)
    found = Form.of(np.asarray(rows), shape, flat)
    expected = classifier._form.data(DIGITS.reshape(-1, 64)).images
    assert found.data(np.asarray(rows)).images.equal(expected)
    restored = found.restore(found.scale(np.asarray(rows)))
    assert restored.shape == given.shape
    np.testing.assert_allclose(restored, given, atol=1e-5)


def test_a_map_of_images_that_are_mostly_alike_does_not_collapse() -> None:
    """Photographs differ from their mean by little; without batch normalisation all lie within 0.01 of each other."""
    rng, grid = np.random.default_rng(0), np.linspace(-1, 1, 24)
    mean = 90 + 80 * np.exp(-2 * (grid[:, None] ** 2 + grid**2))
    tilts = rng.normal(size=(200, 2, 1, 1))
    images = mean + 8 * (tilts[:, 0] * grid[:, None] + tilts[:, 1] * grid) + 3 * rng.normal(size=(200, 24, 24))
    codes = AdversarialEmbedding(2, epochs=3, random_state=0).fit_transform(images.clip(0, 255).astype(np.uint8))
    assert codes.std(axis=0).min() > 0.3


def test_flat_images_with_their_shape_are_no_vectors():
    flat = AdversarialEmbedding(image_shape=(8, 8), epochs=1).fit(DIGITS.reshape(-1, 64))
    assert flat._model.shape == (1, 8, 8)
    assert flat.inverse_transform(np.zeros((1, 2))).shape == (1, 64)
    assert flat.transform(DIGITS).shape == (300, 2)
    with pytest.raises(DataError, match="64 numbers"):
        flat.fit(BLOBS)
    with pytest.raises(DataError, match="image_shape"):
        AdversarialEmbedding(image_shape=(8,)).fit(DIGITS)


@pytest.mark.parametrize("name", ["classifier", "clusterer", "embedding"])
def test_saved_and_pickled_estimators_say_the_same(name, request, tmp_path):
    estimator = request.getfixturevalue(name)
    x = DIGITS if name == "classifier" else BLOBS
    estimator.save(tmp_path / "e")
    joblib.dump(estimator, tmp_path / "j")
    state = estimator.__getstate__()
    assert not [value for value in state.values() if type(value).__module__.startswith("torch")]
    for other in (
        type(estimator).load(tmp_path / "e"),
        pickle.loads(pickle.dumps(estimator)),  # noqa: S301
        joblib.load(tmp_path / "j"),
    ):
        np.testing.assert_array_equal(other.transform(x), estimator.transform(x))
        np.testing.assert_array_equal(other.sample(2, random_state=0), estimator.sample(2, random_state=0))
        assert other.get_params() == estimator.get_params()
        if name != "embedding":
            np.testing.assert_array_equal(other.predict(x), estimator.predict(x))
    wrong = AdversarialEmbedding if name != "embedding" else AdversarialClusterer
    with pytest.raises(CheckpointError, match="holds the estimator"):
        wrong.load(tmp_path / "e")


def test_damaged_files_are_refused(clusterer, tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        AdversarialClusterer.load(tmp_path / "nothing")
    clusterer.save(tmp_path)
    whole = json.loads((tmp_path / "estimator.json").read_text())
    for key in whole:
        (tmp_path / "estimator.json").write_text(json.dumps({k: v for k, v in whole.items() if k != key}))
        if key != "format":
            with pytest.raises(CheckpointError, match="damaged"):
                AdversarialClusterer.load(tmp_path)
    (tmp_path / "estimator.json").write_text(json.dumps(whole)[:-9])
    with pytest.raises(CheckpointError, match="damaged"):
        AdversarialClusterer.load(tmp_path)


def test_pipelines_searches_and_clones():
    y = np.where(np.arange(90) < 45, KIND, -1)
    pipeline = make_pipeline(StandardScaler(), SemiSupervisedClassifier(epochs=20, random_state=0))
    search = GridSearchCV(pipeline, {"semisupervisedclassifier__overrides": [None, {"model.style.dim": 2}]}, cv=2)
    search.fit(BLOBS, y)
    assert search.best_estimator_.score(BLOBS, KIND) > 0.8
    copy = clone(search.best_estimator_[-1])
    assert not hasattr(copy, "classes_")


def test_same_seed_same_result_and_nothing_is_printed_or_written(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [AdversarialClusterer(2, epochs=2, random_state=s).fit(BLOBS).transform(BLOBS) for s in (3, 3, 4)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())
    AdversarialClusterer(2, epochs=2, verbose=1).fit(BLOBS)
    assert "epoch 2.0 of 2" in capsys.readouterr().out


def test_other_models_and_settings():
    images = AdversarialClusterer(3, model="pixelgan", epochs=1, overrides={"model.decoder.blocks": 1}).fit(DIGITS[:40])
    assert images.experiment_.model.decoder.blocks == 1
    assert images.reasons_
    vectors = SemiSupervisedClassifier(model="implicit", epochs=1).fit(BLOBS, KIND)
    assert vectors.predict_proba(BLOBS).shape == (90, 3)
    with pytest.raises(ConfigError, match="vectors have no pixels"):
        AdversarialClusterer(3, model="pixelgan").fit(BLOBS)
    with pytest.raises(ConfigError, match="no model"):
        AdversarialClusterer(3, model="gan").fit(BLOBS)
    with pytest.raises(DataError, match="at least two"):
        SemiSupervisedClassifier().fit(BLOBS, np.where(KIND == 0, 0, -1))
    timed = AdversarialClusterer(2, minutes=0.005).fit(BLOBS)
    assert any(" allowed and a step takes" in reason for reason in timed.reasons_)


def test_clusters_of_vectors_are_the_best_of_several_starts():
    several = AdversarialClusterer(3, starts=3, epochs=3, random_state=0).fit(BLOBS)
    assert several.experiment_.starts == 3
    one = AdversarialClusterer(3, starts=1, epochs=3, random_state=0).fit(BLOBS)
    seeds = {name: estimator.experiment_.seed for name, estimator in (("one", one), ("several", several))}
    assert seeds["one"] == seeds["several"]
    assert not np.array_equal(one.predict_proba(BLOBS), several.predict_proba(BLOBS))
    with pytest.raises(ConfigError, match="starts"):
        AdversarialClusterer(3, starts=0).fit(BLOBS)

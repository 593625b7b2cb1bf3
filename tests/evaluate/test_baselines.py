import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

from aegean.errors import DataError
from aegean.evaluate.baselines import (
    _fit_svm,
    _margins,
    compare_baselines,
    label_spreading,
    self_training_svm,
    svm,
)


def digits(seed):
    """1437 training images of which 100 carry a label, and 360 test images, as the known figures have it."""
    data = load_digits()
    images = (data.images / 16).astype(np.float32)[:, None]
    train, test = train_test_split(np.arange(1797), test_size=360, random_state=seed, stratify=data.target)
    rng = np.random.default_rng(seed)
    labels = np.full(len(train), -1)
    for digit in range(10):
        chosen = rng.choice(np.flatnonzero(data.target[train] == digit), 10, replace=False)
        labels[chosen] = digit
    return images[train], labels, images[test], data.target[test]


def test_known_figures_on_digits_with_ten_labels_a_class():
    errors = [compare_baselines(*digits(seed)) for seed in range(5)]
    mean = {name: np.mean([error[name] for error in errors]) for name in errors[0]}
    assert set(mean) == {"label spreading", "self-training SVM", "SVM"}
    assert 2.5 < mean["label spreading"] < 5.0
    assert 2.0 < mean["self-training SVM"] < 4.5
    assert 5.5 < mean["SVM"] < 8.5


def test_the_svm_sees_the_labelled_images_only():
    images, labels, new, _ = digits(0)
    known = labels >= 0
    np.testing.assert_array_equal(svm(images, labels, new), svm(images[known], labels[known], new))
    assert (self_training_svm(images, labels, new) != svm(images, labels, new)).any()
    assert (label_spreading(images, labels, new) != label_spreading(images[known], labels[known], new)).any()


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_margins_are_the_smallest_of_each_class_against_any_other(classes):
    rng = np.random.default_rng(classes)
    y = np.repeat(np.arange(classes), 10)
    x = rng.normal(size=(len(y), 2)) + 4 * np.stack([np.cos(y), np.sin(y)], axis=1)
    points = rng.normal(size=(20, 2)) * 4
    margins = _margins(_fit_svm(x, y, penalty=10.0, gamma=1.0), points)
    gamma = 1 / (2 * x.var())
    for i in range(classes):
        against = []
        for j in set(range(classes)) - {i}:
            both = (y == i) | (y == j)
            pair = SVC(C=10.0, gamma=gamma).fit(x[both], y[both] == i)  # positive stands for class i
            against.append(pair.decision_function(points))
        np.testing.assert_allclose(margins[:, i], np.min(against, axis=0), atol=0.02)


def test_two_classes_with_one_label_each_and_labels_that_are_not_consecutive():
    rng = np.random.default_rng(0)
    truth = np.repeat([3, 7], 30)
    x = rng.normal(size=(60, 2)) * 0.3 + np.where(truth == 3, -1, 1)[:, None]
    labels = np.full(60, -1)
    labels[[0, 30]] = 3, 7
    for predict in (svm, self_training_svm, label_spreading):
        assert (predict(x, labels, x) == truth).all()


def test_only_so_many_unlabelled_images_are_used(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "aegean.evaluate.baselines.BASELINES",
        {"spy": lambda images, labels, new: seen.append(labels) or np.zeros(len(new), dtype=int)},
    )
    images, labels, new, truth = digits(0)
    result = compare_baselines(images, labels, new, truth, unlabelled_limit=50)
    assert [(seen[0] >= 0).sum(), (seen[0] < 0).sum()] == [100, 50]
    assert result == {"spy": pytest.approx(100 * np.mean(truth != 0))}


@pytest.mark.parametrize(
    ("labels", "size", "message"),
    [([0, 1], 8, "do not fit"), ([0, -1, 0], 8, "fewer than two classes"), ([0, 1, -1], 9, "do not fit")],
)
def test_bad_input_is_refused(labels, size, message):
    with pytest.raises(DataError, match=message):
        compare_baselines(np.zeros((3, 1, 8, 8)), np.array(labels), np.zeros((2, 1, size, size)), np.array([0, 1]))


def test_one_test_label_for_each_test_image():
    with pytest.raises(DataError, match="one label for each image"):
        compare_baselines(np.zeros((2, 4)), np.array([0, 1]), np.zeros((2, 4)), np.array([0]))


def test_settings_are_those_of_scikit_learn():
    images, labels, new, _ = digits(0)
    x, queries = images.reshape(len(images), -1).astype(np.float32), new.reshape(len(new), -1).astype(np.float32)
    seen = labels >= 0
    gamma = 0.3 / (x.shape[1] * x[seen].var())
    expected = SVC(C=0.1, gamma=gamma).fit(x[seen], labels[seen]).predict(queries)
    found = svm(images, labels, new, penalty=0.1, gamma=0.3)
    assert (found != svm(images, labels, new)).any()
    assert np.mean(found == expected) > 0.99
    with np.errstate(invalid="ignore"):
        model = LabelSpreading(kernel="knn", n_neighbors=3, alpha=0.8, max_iter=1000).fit(x, labels)
        spread = model.predict(queries)
    assert (label_spreading(images, labels, new, neighbours=3, alpha=0.8) == spread).all()
    assert (
        self_training_svm(images, labels, new, penalty=0.1, gamma=3.0) != self_training_svm(images, labels, new)
    ).any()

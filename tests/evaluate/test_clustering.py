import numpy as np
import pytest
import torch

from aegean.errors import DataError
from aegean.evaluate.clustering import evaluate_clustering


def one_hot(members, clusters):
    return np.eye(clusters)[members]


def test_a_perfect_clustering_with_shuffled_names():
    labels = np.repeat(np.arange(4), 5)
    q = one_hot((labels + 1) % 4, 4)
    result = evaluate_clustering(q, labels, q, labels)
    assert result.error_percent == result.majority_error_percent == result.hungarian_error_percent == 0
    assert result.nmi == pytest.approx(1)
    assert result.ari == pytest.approx(1)
    assert (result.clusters, result.classes, result.examples, result.empty) == (4, 4, 20, 0)
    assert result.cluster_labels.tolist() == [3, 0, 1, 2]


def test_a_head_may_belong_to_another_cluster():
    # Over the whole validation set, cluster 1 is most likely for image 0, which itself belongs to cluster 0;
    # a search among cluster 1's own images would find image 2 and its label 2.
    validation_q = np.array([[0.55, 0.45, 0.0], [0.05, 0.05, 0.9], [0.3, 0.4, 0.3]])
    labels = np.array([0, 1, 2])
    result = evaluate_clustering(validation_q, labels, one_hot([0, 1, 2], 3), np.array([0, 0, 1]))
    assert result.heads.tolist() == [0, 0, 1]
    assert result.cluster_labels.tolist() == [0, 0, 1]
    assert result.error_percent == 0
    assert result.majority_error_percent == pytest.approx(100 / 3)


def test_the_rules_differ_and_each_is_applied_as_defined():
    # Cluster 0: labels 0, 1, 1 with a head of label 0. Cluster 1: 0, 0. The votes say 1 and 0, the heads 0 and 0.
    validation_q = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.95], [0.2, 0.9]])
    labels = np.array([0, 1, 1, 0, 0])
    test_labels = np.array([0, 1, 1, 1, 0])
    result = evaluate_clustering(validation_q, labels, one_hot([0, 0, 0, 0, 1], 2), test_labels)
    assert result.error_percent == pytest.approx(60)
    assert result.majority_error_percent == pytest.approx(20)
    assert result.hungarian_error_percent == pytest.approx(20)


def test_names_are_chosen_on_the_validation_set_and_not_on_the_test_set():
    q, labels = one_hot([0, 0, 1, 1], 2), np.array([0, 0, 1, 1])
    result = evaluate_clustering(q, labels, q, 1 - labels)
    assert result.error_percent == result.majority_error_percent == result.hungarian_error_percent == 100
    assert result.nmi == pytest.approx(1)


def test_hungarian_names_are_one_to_one():
    # Both clusters hold mostly label 0; a one-to-one naming must give one of them to label 1.
    members, labels = np.array([0] * 5 + [1] * 5), np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    q = one_hot(members, 2)
    result = evaluate_clustering(q, labels, q, labels)
    assert result.majority_error_percent == pytest.approx(20)
    assert result.hungarian_error_percent == pytest.approx(30)


def test_hungarian_only_where_clusters_equal_classes():
    labels = np.array([0, 1, 0, 1])
    assert evaluate_clustering(one_hot(labels, 3), labels, one_hot(labels, 3), labels).hungarian_error_percent is None
    assert evaluate_clustering(one_hot(labels, 3), labels, one_hot(labels, 3), labels, 3).hungarian_error_percent == 0


def test_empty_and_collapsed_clusters_are_counted():
    members = np.array([0] * 960 + [1] * 39 + [2])
    labels = (members > 0).astype(int)
    result = evaluate_clustering(one_hot(members, 4), labels, one_hot(members, 4), labels)
    assert result.sizes.tolist() == [960, 39, 1, 0]
    assert result.empty == 1
    assert result.collapsed == 2  # a fair part is 250; 39 is more than a twentieth of it, 1 and 0 are less


def test_images_of_a_cluster_without_validation_images_are_mistakes_of_the_vote():
    validation_q, labels = one_hot([0, 0], 2) + 1e-3, np.array([0, 0])
    result = evaluate_clustering(validation_q, labels, one_hot([0, 1], 2), np.array([0, 0]))
    assert result.error_percent == 0
    assert result.majority_error_percent == 50


def test_logarithms_and_tensors_change_nothing():
    rng = np.random.default_rng(0)
    q, labels = rng.dirichlet(np.ones(6), 200), rng.integers(0, 4, 200)
    plain = evaluate_clustering(q[:100], labels[:100], q[100:], labels[100:])
    logarithm = torch.tensor(q).log()
    other = evaluate_clustering(
        logarithm[:100], torch.tensor(labels[:100]), logarithm[100:], torch.tensor(labels[100:])
    )
    assert plain.error_percent == other.error_percent
    assert plain.nmi == other.nmi
    np.testing.assert_array_equal(plain.heads, other.heads)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation_q": np.ones((3, 2))}, "do not fit"),
        ({"test_q": np.ones((2, 3))}, "do not fit"),
        ({"test_q": np.full((2, 2), np.nan)}, "NaN"),
        ({"test_q": np.ones(2)}, "expected shape"),
        ({"test_labels": np.array([0, -1])}, "-1 is not a class"),
        ({"classes": 1}, "only 1 classes"),
    ],
)
def test_bad_input_is_refused(change, message):
    q, labels = one_hot([0, 1], 2), np.array([0, 1])
    given = {"validation_q": q, "validation_labels": labels, "test_q": q, "test_labels": labels}
    with pytest.raises(DataError, match=message):
        evaluate_clustering(**{**given, **change})

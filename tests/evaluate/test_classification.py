import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.errors import DataError
from aegean.evaluate.classification import (
    Classification,
    evaluate_classification,
    expected_calibration_error,
)

TRUE = [0, 0, 0, 1, 1, 2, 2, 2]
PREDICTED = [0, 1, 1, 1, 1, 2, 0, 2]


def test_confusion_error_and_recall_by_hand():
    result = evaluate_classification(np.array(TRUE), np.array(PREDICTED), classes=4)
    assert result.confusion.tolist() == [[1, 2, 0, 0], [0, 2, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    assert (result.examples, result.mistakes, result.error_percent) == (8, 3, 37.5)
    np.testing.assert_allclose(result.recall, [1 / 3, 1, 2 / 3, np.nan])
    assert result.most_confused() == [(0, 1, 2), (2, 0, 1)]
    assert result.most_confused(1) == [(0, 1, 2)]
    assert result.calibration_error is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_counts_add_up(pairs):
    true, predicted = np.array(pairs).T
    result = evaluate_classification(true, predicted)
    assert result.examples == len(pairs)
    assert result.mistakes == sum(t != p for t, p in pairs)
    found = result.most_confused(25)
    assert sum(count for _, _, count in found) == result.mistakes
    assert [count for _, _, count in found] == sorted((count for _, _, count in found), reverse=True)
    for i, j, count in found:
        assert count == sum((t, p) == (i, j) for t, p in pairs)


def test_tensors_and_arrays_give_the_same():
    confidence = torch.linspace(0.3, 1, 8)
    from_tensors = evaluate_classification(torch.tensor(TRUE), torch.tensor(PREDICTED), confidence=confidence)
    from_arrays = evaluate_classification(np.array(TRUE), np.array(PREDICTED), confidence=confidence.numpy())
    np.testing.assert_array_equal(from_tensors.confusion, from_arrays.confusion)
    assert from_tensors.calibration_error == from_arrays.calibration_error


def test_calibration_error_by_hand():
    # Of four at 0.95 three are right (distance 0.2, weight 4/6), of two at 0.35 none (distance 0.35, weight 2/6).
    correct = np.array([1, 1, 1, 0, 0, 0])
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.35, 0.35])
    assert expected_calibration_error(correct, confidence, bins=10) == pytest.approx(4 / 6 * 0.2 + 2 / 6 * 0.35)


def test_a_bin_includes_its_upper_edge():
    # 0.5 wrong and 0.4 right share a bin, so their distances 0.5 and -0.6 are summed before the absolute value.
    assert expected_calibration_error(np.array([0, 1]), np.array([0.5, 0.4]), bins=2) == pytest.approx(0.05)


def test_calibration_error_equals_the_definition_bin_by_bin():
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(500), rng.random(500) < 0.7
    confidence[:3] = 0, 1, 1 / 15
    expected = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15) | ((b == 0) & (confidence == 0))
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(correct, confidence) == pytest.approx(expected)


def test_calibrated_predictions_have_a_small_error_and_bold_ones_a_large_error():
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.1, 1, 100_000)
    correct = rng.random(100_000) < confidence
    assert expected_calibration_error(correct, confidence) < 0.01
    assert expected_calibration_error(correct, np.ones(100_000)) == pytest.approx(1 - correct.mean())


@pytest.mark.parametrize(
    ("true", "predicted", "classes", "message"),
    [
        ([], [], None, "labels"),
        ([0, -1], [0, 1], None, "-1 is not a class"),
        ([0, 1], [0], None, "one prediction for each label"),
        ([0, 3], [0, 1], 3, "only 3 classes"),
        ([0.5, 1.0], [0, 1], None, "integers"),
        ([[0], [1]], [0, 1], None, "shape"),
    ],
)
def test_bad_labels_are_refused(true, predicted, classes, message):
    with pytest.raises(DataError, match=message):
        evaluate_classification(np.array(true), np.array(predicted), classes)


@pytest.mark.parametrize(
    ("confidence", "message"), [([0.5, 1.2], "not in"), ([0.5, np.nan], "not in"), ([0.5], "one length")]
)
def test_bad_confidence_is_refused(confidence, message):
    with pytest.raises(DataError, match=message):
        expected_calibration_error(np.array([True, False]), np.array(confidence))


def test_a_stored_confusion_matrix_is_all_that_is_needed():
    result = Classification(np.array([[3, 1], [0, 4]]))
    assert result.error_percent == 12.5

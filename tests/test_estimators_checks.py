"""scikit-learn's own checks of its contract, on one thread with networks chosen for a handful of points."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from aegean import AdversarialClusterer, AdversarialEmbedding, SemiSupervisedClassifier

#: By estimator: the check, and why it cannot pass.
EXPECTED = {
    "SemiSupervisedClassifier": {
        "check_classifiers_classes": "its classes are -1 and 1, and -1 is no label here, as in sklearn.semi_supervised",
    },
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@parametrize_with_checks(
    [
        AdversarialClusterer(n_clusters=3, epochs=15),
        SemiSupervisedClassifier(epochs=8),
        AdversarialEmbedding(epochs=2),
    ],
    expected_failed_checks=lambda estimator: EXPECTED.get(type(estimator).__name__, {}),
)
def test_contract(estimator, check):
    check(estimator)

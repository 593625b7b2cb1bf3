"""Protocols by name: what the numbers in a table or a report mean, exactly.

What is importable from here takes plain arrays (NumPy, or torch tensors on the CPU) and returns small frozen
dataclasses. `aegean.evaluate.protocols` runs it on models.
"""

from aegean.evaluate.baselines import compare_baselines, label_spreading, self_training_svm, svm
from aegean.evaluate.classification import Classification, evaluate_classification, expected_calibration_error
from aegean.evaluate.clustering import Clustering, evaluate_clustering
from aegean.evaluate.code_match import CodeMatch, match_codes, sliced_wasserstein
from aegean.evaluate.readout import ReadOut, read_labels
from aegean.evaluate.records import (
    RunRecord,
    Statistic,
    markdown_table,
    read_records,
    render_benchmarks,
    render_epochs,
    render_tables,
    summarise,
    write_record,
)
from aegean.evaluate.sample_classes import SampleClasses, classify, judge_samples, train_classifier

__all__ = [
    "Classification",
    "Clustering",
    "CodeMatch",
    "ReadOut",
    "RunRecord",
    "SampleClasses",
    "Statistic",
    "classify",
    "compare_baselines",
    "evaluate_classification",
    "evaluate_clustering",
    "expected_calibration_error",
    "judge_samples",
    "label_spreading",
    "markdown_table",
    "match_codes",
    "read_labels",
    "read_records",
    "render_benchmarks",
    "render_epochs",
    "render_tables",
    "self_training_svm",
    "sliced_wasserstein",
    "summarise",
    "svm",
    "train_classifier",
    "write_record",
]

"""SemiSupervisedClassifier without any setting, beside the usual methods, on the same 100 labels and held-out images.

python -m benchmarks.classify                                 scikit-learn's digits, five seeds
python -m benchmarks.classify --data mnist --minutes 20       MNIST
"""

import time

import numpy as np
import torch

from benchmarks import labels

LABELS_PER_CLASS = 10


def one_seed(data: str, minutes: float | None, seed: int) -> dict[str, float]:
    """Errors in percent of all methods on the same split and labels."""
    from aegean import SemiSupervisedClassifier
    from aegean.evaluate import compare_baselines

    splits = labels.load(data, LABELS_PER_CLASS, seed)
    train, test = labels.images(splits)
    y, truth = splits.train.labels.numpy(), splits.test.labels.numpy()
    started, cpu = time.perf_counter(), time.process_time()
    classifier = SemiSupervisedClassifier(minutes=minutes, random_state=seed).fit(train, y)
    seconds = {"seconds a fit": time.perf_counter() - started, "CPU seconds a fit": time.process_time() - cpu}
    found = {"error %, SemiSupervisedClassifier": float(100 * np.mean(classifier.predict(test) != truth))}
    pixels = compare_baselines(train / np.float32(255), y, test / np.float32(255), truth)
    codes = compare_baselines(*_around(y, labels.components(train, test)), truth)
    found |= {f"error %, {name} on pixels": error for name, error in pixels.items()}
    found |= {f"error %, {name} on principal components": error for name, error in codes.items()}
    print(f"seed {seed}:", ", ".join(f"{name} {value:.2f}" for name, value in (found | seconds).items()), flush=True)
    return found | seconds


def _around(y: np.ndarray, codes: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return codes[0], y, codes[1]


def measure(data: str = "digits", minutes: float | None = None, seeds: int = 5) -> dict[str, float]:
    """Everything, as numbers by name, on one thread."""
    torch.set_num_threads(1)
    return labels.summary([one_seed(data, minutes, seed) for seed in range(seeds)])


if __name__ == "__main__":
    labels.main("classify", measure)

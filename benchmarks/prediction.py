"""Classes of 70,000 new images of 28x28 pixels, by an estimator with the networks that it chooses for such images."""

import time

import numpy as np
import torch

IMAGES, TRAINING, SIDE = 70_000, 1000, 28


def measure() -> dict[str, float]:
    """Seconds of one call of `predict`. The images are noise, and the training is short: neither changes the work."""
    from aegean import SemiSupervisedClassifier

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, SIDE, SIDE), dtype=np.uint8)
    labels = np.arange(TRAINING) % 10
    classifier = SemiSupervisedClassifier(epochs=1, random_state=0).fit(images[:TRAINING], labels)
    classifier.predict(images[:TRAINING])  # memory is taken
    started, cpu = time.perf_counter(), time.process_time()
    classifier.predict(images)
    seconds = time.perf_counter() - started
    return {
        "seconds for 70,000 images": seconds,
        "CPU seconds for 70,000 images": time.process_time() - cpu,
        "images a second": IMAGES / seconds,
        "threads": float(torch.get_num_threads()),
    }

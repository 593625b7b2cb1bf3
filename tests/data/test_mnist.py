"""MNIST, on small files of the official format."""

import gzip
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aegean.data import MNIST, describe, fetch
from aegean.data.files import OfficialFile, find
from aegean.errors import DataError


def idx(array):
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """60 training and 20 test images whose first pixel is their position; returns the folder."""
    arrays = []
    for n in (60, 20):
        images = np.zeros((n, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(n)
        arrays += [images, (np.arange(n) % 10).astype(np.uint8)]
    files = []
    for file, array in zip(MNIST.benchmark.files, arrays, strict=True):
        packed = gzip.compress(idx(array))
        (tmp_path / file.name).write_bytes(packed)
        digests = [hashlib.sha256(raw).hexdigest() for raw in (packed, idx(array))]
        files.append(OfficialFile(file.name, *digests))
    small = replace(MNIST.benchmark, files=tuple(files), mirrors=("http://127.0.0.1:1/",))
    monkeypatch.setattr(MNIST, "benchmark", small)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("AEGEAN_DATA", str(tmp_path))
    return tmp_path


def test_mnist_validation_is_the_last_of_train(small_mnist):
    splits = MNIST(validation=10, labels_per_class=2).load()
    assert splits.train.images[:, 0, 0, 0].tolist() == list(range(50))
    assert splits.validation.images[:, 0, 0, 0].tolist() == list(range(50, 60))
    assert splits.test.images[:, 0, 0, 0].tolist() == list(range(20))
    assert splits.shape == (1, 28, 28)
    assert splits.test.labels.tolist() == list(range(10)) * 2
    assert splits.train_truth.tolist() == list(range(10)) * 5
    assert len(splits.labelled) == 20
    assert len(MNIST(validation=0).load().train) == 60


def test_mnist_first_three_digits_keep_the_split(small_mnist):
    splits = MNIST(validation=10, classes=(0, 1, 2)).load()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [15, 3, 6]
    assert splits.train.images[:, 0, 0, 0].tolist() == [i for i in range(50) if i % 10 < 3]
    assert splits.classes == 3


def test_mnist_damaged_and_missing(small_mnist):
    assert describe("mnist").present
    assert [path.parent for path in fetch("mnist")] == [small_mnist] * 4
    labels = small_mnist / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-12])
    for read in (MNIST().load, lambda: fetch("mnist")):
        with pytest.raises(DataError, match=r"train-labels-idx1-ubyte.gz: damaged or incomplete"):
            read()
    labels.unlink()
    assert not describe("mnist").present
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte.gz is not in .*set AEGEAN_DATA"):
        MNIST().load()


@pytest.mark.skipif(
    "AEGEAN_DATA" not in os.environ or not all(find(file, "mnist") for file in MNIST.benchmark.files),
    reason="needs the MNIST files in the folder that AEGEAN_DATA names",
)
def test_real_mnist():
    splits = MNIST(labels_per_class=10).load()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [50_000, 10_000, 10_000]
    assert splits.train_truth[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    mean = torch.cat([splits.train.images, splits.validation.images]).double().mean() / 255
    assert abs(float(mean) - 0.1307) < 1e-4
    assert set(splits.train.counts().values()) == {10}
    assert all(Path(path).exists() for path in fetch("mnist"))

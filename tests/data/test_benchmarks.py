import gzip
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from aegean.data import MNIST, Digits, available, check, describe, fetch
from aegean.data.benchmarks import _MNIST
from aegean.data.files import OfficialFile, find
from aegean.errors import ConfigError, DataError


def images_of(data):
    return {image.numpy().tobytes() for image in data.images}


def test_digits_are_all_there_with_their_levels():
    splits = Digits(test=0).load()
    levels, labels = load_digits(return_X_y=True)
    assert splits.train.images.flatten(1).tolist() == np.rint(levels * 255 / 16).astype(int).tolist()
    assert len(splits.train.images.unique()) == 17
    assert splits.train.labels.tolist() == labels.tolist()
    assert splits.train.class_names == tuple("0123456789")


def test_digits_have_the_split_of_the_literature():
    splits = Digits(labels_per_class=10).load()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1437, 0, 360)
    assert len(splits.labelled) == 100
    assert set(splits.train.counts().values()) == {10}
    assert all(abs(count - 36) <= 1 for count in splits.test.counts().values())
    assert not images_of(splits.train) & images_of(splits.test)


def test_digits_validation_comes_out_of_train():
    plain, tuned = Digits().load(), Digits(validation=200).load()
    assert (len(tuned.train), len(tuned.validation), len(tuned.test)) == (1237, 200, 360)
    assert torch.equal(plain.test.images, tuned.test.images)
    assert not images_of(tuned.validation) & (images_of(tuned.train) | images_of(tuned.test))


def test_some_digits_only():
    splits = Digits(classes=(7, 3), test=0).load()
    assert splits.train.class_names == ("7", "3")
    whole = Digits(test=0).load().train
    for label, digit in enumerate((7, 3)):
        mine = splits.train.images[splits.train.labels == label]
        assert torch.equal(mine, whole.images[whole.labels == digit])


@pytest.mark.parametrize("source", [Digits, MNIST])
@pytest.mark.parametrize("classes", [(), (1, 1), (10,), (-1, 2)])
def test_classes_that_are_not_digits(source, classes):
    with pytest.raises(ConfigError, match=r"classes: .*different digits from 0 to 9"):
        source(classes=classes)


def test_check_counts_hidden_labels_too():
    report = check(Digits(labels_per_class=1, validation=100))
    assert report.images == report.labelled == 1797
    assert report.sizes == {"8x8": 1797}
    assert report.classes["0"] == 178
    for part in ("1797 in grey", "1797 of 8x8", "0 (178)"):
        assert part in str(report)


def test_known_sets():
    assert [benchmark.name for benchmark in available()] == ["digits", "mnist"]
    assert describe("digits").present
    assert fetch("digits") == ()
    with pytest.raises(DataError, match=r"no benchmark set 'minst'; did you mean 'mnist'\?"):
        fetch("minst")


# ---- MNIST, on small files of the official format ---------------------------------------------------------


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
    for file, array in zip(_MNIST.files, arrays, strict=True):
        packed = gzip.compress(idx(array))
        (tmp_path / file.name).write_bytes(packed)
        digests = [hashlib.sha256(raw).hexdigest() for raw in (packed, idx(array))]
        files.append(OfficialFile(file.name, *digests))
    small = replace(_MNIST, files=tuple(files), mirrors=("http://127.0.0.1:1/",))
    monkeypatch.setattr("aegean.data.benchmarks._MNIST", small)
    monkeypatch.setattr("aegean.data.benchmarks._BENCHMARKS", {"mnist": small})
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
    "AEGEAN_DATA" not in os.environ or not all(find(file, "mnist") for file in _MNIST.files),
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

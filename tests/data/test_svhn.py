"""SVHN, on small files of the official format."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.io import savemat

from aegean.data import SVHN, describe, fetch
from aegean.data.files import OfficialFile
from aegean.data.images import block_means
from aegean.errors import ConfigError, DataError

COUNTS = {"train_32x32.mat": 30, "test_32x32.mat": 12, "extra_32x32.mat": 25}
RNG = np.random.default_rng(0)
X = {name: RNG.integers(0, 256, (32, 32, 3, n), dtype=np.uint8) for name, n in COUNTS.items()}


def write(folder, monkeypatch, labels=None):
    files = []
    for name, n in COUNTS.items():
        y = (np.arange(n) % 10 + 1) if labels is None else np.full(n, labels)
        savemat(folder / name, {"X": X[name], "y": y.astype(np.uint8)[:, None]}, do_compression=True)
        files.append(OfficialFile(name, hashlib.sha256((folder / name).read_bytes()).hexdigest()))
    small = replace(SVHN.benchmark, files=tuple(files), mirrors=("http://127.0.0.1:1/",))
    monkeypatch.setattr(SVHN, "benchmark", small)
    monkeypatch.setattr("pooch.os_cache", lambda name: folder / "cache" / name)
    monkeypatch.setenv("AEGEAN_DATA", str(folder))


@pytest.fixture
def small(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)
    return tmp_path


def naive(name, image):
    """(3, 32, 32) of one image of a file."""
    return torch.from_numpy(X[name][:, :, :, image].transpose(2, 0, 1).copy())


def test_the_label_ten_is_the_digit_zero(small):
    splits = SVHN(validation=10).load()
    assert splits.test.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert splits.test.class_names == tuple("0123456789")


@pytest.mark.parametrize("at_once", [10_000, 7])
def test_extra_images_then_training_images_less_their_last_for_validation(small, monkeypatch, at_once):
    monkeypatch.setattr("aegean.data.svhn._AT_ONCE", at_once)
    splits = SVHN(validation=10).load()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (45, 10, 12)
    assert splits.shape == (3, 32, 32)
    for image in range(25):
        assert torch.equal(splits.train.images[image], naive("extra_32x32.mat", image))
    for image in range(20):
        assert torch.equal(splits.train.images[25 + image], naive("train_32x32.mat", image))
    for image in range(10):
        assert torch.equal(splits.validation.images[image], naive("train_32x32.mat", 20 + image))
    assert splits.train_truth.tolist() == [(k + 1) % 10 for k in [*range(25), *range(20)]]
    assert len(SVHN(validation=0).load().train) == 55


def test_without_the_extra_images_their_file_is_not_needed(small):
    (small / "extra_32x32.mat").unlink()
    splits = SVHN(validation=10, extra=False).load()
    assert len(splits.train) == 20
    assert torch.equal(splits.train.images[0], naive("train_32x32.mat", 0))
    with pytest.raises(DataError, match=r"extra_32x32.mat is not in"):
        SVHN(validation=10).load()


def test_sixteen_by_sixteen_are_means_of_two_by_two(small):
    images = SVHN(validation=10, size=16).load().test.images
    assert images.shape == (12, 3, 16, 16)
    for image in (0, 11):
        for c, i, j in np.ndindex(3, 16, 16):
            block = X["test_32x32.mat"][2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c, image]
            assert images[image, c, i, j] == int(np.floor(block.astype(float).mean() + 0.5))


def test_white_stays_white_at_half_size():
    assert (block_means(np.full((1, 3, 32, 32), 255, np.uint8), 2) == 255).all()


def test_classes_and_labels_a_class(small):
    splits = SVHN(validation=10, classes=(0, 5), labels_per_class=1).load()
    assert splits.test.class_names == ("0", "5")
    assert splits.test.labels.tolist() == [1, 0]
    assert len(splits.labelled) == 2


def test_bad_settings(small):
    with pytest.raises(ConfigError, match="size"):
        SVHN(size=8)
    with pytest.raises(DataError, match="31 validation images of 30; hold out fewer"):
        SVHN(validation=31).load()


def test_damaged_files_and_other_labels(small, tmp_path, monkeypatch):
    assert describe("svhn").present
    assert [path.name for path in fetch("svhn")] == list(COUNTS)
    whole = (small / "test_32x32.mat").read_bytes()
    (small / "test_32x32.mat").write_bytes(whole[:-1])
    for read in (SVHN(validation=10).load, lambda: fetch("svhn")):
        with pytest.raises(DataError, match=r"not the official test_32x32.mat .*delete it and fetch it again"):
            read()
    for label in (0, 11):
        write(small, monkeypatch, labels=label)
        with pytest.raises(DataError, match=f"labels from {label} to {label}, expected 1 to 10"):
            SVHN(validation=10).load()

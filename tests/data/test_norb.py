"""Small NORB, on small files of the official format."""

import gzip
import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from aegean.data import NORB, describe, fetch
from aegean.data.files import OfficialFile
from aegean.errors import ConfigError, DataError

COUNTS = {"training": 30, "testing": 12}
RNG = np.random.default_rng(0)
X = {part: RNG.integers(0, 256, (n, 2, 96, 96), dtype=np.uint8) for part, n in COUNTS.items()}
Y = {part: (np.arange(n) % 5).astype("<i4") for part, n in COUNTS.items()}
MAGIC = {np.dtype("u1"): 0x1E3D4C55, np.dtype("<i4"): 0x1E3D4C54}


def matrix(values, magic=None, dims=None, dimensions=None):
    """The official format; numbers in the header may lie."""
    dims = [*values.shape] if dims is None else dims
    dims = [*dims, *[1] * (3 - len(dims))]
    header = struct.pack(
        f"<II{len(dims)}i", magic or MAGIC[values.dtype], values.ndim if dimensions is None else dimensions, *dims
    )
    return header + values.tobytes()


def names(part):
    kind = "5x46789" if part == "training" else "5x01235"
    return [f"smallnorb-{kind}x9x18x6x2x96x96-{part}-{what}.mat.gz" for what in ("dat", "cat")]


TRAIN, LABELS, TEST, TEST_LABELS = [*names("training"), *names("testing")]


def write(folder, monkeypatch, raw=None, packed=None):
    """Write the four files and make theirs the official hashes; some of them with another content."""
    files = []
    for part in COUNTS:
        for name, values in zip(names(part), (X[part], Y[part]), strict=True):
            content = (raw or {}).get(name) or matrix(values)
            (folder / name).write_bytes((packed or {}).get(name) or gzip.compress(content, 1))
            files.append(OfficialFile(name, hashlib.sha256((folder / name).read_bytes()).hexdigest()))
    small = replace(NORB.benchmark, files=tuple(files), mirrors=("http://127.0.0.1:1/",))
    monkeypatch.setattr(NORB, "benchmark", small)
    monkeypatch.setattr("pooch.os_cache", lambda name: folder / "cache" / name)
    monkeypatch.setenv("AEGEAN_DATA", str(folder))


def test_the_official_names():
    assert [file.name for file in NORB.benchmark.files] == [TRAIN, LABELS, TEST, TEST_LABELS]


@pytest.mark.parametrize("at_once", [1_000, 7])
def test_images_of_the_first_camera_as_photographed(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr("aegean.data.norb._AT_ONCE", at_once)
    write(tmp_path, monkeypatch)
    splits = NORB(validation=0, size=96).load()
    assert splits.train.class_names == ("animal", "human", "airplane", "truck", "car")
    assert torch.equal(splits.train.images, torch.from_numpy(X["training"][:, :1]))
    assert torch.equal(splits.test.images, torch.from_numpy(X["testing"][:, :1]))
    assert splits.train_truth.tolist() == [0, 1, 2, 3, 4] * 6
    assert splits.test.labels.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


@pytest.mark.parametrize(("size", "factor"), [(48, 2), (32, 3)])
def test_smaller_images_are_means_of_blocks(tmp_path, monkeypatch, size, factor):
    write(tmp_path, monkeypatch)
    images = NORB(validation=0, size=size, cameras="both").load().test.images
    assert images.shape == (24, 1, size, size)
    for pair, camera, i, j in [(0, 0, 0, 0), (0, 1, 3, 5), (11, 1, size - 1, size - 1), (7, 0, size - 1, 2)]:
        block = X["testing"][pair, camera, factor * i : factor * (i + 1), factor * j : factor * (j + 1)]
        assert images[2 * pair + camera, 0, i, j] == int(np.floor(block.astype(float).mean() + 0.5))
    blocks = X["testing"].reshape(24, 1, size, factor, size, factor).astype(float).mean(axis=(3, 5))
    assert torch.equal(images, torch.from_numpy(np.floor(blocks + 0.5)).to(torch.uint8))


def test_the_default_is_one_camera_at_32_and_a_stratified_validation_set(tmp_path, monkeypatch):
    assert NORB().validation == 4_000
    write(tmp_path, monkeypatch)
    splits = NORB(validation=10, labels_per_class=2).load()
    assert splits.shape == (1, 32, 32)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (20, 10, 12)
    assert set(splits.validation.counts().values()) == {2}
    assert set(splits.train.counts().values()) == {2}
    whole = NORB(validation=0).load().train
    together = torch.cat([splits.train.images, splits.validation.images])
    assert sorted(image.numpy().tobytes() for image in together) == sorted(i.numpy().tobytes() for i in whole.images)
    other = NORB(validation=10, split_seed=1).load()
    assert not torch.equal(other.validation.images, splits.validation.images)
    assert torch.equal(NORB(validation=10).load().validation.images, splits.validation.images)


def test_both_images_of_a_pair_have_its_label_and_stay_in_one_part(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)
    splits = NORB(validation=10, size=96, cameras="both").load()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (40, 20, 24)
    label_of = {X["training"][k].tobytes(): int(Y["training"][k]) for k in range(30)}
    for images, labels in (
        (splits.train.images, splits.train_truth),
        (splits.validation.images, splits.validation.labels),
    ):
        for pair, (left, right) in zip(images.reshape(-1, 2, 96, 96), labels.reshape(-1, 2), strict=True):
            assert left == right == label_of[pair.numpy().tobytes()]


def test_bad_settings(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="size"):
        NORB(size=64)
    with pytest.raises(ConfigError, match="cameras"):
        NORB(cameras="right")
    write(tmp_path, monkeypatch)
    with pytest.raises(DataError, match="hold out fewer"):
        NORB(validation=31).load()


def test_another_file_than_the_official_one(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)
    assert [path.name for path in fetch("norb")] == [TRAIN, LABELS, TEST, TEST_LABELS]
    (tmp_path / TEST).write_bytes((tmp_path / TEST).read_bytes()[:-1])
    for read in (NORB(validation=0).load, lambda: fetch("norb")):
        with pytest.raises(DataError, match=f"not the official {TEST}"):
            read()
    (tmp_path / TEST).unlink()
    assert not describe("norb").present


WHOLE = matrix(X["testing"])
FLIPPED = bytearray(gzip.compress(WHOLE, 1))
FLIPPED[-6] ^= 1  # in the checksum


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        (TEST, matrix(X["testing"], magic=0x1E3D4C54), "not a binary matrix of uint8 with 4 dimensions .*1e3d4c54"),
        (TEST, matrix(X["testing"], dimensions=3), "with 4 dimensions .*dimensions are 3"),
        (TEST, matrix(X["testing"], dimensions=2**32 - 1), "with 4 dimensions"),
        (TEST, matrix(X["testing"], dims=[13, 2, 96, 96]), "truncated or damaged"),
        (TEST, matrix(X["testing"], dims=[11, 2, 96, 96]), "longer than its header says"),
        (TEST, matrix(X["testing"], dims=[12, 2, 48, 192]), "its header says 12x2x48x192, expected 24300x2x96x96"),
        (TEST, matrix(X["testing"], dims=[2**31 - 1, 2, 96, 96]), "its header says 2147483647x"),
        (TEST, matrix(X["testing"], dims=[-12, 2, 96, 96]), "its header says -12x"),
        (TEST, matrix(X["testing"][:0]), "its header says 0x"),
        (TEST, matrix(X["testing"][:11]), "11 pairs of images, but 12 labels"),
        (TEST, WHOLE[:6], "ends too early"),
        (TEST, WHOLE[:20], "ends too early"),
        (TEST_LABELS, matrix(X["testing"][:, 0, 0, 0]), "not a binary matrix of int32"),
        (TEST_LABELS, matrix(Y["testing"] + np.int32(1)), "labels from 1 to 5, expected 0 to 4"),
        (TEST_LABELS, matrix(Y["testing"] - np.int32(1)), "labels from -1 to 3, expected 0 to 4"),
    ],
)
def test_damaged_content_is_named(tmp_path, monkeypatch, name, raw, message):
    write(tmp_path, monkeypatch, raw={name: raw})
    with pytest.raises(DataError, match=f"{name}: .*{message}"):
        NORB(validation=0).load()


@pytest.mark.parametrize("packed", [gzip.compress(WHOLE, 1)[:-3000], bytes(FLIPPED), WHOLE, b"\x1f\x8b\x08"])
def test_damaged_packing_is_named(tmp_path, monkeypatch, packed):
    write(tmp_path, monkeypatch, packed={TEST: packed})
    with pytest.raises(DataError, match=f"{TEST}: truncated or damaged"):
        NORB(validation=0).load()

"""CIFAR-10, on small files of the official format and on folders."""

import gzip
import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from aegean.data import CIFAR10, describe, fetch
from aegean.data.cifar import CLASS_NAMES
from aegean.data.files import OfficialFile
from aegean.errors import DataError

RNG = np.random.default_rng(0)
#: Six batches of ten images, (10, 32, 32, 3); the labels of a batch are 0 to 9.
BATCHES = {f"data_batch_{k}.bin": RNG.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8) for k in range(1, 6)}
BATCHES["test_batch.bin"] = RNG.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)


def records(images):
    return b"".join(bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in enumerate(images))


MEMBERS = {"readme.html": b"text"} | {name: records(images) for name, images in BATCHES.items()}


def tar(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:") as archive:
        for name, raw in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            if isinstance(raw, bytes):
                info.size = len(raw)
                archive.addfile(info, io.BytesIO(raw))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, raw
                archive.addfile(info)
    return stream.getvalue()


def official(place, monkeypatch, content):
    packed = gzip.compress(content, 1) if content is not None else b""
    file = OfficialFile("cifar-10-binary.tar.gz", hashlib.sha256(packed).hexdigest())
    small = replace(CIFAR10.benchmark, files=(file,), mirrors=("http://127.0.0.1:1/",))
    monkeypatch.setattr(CIFAR10, "benchmark", small)
    if content is not None:
        (place / file.name).write_bytes(packed)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("AEGEAN_DATA", str(tmp_path))
    (tmp_path / "cifar10").mkdir()
    return tmp_path


def as_read(image):
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def test_the_binary_version(place, monkeypatch):
    official(place, monkeypatch, tar(MEMBERS))
    splits = CIFAR10(validation=0).load()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (50, 0, 10)
    assert splits.shape == (3, 32, 32)
    assert splits.classes == 10
    for batch in range(5):
        for k in range(10):
            assert torch.equal(splits.train.images[10 * batch + k], as_read(BATCHES[f"data_batch_{batch + 1}.bin"][k]))
    assert splits.train_truth.tolist() == list(range(10)) * 5
    assert splits.test.labels.tolist() == list(range(10))
    assert torch.equal(splits.test.images[3], as_read(BATCHES["test_batch.bin"][3]))
    assert splits.test.class_names[3] == "cat"


def test_validation_has_every_class_in_its_proportion(place, monkeypatch):
    official(place, monkeypatch, tar(MEMBERS))
    splits = CIFAR10(validation=20).load()
    assert set(splits.validation.counts().values()) == {2}
    assert set(splits.train.counts().values()) == {3}
    together = {image.numpy().tobytes() for part in (splits.train, splits.validation) for image in part.images}
    assert len(together) == 50
    other = CIFAR10(validation=20, split_seed=1).load()
    assert not torch.equal(other.validation.images, splits.validation.images)


def folders(place, change=lambda image: image, names=CLASS_NAMES):
    for part, batches in (("train", [f"data_batch_{k}.bin" for k in range(1, 6)]), ("test", ["test_batch.bin"])):
        for number, batch in enumerate(batches):
            for label, image in enumerate(BATCHES[batch]):
                folder = place / "cifar10" / part / names[label]
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(change(image)).save(folder / f"{number:04d}.png")


def test_folders_of_png_files_serve_too(place, monkeypatch):
    official(place, monkeypatch, None)
    assert not describe("cifar10").present
    folders(place)
    assert describe("cifar10").present
    assert fetch("cifar10") == (place / "cifar10" / "train", place / "cifar10" / "test")
    from_folders = CIFAR10(validation=0).load()
    official(place, monkeypatch, tar(MEMBERS))
    assert fetch("cifar10") == (place / "cifar-10-binary.tar.gz",)
    from_archive = CIFAR10(validation=0).load()
    for one, other in ((from_folders.train, from_archive.train), (from_folders.test, from_archive.test)):
        assert one.class_names == other.class_names == CLASS_NAMES
        found, expected = (
            {(image.numpy().tobytes(), label) for image, label in zip(data.images, data.labels.tolist(), strict=True)}
            for data in (one, other)
        )
        assert found == expected


def test_folders_elsewhere_or_halves_of_them_do_not_count(place, monkeypatch):
    official(place, monkeypatch, None)
    folders(place)
    for part in ("train", "test"):
        (place / "cifar10" / part).rename(place / part)
    assert not describe("cifar10").present
    (place / "train").rename(place / "cifar10" / "train")
    assert not describe("cifar10").present
    with pytest.raises(DataError, match=r"cifar-10-binary.tar.gz is not in"):
        CIFAR10().load()


@pytest.mark.parametrize(
    ("change", "names", "message"),
    [
        (lambda image: image[:16], CLASS_NAMES, "train: images of 16x32"),
        (
            lambda image: image,
            tuple(f"k{label}" for label in range(10)),
            "subfolders k0, k1.*expected 32x32 in exactly",
        ),
        (lambda image: image, ("airplane",) * 10, "subfolders airplane; expected"),
    ],
)
def test_other_folders_are_refused(place, monkeypatch, change, names, message):
    official(place, monkeypatch, None)
    folders(place, change, names)
    with pytest.raises(DataError, match=message):
        CIFAR10(validation=0).load()


def test_an_image_in_no_class_is_refused(place, monkeypatch):
    official(place, monkeypatch, None)
    folders(place)
    Image.fromarray(BATCHES["test_batch.bin"][0]).save(place / "cifar10" / "test" / "a.png")
    with pytest.raises(DataError, match="test: images of 32x32"):
        CIFAR10(validation=0).load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar({name: raw for name, raw in MEMBERS.items() if name != "data_batch_3.bin"}), "lacks .*data_batch_3.bin"),
        (tar(MEMBERS | {"data_batch_2.bin": "../../secret"}), "lacks .*data_batch_2.bin"),
        (tar(MEMBERS | {"test_batch.bin": MEMBERS["test_batch.bin"][:-1]}), "30729 bytes is not one of 3073"),
        (tar(MEMBERS | {"test_batch.bin": b""}), "0 bytes is not one"),
        (tar(MEMBERS | {"test_batch.bin": b"\x0a" + bytes(3072)}), "label 10, expected 0 to 9"),
        (tar({f"{k}.bin": b"" for k in range(101)}), "more than 100 files"),
        (tar(MEMBERS)[:100_000], "damaged archive"),
        (b"text" * 1000, "damaged archive"),
        (b"", "damaged archive|lacks"),
    ],
)
def test_other_archives_are_refused(place, monkeypatch, content, message):
    official(place, monkeypatch, content)
    with pytest.raises(DataError, match=f"cifar-10-binary.tar.gz: .*({message})"):
        CIFAR10(validation=0).load()


def test_a_sparse_member_is_not_filled_with_zeros(place, monkeypatch):
    raw = bytearray(tar(MEMBERS | {"data_batch_1.bin": b""}))
    start = raw.index(b"cifar-10-batches-bin/data_batch_1.bin")
    header = raw[start : start + 512]
    header[156:157] = b"S"  # GNU's sparse file: one hole of 2**40 bytes
    header[257:265] = b"ustar  \0"
    header[386:512] = bytes(126)
    header[386:410] = b"%011o\0%011o\0" % (2**32, 0)
    header[483:495] = b"%011o\0" % 2**32
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    raw[start : start + 512] = header
    official(place, monkeypatch, bytes(raw))
    with pytest.raises(DataError, match=r"lacks .*data_batch_1.bin"):
        CIFAR10(validation=0).load()


def test_hash_and_size_come_first(place, monkeypatch):
    official(place, monkeypatch, tar(MEMBERS))
    file = place / "cifar-10-binary.tar.gz"
    whole = file.read_bytes()
    file.write_bytes(whole + b"x")
    with pytest.raises(DataError, match="not the official cifar-10-binary"):
        CIFAR10(validation=0).load()
    file.write_bytes(whole)
    monkeypatch.setattr("aegean.data.cifar.MAX_FILE_BYTES", len(tar(MEMBERS)) - 1)
    with pytest.raises(DataError, match="unpacks to more than"):
        CIFAR10(validation=0).load()

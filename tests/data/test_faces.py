"""Faces, on small files of the formats."""

import io
import re
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from aegean.data import TFD, Faces, check, describe, fetch
from aegean.data.faces import split_by_person
from aegean.errors import ConfigError, DataError


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("AEGEAN_DATA", str(tmp_path))
    for name in ("tfd", "lfw"):
        (tmp_path / name).mkdir()
    return tmp_path


# ---- Toronto faces ----------------------------------------------------------------------------------------

N = 40
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 48, 48), dtype=np.uint8)
IMAGES[:, 0, 0] = np.arange(N)


def tfd(place, **arrays):
    """The first ten images are unlabelled; of the others, fold f tests on those with number % 5 == f."""
    emotions = np.where(np.arange(N) < 10, -1, np.arange(N) % 7 + 1)
    folds = np.zeros((N, 5), int)
    for fold in range(5):
        folds[10:, fold] = [3 if k % 5 == fold else 2 if k % 5 == (fold + 1) % 5 else 1 for k in range(10, N)]
    content = {"images": IMAGES, "labs_ex": emotions[:, None], "labs_id": emotions[:, None], "folds": folds}
    savemat(place / "tfd" / "TFD_48x48.mat", content | arrays, do_compression=True)


@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5])
def test_tfd_trains_on_the_unlabelled_and_the_folds_training_images(place, fold):
    tfd(place)
    splits = TFD(fold=fold).load()
    parts = [part.images[:, 0, 0, 0].tolist() for part in (splits.train, splits.validation, splits.test)]
    labelled = range(10, N)
    assert parts[2] == [k for k in labelled if k % 5 == fold - 1]
    assert parts[1] == [k for k in labelled if k % 5 == fold % 5]
    assert parts[0] == sorted({*range(N)} - {*parts[1], *parts[2]})
    assert splits.shape == (1, 48, 48)
    assert torch.equal(splits.test.images[0, 0], torch.from_numpy(IMAGES[parts[2][0]]))
    assert splits.train.labels.tolist() == [-1 if k < 10 else k % 7 for k in parts[0]]
    assert splits.classes == 7
    assert splits.test.class_names[3] == "happiness"


def test_tfd_with_labels_as_doubles_and_signed_bytes(place):
    tfd(place)
    expected = TFD().load()
    emotions = np.where(np.arange(N) < 10, -1, np.arange(N) % 7 + 1)[:, None]
    for dtype in (np.float64, np.int8):
        tfd(place, labs_ex=emotions.astype(dtype))
        assert torch.equal(TFD().load().train.labels, expected.train.labels)
    assert describe("tfd").present
    assert [path.name for path in fetch("tfd")] == ["TFD_48x48.mat"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES[:, :, :47]}, "'images' is uint8 of 40x48x47, expected uint8 of nx48x48"),
        ({"images": IMAGES / 255}, "'images' is double"),
        ({"images": IMAGES[:39]}, "different numbers"),
        ({"folds": np.zeros((N, 4))}, "'folds' is double of 40x4"),
        ({"folds": np.full((N, 5), 4)}, "folds 0 to 3"),
        ({"labs_ex": np.zeros((N, 1))}, "emotions from 1 to 7"),
        ({"labs_ex": np.full((N, 1), 8)}, "emotions from 1 to 7"),
    ],
)
def test_other_files_are_not_tfd(place, arrays, message):
    tfd(place, **arrays)
    with pytest.raises(DataError, match=rf"TFD_48x48.mat: .*{message}"):
        TFD().load()


def test_tfd_truncated_missing_and_bad_fold(place):
    tfd(place)
    file = place / "tfd" / "TFD_48x48.mat"
    file.write_bytes(file.read_bytes()[:50_000])
    with pytest.raises(DataError, match=r"TFD_48x48.mat: .*truncated"):
        TFD().load()
    file.unlink()
    with pytest.raises(DataError, match=r"cannot be fetched.*ask its authors.*into a folder tfd, and set AEGEAN_DATA"):
        TFD().load()
    with pytest.raises(ConfigError, match="fold"):
        TFD(fold=6)


# ---- Labeled Faces in the Wild ----------------------------------------------------------------------------


def jpeg(grey, size=(48, 48), mode="L", kind="JPEG"):
    stream = io.BytesIO()
    Image.new("L", size, grey).convert(mode).save(stream, kind)
    return stream.getvalue()


PEOPLE = {"Ann_Lee": 4, "Bob": 1, "Cid_van_Dam": 3, "Dee": 1, "Eve": 2, "Fay": 1}
ENTRIES = {
    f"lfw48/{person}_{k + 1:04d}.jpg": jpeg(20 * number + k)
    for number, (person, count) in enumerate(PEOPLE.items())
    for k in range(count)
}


def lfw(place, entries=ENTRIES, compression=zipfile.ZIP_DEFLATED):
    file = place / "lfw" / "lfw48.zip"
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, raw in entries.items():
            archive.writestr(name, raw)
    return file


def people(data):
    return {name.rsplit("_", 1)[0] for name in data.names}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_lfw_is_read_and_divided_by_person(place, compression):
    lfw(place, {"lfw48/": b""} | dict(reversed(ENTRIES.items())), compression)
    splits = Faces(test=0.25, validation=2).load()
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [7, 2, 3]
    assert sorted(name for part in parts for name in part.names) == sorted(name[6:] for name in ENTRIES)
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert not people(parts[one]) & people(parts[other])
    for part in parts:
        for image, name in zip(part.images, part.names, strict=True):
            person, number = name[:-4].rsplit("_", 1)
            grey = 20 * list(PEOPLE).index(person) + int(number) - 1
            assert image.shape == (1, 48, 48)
            assert abs(image.int() - grey).max() <= 1
        assert part.class_names == ()
        assert set(part.labels.tolist()) == {-1}
    assert "by person, split seed 0" in splits.description
    assert describe("lfw").present
    assert check(Faces(test=1, validation=0)).images == 12


def test_lfw_test_people_depend_on_the_seed_alone(place):
    lfw(place)
    tests = [Faces(test=3, validation=v, split_seed=s).load().test.names for s in range(6) for v in (0, 2)]
    assert tests[0::2] == tests[1::2]
    assert len(set(tests)) > 1


def test_lfw_labels_cannot_be_asked_for(place):
    lfw(place)
    with pytest.raises(DataError, match="no image has a label"):
        Faces(test=2, validation=0, labels_per_class=1).load()
    with pytest.raises(DataError, match="leave none for training"):
        Faces(test=12, validation=0).load()


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=12), sizes=st.tuples(*[st.integers(0, 9)] * 2))
def test_split_by_person_keeps_people_together_or_says_that_it_cannot(counts, sizes):
    names = [f"p{k}" for k, count in enumerate(counts) for _ in range(count)]
    names = [names[i] for i in np.random.default_rng(len(names)).permutation(len(names))]
    try:
        parts = split_by_person(names, list(sizes), 0)
    except DataError as error:
        assert "whole people could not be held out" in str(error)  # noqa: PT017
        return
    assert tuple(len(part) for part in parts[:2]) == sizes
    assert sorted(torch.cat(parts).tolist()) == list(range(len(names)))
    assert all(part.tolist() == sorted(part.tolist()) for part in parts)
    owners = [{names[k] for k in part} for part in parts]
    assert sum(len(owner) for owner in owners) == len(set(names))


def test_a_split_that_singles_allow_is_always_found():
    assert len(split_by_person(["a"] * 9 + list("bcdefg"), [5], 3)[0]) == 5
    with pytest.raises(DataError, match="3 images of whole people could not be held out, only 2; hold out fewer"):
        split_by_person(["a", "a", "b", "b"], [3], 0)


GOOD = jpeg(3)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "0 files"),
        ({"lfw48/A_0001.jpg": GOOD, "other/A_0001.jpg": GOOD}, "2 files of 1 names"),
        ({"lfw48/readme.txt": b"text"}, "'lfw48/readme.txt' is not named after a person"),
        ({"lfw48/A_0001.jpg": b"text"}, "A_0001.jpg: damaged, or not a JPEG"),
        ({"lfw48/A_0001.jpg": GOOD[:200]}, "A_0001.jpg: damaged, or not a JPEG"),
        ({"lfw48/A_0001.jpg": b""}, "A_0001.jpg: damaged"),
        ({"lfw48/A_0001.jpg": jpeg(3, kind="PNG")}, "A_0001.jpg: damaged, or not a JPEG"),
        ({"lfw48/A_0001.jpg": jpeg(3, (48, 40))}, "A_0001.jpg: is 40x48, expected 48x48"),
        ({"lfw48/A_0001.jpg": GOOD + bytes(100_000)}, "bytes, more than 100000"),
    ],
)
def test_other_archives_are_refused(place, entries, message):
    path = lfw(place, entries)
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        Faces(test=1, validation=0).load()


def test_hostile_archives_are_refused(place, monkeypatch):
    settings = Faces(test=1, validation=0)
    file = lfw(place)
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"lfw48.zip: a damaged archive"):
        settings.load()
    damaged = bytearray(lfw(place, compression=zipfile.ZIP_STORED).read_bytes())
    damaged[damaged.index(b"\xff\xda") + 20] ^= 255  # a byte of the first picture, which the CRC notices
    file.write_bytes(damaged)
    with pytest.raises(DataError, match=r"damaged archive.*CRC"):
        settings.load()
    encrypted = bytearray(whole)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(mark) + offset] |= 1
    file.write_bytes(encrypted)
    with pytest.raises(DataError, match="is encrypted or packed in an unusual way"):
        settings.load()
    lfw(place, compression=zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match="packed in an unusual way"):
        settings.load()
    lfw(place)
    monkeypatch.setattr("aegean.data.faces.MAX_FACES", 11)
    with pytest.raises(DataError, match="12 files of 12 names, expected 1 to 11"):
        settings.load()
    monkeypatch.setattr("aegean.data.faces.MAX_FILE_BYTES", 1000)
    with pytest.raises(DataError, match="larger than the 1000 bytes"):
        settings.load()


def test_an_archive_that_lies_about_a_size_is_not_unpacked_further(place):
    size, bomb = len(GOOD), 50_000_000
    file = lfw(place, {"lfw48/A_0001.jpg": bytes(bomb)})
    file.write_bytes(file.read_bytes().replace(bomb.to_bytes(4, "little"), size.to_bytes(4, "little")))
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(DataError, match=r"lfw48.zip"):
        Faces(test=1, validation=0).load()
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_real_faces():
    import os

    from aegean.data.files import find

    if "AEGEAN_DATA" not in os.environ or not find(Faces.benchmark.files[0], "lfw"):
        pytest.skip("needs lfw48.zip in the folder that AEGEAN_DATA names")
    splits = Faces().load()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [10_909, 1_000, 1_324]
    parts = [people(part) for part in (splits.train, splits.validation, splits.test)]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 5_749

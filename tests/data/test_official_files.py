import gzip
import hashlib
import threading
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.data.files import OfficialFile, fetch_file, find, gunzip, parse_idx, read_official
from aegean.errors import DataError


def idx(array, kind=8):
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, kind, array.ndim]) + shape + array.tobytes()


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (2, 3, 4, 5), (0, 28, 28)])
def test_idx_round_trip(shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    assert np.array_equal(parse_idx(idx(array), "x"), array)


IMAGES = idx(np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not an IDX file .*begins with nothing.*fetch it again"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\x89PNG" + bytes(100), "begins with 89504e47"),
        (idx(np.zeros((2, 2), np.uint8), kind=0x0D), "not an IDX file of unsigned bytes"),
        (b"\0\0\x08\0", "not an IDX file"),
        (b"\0\0\x08\x09" + bytes(40), "not an IDX file"),
        (b"\0\0\x08\x03\0\0", "truncated"),
        (IMAGES[:-1], "39 bytes, but its header says 2x3x4, which takes 40; .*truncated .*fetch it again"),
        (IMAGES + b"\0", "41 bytes"),
        (b"\0\0\x08\x04" + b"\xff" * 16, "its header says 4294967295x4294967295"),
    ],
)
def test_bad_idx_names_the_file_and_a_remedy(raw, message):
    with pytest.raises(DataError, match=f"train.idx: .*{message}|train.idx: {message}"):
        parse_idx(raw, "train.idx")


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\0\0\x08" + rest))
def test_random_bytes_are_idx_or_a_data_error(raw):
    with suppress(DataError):
        array = parse_idx(raw, "x")
        assert idx(array) == raw


@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=60), cut=st.integers(0, 200), place=st.integers(0, 200), value=st.integers(0, 255))
def test_random_and_damaged_gzip(raw, cut, place, value):
    with suppress(DataError):
        gunzip(raw, 1000, "x")
    packed = bytearray(gzip.compress(IMAGES))
    packed[place % len(packed)] = value
    with suppress(DataError):
        gunzip(bytes(packed[:cut]), 1000, "x")


def test_gzip_is_bounded_and_complete():
    packed = gzip.compress(IMAGES)
    assert gunzip(packed, len(IMAGES), "x") == IMAGES
    with pytest.raises(DataError, match=r"x.gz: unpacks to more than 1000 bytes"):
        gunzip(gzip.compress(bytes(10_000_000)), 1000, "x.gz")
    for damaged in (packed[:-9], packed[:20], packed[:-8] + bytes(8), b"not gzip", packed + b"more"):
        with pytest.raises(DataError, match=r"x.gz: damaged or incomplete .*; delete it and fetch it again"):
            gunzip(damaged, 1000, "x.gz")


# ---- finding and fetching ---------------------------------------------------------------------------------


@pytest.fixture
def official():
    packed = gzip.compress(IMAGES, mtime=0)
    file = OfficialFile("some.gz", hashlib.sha256(packed).hexdigest(), hashlib.sha256(IMAGES).hexdigest())
    return file, packed


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no folder named by the environment."""
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("AEGEAN_DATA", raising=False)
    return tmp_path / "cache" / "aegean" / "set"


@pytest.fixture
def mirror(tmp_path):
    """An HTTP server on this machine: its address, the folder it serves, and what it was asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", folder, asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["some", "some.gz", "set/some", "set/some.gz"])
@pytest.mark.usefixtures("cache")
def test_a_named_folder_needs_no_network(official, tmp_path, monkeypatch, name):
    file, packed = official
    place = tmp_path / "named" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(packed if name.endswith(".gz") else IMAGES)
    monkeypatch.setenv("AEGEAN_DATA", str(tmp_path / "named"))
    assert find(file, "set") == fetch_file(file, "set", mirrors=()) == place
    assert read_official(file, place) == IMAGES


def test_a_file_is_fetched_once_and_kept(official, cache, mirror, monkeypatch):
    file, packed = official
    address, folder, asked = mirror
    said = []
    monkeypatch.setattr("logging.Logger.callHandlers", lambda self, record: said.append(record))
    (folder / "some.gz").write_bytes(packed)
    assert find(file, "set") is None
    for _ in range(2):
        assert read_official(file, fetch_file(file, "set", [address])) == IMAGES
    assert asked == ["/some.gz"]
    assert find(file, "set") == cache / "some.gz"
    assert said == []


def test_the_next_mirror_helps_where_one_lacks_the_file_or_has_another(official, cache, mirror):
    file, packed = official
    address, folder, _ = mirror
    (folder / "good").mkdir()
    (folder / "bad").mkdir()
    (folder / "good" / "some.gz").write_bytes(packed)
    (folder / "bad" / "some.gz").write_bytes(packed + b"changed")
    path = fetch_file(file, "set", [address + "missing/", address + "bad/", address + "good/"])
    assert path.read_bytes() == packed


def test_neither_here_nor_to_be_had(official, cache, mirror, tmp_path, monkeypatch):
    file, packed = official
    address, folder, _ = mirror
    (folder / "some.gz").write_bytes(packed + b"changed")
    monkeypatch.setenv("AEGEAN_DATA", str(tmp_path / "named"))
    with pytest.raises(DataError) as raised:
        fetch_file(file, "set", [address, "http://127.0.0.1:1/"])
    for part in (
        "some.gz is not in",
        str(tmp_path / "named" / "set"),
        str(cache),
        "set AEGEAN_DATA",
        "127.0.0.1:1",
    ):
        assert part in str(raised.value)
    assert not list(cache.glob("*"))


def test_the_content_is_checked_wherever_it_is_from(official, tmp_path):
    file, packed = official
    for name, raw, message in [
        ("some.gz", gzip.compress(IMAGES[:-1]), "not the official some.gz .*delete it and fetch it again"),
        ("some", IMAGES[:-1], "not the official some.gz"),
        ("some.gz", packed[:-4], "damaged or incomplete"),
        ("some", packed, "not the official"),
    ]:
        path = tmp_path / name
        path.write_bytes(raw)
        with pytest.raises(DataError, match=message) as raised:
            read_official(file, path)
        assert str(path) in str(raised.value)
    (tmp_path / "some.gz").write_bytes(gzip.compress(IMAGES, 1))  # packed anew: the same content
    assert read_official(file, tmp_path / "some.gz") == IMAGES


def test_official_files_are_read_to_a_limit(official, tmp_path, monkeypatch):
    file, packed = official
    (tmp_path / "some.gz").write_bytes(packed)
    monkeypatch.setattr("aegean.data.files.MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match="larger than the 10 bytes"):
        read_official(file, tmp_path / "some.gz")

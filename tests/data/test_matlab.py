import re
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from scipy.sparse import csc_matrix

from aegean.data.matlab import read_mat
from aegean.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (4, 4, 3, 5), dtype=np.uint8)
Y = np.arange(5, dtype=np.uint8)[:, None]
SHAPES = {"X": (4, 4, 3, None), "y": (None, 1)}


def save(path, compress=True, **arrays):
    savemat(path, {"X": X, "y": Y} | arrays, do_compression=compress)
    return path


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_pixels_stay_bytes_and_the_rest_becomes_int64(tmp_path, compress, dtype):
    path = save(tmp_path / "a.mat", compress, y=Y.astype(dtype), other={"a": 1})
    arrays = read_mat(path, "X", SHAPES)
    assert arrays["X"].dtype == np.uint8
    assert np.array_equal(arrays["X"], X)
    assert arrays["y"].dtype == np.int64
    assert np.array_equal(arrays["y"], Y)


OBJECTS = np.empty((5, 1), dtype=object)
OBJECTS[:] = "text"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X.astype(np.float64)}, "'X' is double of 4x4x3x5, expected uint8 of 4x4x3xn"),
        ({"X": X[:3]}, "'X' is uint8 of 3x4x3x5"),
        ({"X": X[..., 0, :]}, "'X' is uint8 of 4x4x5"),
        ({"X": X[..., :4]}, "different numbers of images"),
        ({"y": Y.T}, "'y' is uint8 of 1x5, expected numbers of nx1"),
        ({"y": Y + 0.5}, "'y' must hold whole numbers"),
        ({"y": Y * np.nan}, "'y' must hold whole numbers"),
        ({"y": Y + np.inf}, "'y' must hold whole numbers"),
        ({"y": Y * 1j}, "'y' is complex of 5x1"),
        ({"y": OBJECTS}, "'y' is a cell array of 5x1"),
        ({"y": {"a": 1}}, "'y' is a structure of 1x1"),
        ({"y": "12345"}, "'y' is text"),
        ({"y": Y > 2}, "'y' is logical"),
        ({"y": csc_matrix(Y.astype(float))}, "'y' is a sparse matrix"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, message):
    path = save(tmp_path / "a.mat", **arrays)
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        read_mat(path, "X", SHAPES)


def test_missing_and_doubled_arrays(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"X": X})
    with pytest.raises(DataError, match="has no array 'y'"):
        read_mat(path, "X", SHAPES)
    path.write_bytes(path.read_bytes() + save(tmp_path / "b.mat").read_bytes()[128:])
    with pytest.raises(DataError, match="holds two arrays 'X'"):
        read_mat(path, "X", SHAPES)


def test_nothing_is_unpacked_that_the_header_says_is_too_large(tmp_path, monkeypatch):
    path = save(tmp_path / "a.mat")
    monkeypatch.setattr("aegean.data.matlab.MAX_ARRAY_BYTES", X.size)
    assert read_mat(path, "X", SHAPES)["X"].shape == X.shape
    monkeypatch.setattr("aegean.data.matlab.MAX_ARRAY_BYTES", X.size - 1)
    monkeypatch.setattr("aegean.data.matlab._values", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(DataError, match="'X' is uint8 of"):
        read_mat(path, "X", SHAPES)


def test_a_compressed_array_is_checked_to_its_end(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"X": X, "y": Y}, do_compression=False)
    header, element = path.read_bytes()[:128], path.read_bytes()[128:]
    size = 8 + int.from_bytes(element[4:8], "little")

    def write(packed):
        tag = (15).to_bytes(4, "little") + len(packed).to_bytes(4, "little")
        path.write_bytes(header + tag + packed + element[size:])

    write(zlib.compress(element[:size]))
    assert np.array_equal(read_mat(path, "X", SHAPES)["X"], X)
    packed = zlib.compress(element[:size])
    for damaged, message in [
        (packed[:-1] + bytes([packed[-1] ^ 1]), "incorrect data check"),
        (packed[:-4], "ends too early"),
        (zlib.compress(element[:size] + bytes(20_000_000)), "longer than it says"),
        (zlib.compress(element[: size - 20]), "ends too early"),
        (zlib.compress(packed), "element of type"),
    ]:
        write(damaged)
        with pytest.raises(DataError, match=message):
            read_mat(path, "X", SHAPES)


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_arrays_longer_than_a_piece(tmp_path, monkeypatch, piece):
    monkeypatch.setattr("aegean.data.matlab._PIECE", piece)
    for compress in (True, False):
        assert np.array_equal(read_mat(save(tmp_path / "a.mat", compress), "X", SHAPES)["X"], X)


def test_other_files_are_refused(tmp_path):
    whole = save(tmp_path / "a.mat").read_bytes()
    old = tmp_path / "old.mat"
    savemat(old, {"y": Y.astype(float)}, format="4")
    newer = bytearray(whole)
    newer[124:126] = b"\0\2"  # the version field of HDF5 files
    for name, raw, message in [
        ("empty.mat", b"", "not a MATLAB file"),
        ("text.mat", b"text" * 100, "not a MATLAB file"),
        ("header.mat", whole[:100], "not a MATLAB file"),
        ("nothing.mat", whole[:128], "has no array"),
        *[(f"cut{cut}.mat", whole[:-cut], "truncated or damaged") for cut in (1, 4, 20, len(whole) - 130)],
        *[(f"longer{more}.mat", whole + bytes(more), "truncated or damaged") for more in (1, 8)],
        ("old.mat", old.read_bytes(), "not a MATLAB file of version 5 to 7"),
        ("hdf5.mat", bytes(newer), "not a MATLAB file of version 5 to 7; save it with the option -v7"),
    ]:
        path = tmp_path / name
        path.write_bytes(raw)
        with pytest.raises(DataError, match=f"{name}: .*{message}"):
            read_mat(path, "X", SHAPES)
    path = save(tmp_path / "more.mat", False, other=np.arange(99))
    path.write_bytes(path.read_bytes()[:-8])  # the others are whole
    with pytest.raises(DataError, match="truncated"):
        read_mat(path, "X", SHAPES)
    with pytest.raises(DataError, match=r"none\.mat"):
        read_mat(tmp_path / "none.mat", "X", SHAPES)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(124, 1000), value=st.integers(0, 255), compress=st.booleans())
def test_a_damaged_byte_is_a_data_error_or_keeps_types_and_shapes(tmp_path, place, value, compress):
    path = save(tmp_path / "a.mat", compress)
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] = value
    path.write_bytes(raw)
    with suppress(DataError):
        arrays = read_mat(path, "X", SHAPES)
        assert (arrays["X"].shape, arrays["X"].dtype) == (X.shape, np.uint8)
        assert (arrays["y"].shape, arrays["y"].dtype) == (Y.shape, np.int64)

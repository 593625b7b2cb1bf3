import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aegean.data import Arrays
from aegean.errors import DataError

GREY = np.arange(10 * 4 * 5, dtype=np.uint8).reshape(10, 4, 5)


def test_npz_with_everything(tmp_path):
    path = tmp_path / "birds.npz"
    colour = np.stack([GREY, GREY + 1, GREY + 2], axis=-1)
    names = [f"{i}.png" for i in range(10)]
    np.savez_compressed(path, images=colour, labels=np.arange(10) % 2, class_names=["owl", "tit"], names=names)
    data = Arrays(path=str(path)).read()
    assert data.shape == (3, 4, 5)
    assert torch.equal(data.images[:, 2], torch.from_numpy(GREY + 2))
    assert data.class_names == ("owl", "tit")
    assert data.names == tuple(names)
    splits = Arrays(path=path, labels_per_class=2, test=0.2).load()
    assert (len(splits.train), len(splits.labelled), len(splits.test)) == (8, 4, 2)
    assert "birds.npz" in splits.description


def test_npy_and_other_keys(tmp_path):
    np.save(tmp_path / "a.npy", (GREY / 255).astype(np.float32))
    data = Arrays(path=tmp_path / "a.npy").read()
    assert torch.equal(data.images[:, 0], torch.from_numpy(GREY))
    assert data.classes == 0
    np.savez(tmp_path / "a.npz", x=GREY[:, None], y=["a", ""] * 5)
    data = Arrays(path=tmp_path / "a.npz", images_key="x", labels_key="y", layout="nchw").read()
    assert torch.equal(data.images[:, 0], torch.from_numpy(GREY))
    assert data.labels.tolist() == [0, -1] * 5


def test_bad_files_name_the_file_and_a_remedy(tmp_path):
    path = tmp_path / "a.npz"
    objects = np.array([{}, []], dtype=object)

    def truncated():
        np.savez(path, images=GREY)
        path.write_bytes(path.read_bytes()[:-100])

    def corrupt():
        np.savez_compressed(path, images=GREY)
        raw = bytearray(path.read_bytes())
        raw[120:140] = b"\0" * 20
        path.write_bytes(raw)

    def huge_header():
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 28, 28), }".ljust(117) + b"\n"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)

    cases = [
        (lambda: None, "cannot be read .no such file.*give a .npz"),
        (lambda: np.savez(path, pictures=GREY), "has no array 'images'; save the images under this name"),
        (lambda: np.savez(path, images=objects), "not a .npz or .npy file of plain arrays .*save it again"),
        (lambda: path.write_bytes(b""), "not a .npz or .npy file"),
        (lambda: path.write_bytes(b"\x80\x04\x95pickle"), "not a .npz or .npy file"),
        (truncated, "not a .npz or .npy file"),
        (corrupt, "not a .npz or .npy file"),
        (huge_header, "not a .npz or .npy file"),
        (lambda: np.savez(path, images=GREY * 2.0), r"floating-point images must be in \[0, 1\]"),
        (lambda: np.savez(path, images=GREY, labels=[1]), "10 images must be int64 of shape"),
    ]
    for make, message in cases:
        make()
        with pytest.raises(DataError, match=f"(?i){message}") as raised:
            Arrays(path=path).read()
        assert str(path) in str(raised.value)


def test_a_small_file_that_unpacks_to_too_much(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((100, 28, 28), np.uint8))
    monkeypatch.setattr("aegean.data.arrays.MAX_ARRAY_BYTES", 10_000)
    with pytest.raises(DataError, match=r"a.npz: unpacks to \d+ bytes.*save the images as .npy"):
        Arrays(path=tmp_path / "a.npz").read()


@settings(max_examples=80, deadline=None)
@given(
    packed=st.sampled_from(["npy", "npz"]),
    changes=st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255))),
)
def test_damaged_bytes_give_images_or_a_data_error(tmp_path_factory, packed, changes):
    path = tmp_path_factory.mktemp("arrays") / f"a.{packed}"
    if packed == "npy":
        np.save(path, GREY[:2])
    else:
        np.savez_compressed(path, images=GREY[:2])
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[place % len(raw)] = value
    path.write_bytes(raw)
    try:
        data = Arrays(path=path).read()
    except DataError:
        return
    assert data.images.dtype == torch.uint8

"""The same images in a folder, an archive, a table of paths or an array."""

import io
import stat
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from aegean.data import Folder, check
from aegean.data.sizes import choose_size
from aegean.errors import DataError


def png(value, size=(4, 6)):
    raw = io.BytesIO()
    Image.new("L", size[::-1], value).save(raw, "PNG")
    return raw.getvalue()


def pack(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


CATS_AND_DOGS = {"cat/a.png": png(1), "dog/b.png": png(2), "dog/deep/c.png": png(3), "loose.png": png(4)}


# ---- archives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", ["", "photos/"])
def test_an_archive_reads_as_the_folder_that_it_was(tmp_path, top):
    members = {f"{top}{name}": content for name, content in CATS_AND_DOGS.items()}
    junk = {f"{top}cat/.hidden.png": b"", "__MACOSX/cat/._a.png": b"", f"{top}notes.txt": b"text"}
    packed = pack(tmp_path / "photos.zip", members | junk, compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(pack(tmp_path / "plain.zip", CATS_AND_DOGS)) as archive:
        archive.extractall(tmp_path / "plain")
    data, _ = Folder(path=packed).read()
    plain, _ = Folder(path=tmp_path / "plain").read()
    assert data.names == plain.names
    assert data.class_names == plain.class_names == ("cat", "dog")
    assert torch.equal(data.labels, plain.labels)
    assert torch.equal(data.images, plain.images)
    assert "notes.txt" in check(Folder(path=packed)).problems[0]


def test_an_archive_with_a_labels_file(tmp_path):
    packed = pack(tmp_path / "a.zip", CATS_AND_DOGS)
    (tmp_path / "labels.csv").write_text("file,label\nloose.png,bird\n")
    data, _ = Folder(path=packed, labels_file=tmp_path / "labels.csv").read()
    assert data.labels.tolist() == [-1, -1, -1, 0]


@pytest.mark.parametrize("name", ["../a.png", "x/../../a.png", "/a.png", "C:/a.png", "..\\a.png", "\\\\host\\a.png"])
def test_members_that_leave_the_archive_are_refused(tmp_path, name):
    packed = pack(tmp_path / "a.zip", {"ok.png": png(0), name: png(1)})
    with pytest.raises(DataError, match=r"a.zip: its member .* has a path that leaves the archive; make it again"):
        Folder(path=packed).read()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_links_in_an_archive_are_refused(tmp_path):
    link = zipfile.ZipInfo("a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"its member 'a.png' is a link; pack the file itself"):
        Folder(path=tmp_path / "a.zip").read()


def test_archives_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    packed = pack(tmp_path / "a.zip", {"a.bmp": bytes(3_000_000)}, compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr("aegean.data.listing.FREE_BYTES", 1_000_000)
    with pytest.raises(DataError, match=r"a.zip: unpacks to 3000000 bytes, \d+ times its size; images do not"):
        Folder(path=packed).read()
    monkeypatch.setattr("aegean.data.listing.MAX_RATIO", 10_000)
    monkeypatch.setattr("aegean.data.listing.MAX_MEMBER_BYTES", 2_000_000)
    with pytest.raises(DataError, match=r"its member 'a.bmp' unpacks to 3000000 bytes, more than 2000000"):
        Folder(path=packed).read()


def test_a_member_that_says_it_is_smaller_than_it_is(tmp_path):
    packed = pack(tmp_path / "a.zip", {"a.png": png(0, (500, 500))}, compression=zipfile.ZIP_DEFLATED)
    raw = bytearray(packed.read_bytes())
    directory = raw.rindex(b"PK\x01\x02")
    raw[directory + 24 : directory + 28] = (50).to_bytes(4, "little")
    packed.write_bytes(raw)
    with pytest.raises(DataError, match=r"a.zip, a.png: damaged"):
        Folder(path=packed).read()


def test_encrypted_twice_and_damaged(tmp_path):
    packed = pack(tmp_path / "a.zip", {"a.png": png(0)})
    raw = bytearray(packed.read_bytes())
    for place in (raw.index(b"PK\x03\x04") + 6, raw.index(b"PK\x01\x02") + 8):
        raw[place] |= 1
    packed.write_bytes(raw)
    with pytest.raises(DataError, match="is encrypted; make the archive without a password"):
        Folder(path=packed).read()
    pack(packed, {"a.png": png(0), "b.png": png(1)})
    packed.write_bytes(packed.read_bytes().replace(b"b.png", b"a.png"))
    with pytest.raises(DataError, match=r"holds 'a.png' twice"):
        Folder(path=packed).read()
    whole = pack(tmp_path / "b.zip", CATS_AND_DOGS).read_bytes()
    broken = bytearray(whole)
    broken[40:60] = b"\xff" * 20
    (tmp_path / "b.zip").write_bytes(broken)
    with pytest.raises(DataError, match=r"b.zip, .*a.png: damaged .*skip_damaged: true"):
        Folder(path=tmp_path / "b.zip").read()
    assert len(Folder(path=tmp_path / "b.zip", skip_damaged=True).read()[0]) == 3
    (tmp_path / "b.zip").write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"b.zip: not a folder, and not a zip archive"):
        Folder(path=tmp_path / "b.zip").read()


# ---- tables of paths ----------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    for name, content in CATS_AND_DOGS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_a_table_of_paths(photos, suffix, mark):
    table = photos / f"some.{suffix}"
    rows = [("File", "label", "note"), ("loose.png", "bird", ""), ("cat/a.png", "", "x"), ("dog/b.png", "-1", "")]
    table.write_text("\ufeff" + "\n".join(mark.join(row) for row in rows), encoding="utf-8")
    data, _ = Folder(path=table).read()
    assert data.names == ("loose.png", "cat/a.png", "dog/b.png")
    assert data.images[:, 0, 0, 0].tolist() == [4, 1, 2]
    assert data.labels.tolist() == [0, -1, -1]
    table.write_text("file\ndog/b.png\n")
    assert Folder(path=table).read()[0].classes == 0
    assert check(Folder(path=table)).images == 1


def test_tables_that_lead_astray_are_refused(photos, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.png").write_bytes(png(9))
    (photos / "link.png").symlink_to(outside / "secret.png")
    (photos / "folder").symlink_to(outside)
    for line, message in [
        ("../x.png", "not a path inside the table's folder"),
        (str(outside / "secret.png"), "not a path inside the table's folder"),
        ("link.png", "link that leaves the folder"),
        ("folder/secret.png", "link that leaves the folder"),
        ("gone.png", "'gone.png' cannot be read .No such file"),
        ("cat", "'cat' is not a file"),
        ("x" * 5000, "cannot be read"),
    ]:
        (photos / "t.csv").write_text(f"file\n{line}\n")
        with pytest.raises(DataError, match=message):
            Folder(path=photos / "t.csv").read()


def test_tables_with_a_nul_or_a_million_columns_are_refused(photos):
    table = photos / "t.csv"
    for raw, message in [
        (b"file\na\0b.png\n", "holds a NUL byte"),
        ("file,label\na.png,b\n".encode("utf-16"), "holds a NUL byte"),
        (b"file" + b"," * 1_000_000 + b"\n", "a line of more than 1000000 bytes"),
        (b"name\na.png\n", "first line must name the columns 'file'"),
    ]:
        table.write_bytes(raw)
        with pytest.raises(DataError, match=message):
            Folder(path=table).read()


# ---- arrays -------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 8, 6), dtype=np.uint8)


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("x", "y"), ("arr_0", "labels"), ("odd", None)])
def test_an_npz_under_usual_names(tmp_path, images, labels):
    arrays = {images: GREY} | ({labels: np.array([0, 1, -1, 1, 0])} if labels else {})
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    data, _ = Folder(path=tmp_path / "a.npz").read()
    assert torch.equal(data.images[:, 0], torch.from_numpy(GREY))
    assert data.labels.tolist() == ([0, 1, -1, 1, 0] if labels else [-1] * 5)
    assert check(Folder(path=tmp_path / "a.npz")).sizes == {"8x6": 5}


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY),
        (GREY / 255, GREY),
        (GREY > 127, (GREY > 127) * 255),
        (GREY.astype(np.uint16) * 257, GREY),
    ],
)
def test_an_npy_of_every_type(tmp_path, array, expected):
    np.save(tmp_path / "a.npy", array)
    data, _ = Folder(path=tmp_path / "a.npy").read()
    assert (data.images[:, 0].numpy() == expected).all()


def test_arrays_are_brought_to_size_channels_and_background(tmp_path):
    clear = np.zeros((2, 8, 6, 4), np.uint8)
    clear[..., 0] = 255  # red, and transparent except for the left half
    clear[:, :, :3, 3] = 255
    np.save(tmp_path / "a.npy", clear)
    data, _ = Folder(path=tmp_path / "a.npy").read()
    assert data.shape == (3, 8, 6)
    assert data.images[0, :, 0, [0, 5]].T.tolist() == [[255, 0, 0], [255, 255, 255]]
    grey, _ = Folder(path=tmp_path / "a.npy", channels=1, size=(4, 3), background="black").read()
    assert grey.shape == (1, 4, 3)
    assert int(grey.images[0, 0, 0, 0]) == pytest.approx(76, abs=10)
    assert int(grey.images[0, 0, 0, 2]) < 10
    np.save(tmp_path / "a.npy", GREY)
    assert Folder(path=tmp_path / "a.npy", channels=3).read()[0].shape == (3, 8, 6)


def test_arrays_that_lie_or_run_code_are_refused(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 28, 28), }".ljust(117) + b"\n"
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "a.npy").write_bytes(magic + header)
    with pytest.raises(DataError, match=r"a.npy: not a .npz or .npy file"):
        Folder(path=tmp_path / "a.npy").read()
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a.npy: not a .npz or .npy file of plain arrays"):
        Folder(path=tmp_path / "a.npy").read()
    np.save(tmp_path / "a.npy", GREY)
    (tmp_path / "l.csv").write_text("file,label\n")
    with pytest.raises(DataError, match="have no file names"):
        Folder(path=tmp_path / "a.npy", labels_file=tmp_path / "l.csv").read()


# ---- sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ({(28, 28): 5}, (28, 28)),
        ({(250, 250): 5}, (64, 64)),
        ({(30, 28): 3, (27, 29): 3}, (28, 28)),
        ({(3000, 4000): 90, (4000, 3000): 10}, (48, 64)),
        ({(3000, 4000): 10, (4000, 3000): 90}, (64, 48)),
        ({(10, 1000): 1, (10, 999): 1}, (4, 64)),
        ({(1, 1): 1, (2, 1): 1}, (4, 4)),
    ],
)
def test_sizes_are_usual_small_and_can_be_halved(sizes, chosen):
    size, reason = choose_size(sizes)
    assert size == chosen
    assert (reason == "") == (sizes == {(28, 28): 5})

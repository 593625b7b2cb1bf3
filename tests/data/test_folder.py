import os
import random
import re
import struct
import warnings
import zlib
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aegean.data import Folder, check
from aegean.errors import ConfigError, DataError

RED, GREEN = (255, 0, 0), (0, 255, 0)


def save(path, value=0, size=(4, 6), mode="L"):
    """Save an image of one colour; `size` is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size[::-1], value).save(path)
    return path


def pixels_of(folder, **options):
    """Return the only image of a folder, (h, w, c)."""
    data, _ = Folder(path=folder, **options).read()
    return data.images[0].permute(1, 2, 0)


# ---- what is in a folder ----------------------------------------------------------------------------------


def test_subfolders_are_classes_and_loose_images_are_unlabelled(tmp_path):
    for value, name in enumerate(["dog/b.png", "cat/deep/a.png", "loose.png", "cat/z.bmp", ".hid/x.png", "cat/.y.png"]):
        save(tmp_path / name, value)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "empty").mkdir()
    data, skipped = Folder(path=tmp_path).read()
    assert data.names == ("cat/deep/a.png", "cat/z.bmp", "dog/b.png", "loose.png")
    assert data.images[:, 0, 0, 0].tolist() == [1, 3, 0, 2]
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 1, -1]
    assert data.shape == (1, 4, 6)
    assert skipped == ()


def test_a_flat_folder_has_no_classes(tmp_path):
    save(tmp_path / "a.png")
    data, _ = Folder(path=tmp_path).read()
    assert data.classes == 0
    assert data.labels.tolist() == [-1]


def test_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    for i in range(30):
        save(tmp_path / f"{i % 3}" / f"{i}.png", i)
    plain, _ = Folder(path=tmp_path).read()
    scan = os.scandir

    @contextmanager
    def shuffled(path):
        with scan(path) as entries:
            yield random.Random(1).sample(found := list(entries), len(found))

    monkeypatch.setattr("os.scandir", shuffled)
    again, _ = Folder(path=tmp_path).read()
    assert again.names == plain.names == tuple(sorted(plain.names))
    assert torch.equal(again.images, plain.images)


def test_labels_from_a_table(tmp_path):
    for name in ("a.png", "sub/b.png", "c.png", "d.png"):
        save(tmp_path / name)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nsub/b.png,dog\na.png,cat\nc.png,\n")
    data, _ = Folder(path=tmp_path, labels_file=table).read()
    assert data.names == ("a.png", "c.png", "d.png", "sub/b.png")
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, -1, -1, 1]
    table.write_text("file,label\nb.png,dog\n")
    with pytest.raises(DataError, match=r"labels.csv: 'b.png' is not an image of the folder .*relative"):
        Folder(path=tmp_path, labels_file=table).read()


def test_a_folder_splits_and_hides_labels(tmp_path):
    for i in range(20):
        save(tmp_path / "ab"[i % 2] / f"{i}.png", i)
    splits = Folder(path=tmp_path, labels_per_class=3, test=4, validation=2).load()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [14, 2, 4]
    assert len(splits.labelled) == 6
    assert tmp_path.name in splits.description


def test_missing_empty_and_not_a_folder(tmp_path):
    save(tmp_path / "file.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("")
    for name, message in [
        ("nowhere", "does not exist; check the path"),
        ("file.png", "not a folder, and not a zip archive"),
        ("empty", "no images in it or its subfolders; expected PNG"),
        ("other", r"no images .*\(1 other files, for example a.txt\); expected PNG"),
    ]:
        for use in (lambda folder: folder.read(), check):
            with pytest.raises(DataError, match=message) as raised:
                use(Folder(path=tmp_path / name))
            assert str(tmp_path / name) in str(raised.value)


def test_links(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    save(inside / "a" / "x.png")
    save(outside / "secret.png")
    (inside / "a" / "y.png").symlink_to("x.png")
    (inside / "loop").symlink_to(inside)
    assert Folder(path=inside).read()[0].names == ("a/x.png", "a/y.png")
    for target, name in [(outside / "secret.png", "a/z.png"), (outside, "b"), (tmp_path / "gone", "c.png")]:
        link = inside / name
        link.symlink_to(target)
        with pytest.raises(DataError, match="link that leaves the folder; replace it") as raised:
            Folder(path=inside).read()
        assert str(link) in str(raised.value)
        link.unlink()
    (tmp_path / "alias").symlink_to(inside)
    assert len(Folder(path=tmp_path / "alias").read()[0]) == 2


def test_a_pipe_is_not_waited_for(tmp_path):
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert Folder(path=tmp_path).read()[0].names == ("a.png",)


def test_names_that_are_not_utf8(tmp_path):
    save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/\xff.png")
    assert Folder(path=tmp_path).read()[0].names == (os.fsdecode(b"\xff.png"),)


# ---- formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "tif", "tiff", "gif", "webp", "jpg", "jpeg"])
@pytest.mark.parametrize(("mode", "value"), [("L", 200), ("RGB", (200, 100, 50))])
def test_every_format_in_grey_and_colour(tmp_path, suffix, mode, value):
    lossless = {"lossless": True} if suffix == "webp" else {}
    Image.new(mode, (6, 4), value).save(tmp_path / f"a.{suffix}", **lossless)
    pixels = pixels_of(tmp_path).int()
    assert pixels.shape == (4, 6, 1 if mode == "L" else 3)
    tolerance = 2 if suffix in ("jpg", "jpeg") else 0
    assert (pixels - torch.tensor(value)).abs().max() <= tolerance


def test_grey_unless_there_is_colour(tmp_path):
    save(tmp_path / "a.png", (7, 7, 7), mode="RGB")
    save(tmp_path / "b.png", 9)
    assert Folder(path=tmp_path).read()[0].shape == (1, 4, 6)
    assert Folder(path=tmp_path, channels=3).read()[0].images[1].unique().tolist() == [9]
    save(tmp_path / "c.png", RED, mode="RGB")
    data, _ = Folder(path=tmp_path).read()
    assert data.images[:, :, 0, 0].tolist() == [[7, 7, 7], [9, 9, 9], [255, 0, 0]]
    grey, _ = Folder(path=tmp_path, channels=1).read()
    assert grey.images[:, :, 0, 0].tolist() == [[7], [9], [76]]


def test_sixteen_bits_and_floats(tmp_path):
    values = np.array([[0, 257, 65535, 32896]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert pixels_of(tmp_path).flatten().tolist() == [0, 1, 255, 128]
    (tmp_path / "a.png").unlink()
    for array, expected in [
        (values.astype(np.int32), [0, 1, 255, 128]),
        (values.astype(">u2"), [0, 1, 255, 128]),
        (np.array([[0.0, 1.0, 0.5, 0.25]], np.float32), [0, 255, 128, 64]),
    ]:
        Image.fromarray(array).save(tmp_path / "a.tif")
        assert pixels_of(tmp_path).flatten().tolist() == expected
    for array, message in [
        (values.astype(np.int32) * 2, "do not fit into 16 bits"),
        (np.array([[300.0, np.nan]], np.float32), r"not in \[0, 1\]"),
    ]:
        Image.fromarray(array).save(tmp_path / "a.tif")
        with pytest.raises(DataError, match=f"a.tif: .*{message}"):
            pixels_of(tmp_path)


def test_black_and_white_palettes_and_cmyk(tmp_path):
    save(tmp_path / "a.png", 1, mode="1")
    assert pixels_of(tmp_path).unique().tolist() == [255]
    palette = Image.new("RGB", (6, 4), RED).quantize(4)
    palette.save(tmp_path / "a.png")
    assert pixels_of(tmp_path)[0, 0].tolist() == [255, 0, 0]
    (tmp_path / "a.png").unlink()
    Image.new("CMYK", (6, 4), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    assert pixels_of(tmp_path).unique().tolist() == [255]


def test_transparency_shows_the_background(tmp_path):
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.save(tmp_path / "a.png")
    assert pixels_of(tmp_path)[0].tolist() == [[255, 0, 0], [255, 255, 255]]
    assert pixels_of(tmp_path, background="black")[0].tolist() == [[255, 0, 0], [0, 0, 0]]
    image.putpixel((1, 0), (0, 0, 255, 51))
    image.save(tmp_path / "a.png")
    assert pixels_of(tmp_path)[0, 1].tolist() == [204, 204, 255]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "a.png", transparency=0)
    assert pixels_of(tmp_path).unique().tolist() == [255]
    Image.new("LA", (2, 1), (10, 0)).save(tmp_path / "a.png")
    assert pixels_of(tmp_path).unique().tolist() == [255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    upright = np.zeros((8, 16), np.uint8)
    upright[:4, :8] = 255  # bright in the upper left
    # How a camera that was held so would have stored it: the inverse of what a viewer must do.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert ((pixels_of(tmp_path)[:, :, 0].numpy() > 127) == (upright > 127)).all()


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (6, 4), colour) for colour in (RED, GREEN)]
    for name, kind in [("a.gif", "GIF"), ("a.webp", "WEBP"), ("a.tif", "TIFF"), ("phone.jpg", "MPO")]:
        options = {"lossless": True} if kind == "WEBP" else {}
        frames[0].save(tmp_path / name, kind, save_all=True, append_images=frames[1:], **options)
        assert (pixels_of(tmp_path)[0, 0].int() - torch.tensor(RED)).abs().max() <= 2
        (tmp_path / name).unlink()


# ---- sizes ------------------------------------------------------------------------------------------------


def test_a_size_is_chosen_and_told_where_images_differ(tmp_path):
    for index, size in enumerate([(200, 300), (100, 150), (90, 100), (400, 600), (300, 100)]):
        save(tmp_path / f"{index}.png", index, size=size)
    source = Folder(path=tmp_path, test=1)
    assert source.read()[0].shape == (1, 40, 64)
    sentence = "images are of 5 sizes, from 90x100 to 400x600 .*; all are scaled to 40x64, .*with the setting size"
    assert re.search(sentence, source.load().description)
    assert re.search(sentence, str(check(source)))
    assert check(source).problems == ()
    assert Folder(path=tmp_path, size=(20, 10)).read()[0].images.shape == (5, 1, 20, 10)
    assert "all are scaled" not in Folder(path=tmp_path, size=(20, 10), test=1).load().description


def test_size_keeps_proportions_and_crops_around_the_centre(tmp_path):
    image = np.zeros((20, 60), np.uint8)
    image[:, 20:40] = 255
    Image.fromarray(image).save(tmp_path / "a.png")
    assert pixels_of(tmp_path, size=(10, 10)).float().mean() > 250


def test_images_of_the_right_size_are_left_as_they_are(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    assert torch.equal(pixels_of(tmp_path, size=(9, 7))[:, :, 0], torch.from_numpy(noise))


@pytest.mark.parametrize("size", [(0, 3), (3,), (3, 5000)])
def test_sizes_that_make_no_sense(size):
    with pytest.raises(ConfigError, match="size"):
        Folder(path="x", size=size)


# ---- damaged files ----------------------------------------------------------------------------------------


@pytest.fixture
def noisy():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
def test_truncated_files_stop_or_are_skipped(tmp_path, noisy, suffix):
    save(tmp_path / "a.png", RED, size=(40, 40), mode="RGB")
    broken = tmp_path / f"b.{suffix}"
    noisy.save(broken)
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    with pytest.raises(
        DataError, match=r"damaged, or not an image \(.*\); remove it, or leave such files out .*skip_damaged: true"
    ) as raised:
        Folder(path=tmp_path).read()
    assert str(broken) in str(raised.value)
    data, skipped = Folder(path=tmp_path, skip_damaged=True).read()
    assert data.names == ("a.png",)
    assert len(skipped) == 1
    assert str(broken) in skipped[0]
    assert Folder(path=tmp_path, skip_damaged=True, test=0).load().skipped == skipped


def test_labels_and_names_stay_with_their_images_where_others_are_skipped(tmp_path):
    for i in range(6):
        save(tmp_path / "ab"[i // 3] / f"{i}.png", i)
    for name in ("a/0.png", "b/4.png"):
        (tmp_path / name).write_bytes(b"")
    data, skipped = Folder(path=tmp_path, skip_damaged=True).read()
    assert data.names == ("a/1.png", "a/2.png", "b/3.png", "b/5.png")
    assert data.images[:, 0, 0, 0].tolist() == [1, 2, 3, 5]
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert len(skipped) == 2


def test_warnings_of_others_are_left_alone(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    before = list(warnings.filters)
    with pytest.raises(DataError):
        Folder(path=tmp_path).read()
    assert warnings.filters == before


def test_files_that_are_no_images(tmp_path):
    for name, content in [("a.png", b""), ("b.jpg", b"<html>"), ("c.gif", bytes(1000))]:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"a.png: damaged, or not an image"):
        Folder(path=tmp_path).read()
    with pytest.raises(DataError, match=r"none of its 3 images can be read; the first: .*a.png"):
        Folder(path=tmp_path, skip_damaged=True).read()


def test_a_format_that_is_not_named_is_not_decoded(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png", format="PPM")
    with pytest.raises(DataError, match=r"a.png: damaged, or not an image"):
        Folder(path=tmp_path).read()


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, side):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    raw = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(raw)
    with pytest.raises(DataError, match=r"bomb.png: has more than \d+ pixels; scale it down"):
        Folder(path=tmp_path).read()


@settings(max_examples=60, deadline=None)
@given(
    suffix=st.sampled_from(["png", "jpg", "webp", "bmp", "tif", "gif"]),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_damaged_bytes_give_an_image_or_a_data_error(tmp_path_factory, suffix, changes):
    path = tmp_path_factory.mktemp("damaged") / f"a.{suffix}"
    Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(path)
    raw = bytearray(path.read_bytes())
    for place, value in changes:
        raw[place % len(raw)] = value
    path.write_bytes(raw)
    with suppress(DataError):
        assert Folder(path=path.parent).read()[0].images.dtype == torch.uint8


# ---- check ------------------------------------------------------------------------------------------------


def test_check_lists_every_problem(tmp_path):
    for i in range(3):
        save(tmp_path / "cat" / f"{i}.png")
    save(tmp_path / "dog" / "big.png", RED, size=(8, 8), mode="RGB")
    save(tmp_path / "loose.png")
    (tmp_path / "dog" / "bad1.png").write_bytes(b"")
    (tmp_path / "dog" / "bad2.jpg").write_bytes(b"")
    (tmp_path / "readme.txt").write_text("")
    report = check(Folder(path=tmp_path))
    assert (report.images, report.labelled, report.channels) == (5, 4, 3)
    assert report.classes == {"cat": 3, "dog": 1}
    assert report.sizes == {"4x6": 4, "8x8": 1}
    for problem, part in zip(report.problems, ("bad1.png: damaged", "bad2.jpg: damaged", "readme.txt"), strict=True):
        assert part in problem
    for part in ("5 in colour", "4 of 4x6, 1 of 8x8", "cat (3), dog (1)", "problem   "):
        assert part in str(report)


def test_check_has_nothing_to_say_of_a_good_folder(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", size=(9, 9))
    (tmp_path / "labels.csv").write_text("file,label\na.png,cat\n")
    report = check(Folder(path=tmp_path, size=(4, 4), labels_file=tmp_path / "labels.csv"))
    assert report.problems == ()
    assert report.classes == {"cat": 1}

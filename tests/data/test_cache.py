"""Decoded images on disk: made once, mapped, bounded, safe when a process dies."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from aegean.data import Folder, cache, check
from aegean.data import folder as folder_module
from aegean.data.decoding import report_reading
from aegean.errors import ConfigError, DataError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A cache of its own, into which even a single file goes."""
    monkeypatch.setenv("AEGEAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(folder_module, "CACHED_FILES", 1)
    return tmp_path / "cache" / "images"


@pytest.fixture
def photos(tmp_path):
    for index in range(40):
        path = tmp_path / "photos" / "ab"[index % 2] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (6, 4, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def no_decoding(monkeypatch):
    def fail(*_args):
        raise AssertionError("decoded again")

    monkeypatch.setattr(folder_module, "_decode_each", fail)


def visible(root):
    return sorted(path.name for path in root.iterdir())


def test_the_second_start_decodes_nothing_and_gives_the_same(photos, root, monkeypatch):
    (photos / "a" / "00.png").write_bytes(b"")
    source = Folder(path=photos, skip_damaged=True)
    plain, sentences = Folder(path=photos, skip_damaged=True, cache=False).read()
    assert not root.exists()
    first, told = source.read()
    no_decoding(monkeypatch)
    second, told_again = source.read()
    for data in (first, second):
        assert torch.equal(data.images, plain.images)
        assert torch.equal(data.labels, plain.labels)
        assert data.names == plain.names
    assert sentences == told == told_again
    assert check(source).sizes == {"6x4": 39}
    with pytest.raises(DataError, match="damaged, or not an image"):
        Folder(path=photos).read()  # the setting is not part of the pixels


def test_grey_images_in_colour_files_keep_one_channel(tmp_path, root, monkeypatch):
    monkeypatch.setattr(cache, "_PIECE", 200)  # several pieces
    grey = RNG.integers(0, 256, (50, 6, 4), dtype=np.uint8)
    (tmp_path / "grey").mkdir()
    for index, image in enumerate(grey):
        Image.fromarray(image).convert("RGB").save(tmp_path / "grey" / f"{index:02}.png")
    data, _ = Folder(path=tmp_path / "grey").read()
    assert (data.images[:, 0].numpy() == grey).all()
    (entry,) = root.iterdir()
    assert (entry / "pixels").stat().st_size == grey.size


def test_another_content_or_setting_is_another_entry(photos, root):
    Folder(path=photos).read()
    file = photos / "a" / "00.png"
    times = file.stat()
    for change in (
        lambda: os.utime(file, (1, 1)),
        lambda: file.rename(photos / "a" / "moved.png"),
        lambda: Image.new("L", (4, 6)).save(photos / "new.png"),
    ):
        before = len(visible(root))
        change()
        Folder(path=photos).read()
        assert len(visible(root)) == before + 1
    # Other bytes of the same size and date.
    file = photos / "b" / "01.png"
    times, size = file.stat(), file.stat().st_size
    Image.new("RGB", (4, 6), 7).save(file)
    file.write_bytes(file.read_bytes().ljust(size, b"\0"))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    data, _ = Folder(path=photos).read()
    assert 7 in data.images[data.names.index("b/01.png")]
    before = len(visible(root))
    for settings in ({"size": (3, 3)}, {"channels": 1}, {"background": "black"}):
        Folder(path=photos, **settings).read()
    assert len(visible(root)) == before + 3
    Folder(path=photos, labels_per_class=3, split_seed=5, skip_damaged=True).load()  # change no pixels
    assert len(visible(root)) == before + 3


def test_writing_to_images_does_not_reach_the_disk(photos):
    first, _ = Folder(path=photos).read()
    kept = first.images.clone()
    first.images.zero_()
    assert torch.equal(Folder(path=photos).read()[0].images, kept)


def test_images_are_mapped_and_not_copied(photos):
    data, _ = Folder(path=photos).read()
    whole = Folder(path=photos, test=0).load().train
    with open("/proc/self/maps") as maps:  # where there is one, the tensor lies inside the mapped file
        places = [line.split()[0].split("-") for line in maps if line.rstrip().endswith("/pixels")]
    for images in (data.images, whole.images):
        assert any(int(low, 16) <= images.data_ptr() < int(high, 16) for low, high in places)


@pytest.mark.parametrize("damage", ["pixels", "about", "shape", "empty"])
def test_a_damaged_entry_is_made_again(photos, root, damage):
    kept = Folder(path=photos).read()[0].images.clone()
    (entry,) = root.iterdir()
    if damage == "pixels":
        (entry / "pixels").write_bytes(b"short")
    else:
        text = {"about": "[" * 100_000, "shape": '{"shape": [99999999999, 3, 6, 4], "about": {}}', "empty": "{}"}
        (entry / "about.json").write_text(text[damage])
    assert torch.equal(Folder(path=photos).read()[0].images, kept)


def test_off_full_or_forbidden_is_done_without(photos, root, monkeypatch):
    kept = Folder(path=photos, cache=False).read()[0].images
    monkeypatch.setattr("aegean.data.cache.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    assert torch.equal(Folder(path=photos).read()[0].images, kept)
    assert visible(root) == []
    (photos.parent / "file").write_text("")
    monkeypatch.setenv("AEGEAN_CACHE", str(photos.parent / "file"))
    assert torch.equal(Folder(path=photos).read()[0].images, kept)
    monkeypatch.setenv("AEGEAN_CACHE", "off")
    assert torch.equal(Folder(path=photos).read()[0].images, kept)
    assert cache.entries() == []


def test_a_damaged_file_leaves_nothing_behind(photos, root):
    (photos / "b" / "39.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"39.png: damaged"):
        Folder(path=photos).read()
    assert visible(root) == []


def test_the_oldest_goes_and_clearing_frees_all(photos, root, monkeypatch):
    sizes = [(3, 3), (4, 4), (5, 5)]
    for age, size in enumerate(sizes[:2]):
        Folder(path=photos, size=size).read()
        newest = max(root.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest / "about.json", (1000 + age, 1000 + age))
    Folder(path=photos, size=sizes[0]).read()  # used again: now the second is the oldest
    total = sum(size for _, size in cache.entries())
    monkeypatch.setenv("AEGEAN_CACHE_GB", str((total + 2500) / 1e9))
    Folder(path=photos, size=sizes[2]).read()
    no_decoding(monkeypatch)
    Folder(path=photos, size=sizes[0]).read()
    with pytest.raises(AssertionError, match="decoded again"):
        Folder(path=photos, size=sizes[1]).read()
    assert cache.clear() > 0
    assert visible(root) == []
    monkeypatch.setenv("AEGEAN_CACHE_GB", "1e-6")
    with pytest.raises(DataError, match=r"40 images of 6x4 take .* GB, more than the cache may hold; choose a smaller"):
        Folder(path=photos).read()
    monkeypatch.setenv("AEGEAN_CACHE_GB", "many")
    with pytest.raises(ConfigError, match="AEGEAN_CACHE_GB=many: write a number"):
        Folder(path=photos).read()


SLOW = """
import sys, time
from aegean.data import Folder, folder
folder.CACHED_FILES = 1
each = folder._decode_each
def slow(*arguments):
    for index, image in enumerate(each(*arguments)):
        if index == 20:
            print("half", flush=True)
            time.sleep(float(sys.argv[2]))
        yield image
folder._decode_each = slow
print(len(Folder(path=sys.argv[1]).read()[0]), flush=True)
"""


def test_a_second_process_waits_and_a_killed_one_is_no_obstacle(photos, root, monkeypatch):
    def start(seconds):
        command = [sys.executable, "-c", SLOW, str(photos), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "half\n"
        return process

    with start(60) as killed:
        assert not any(path.name[0] != "." for path in root.iterdir())
        killed.send_signal(signal.SIGKILL)
    assert len(visible(root)) == 1  # what it left
    with start(1) as other:
        assert len(visible(root)) == 1  # is gone, and the new one is in work
        with monkeypatch.context() as patch:
            no_decoding(patch)
            before = time.monotonic()
            assert len(Folder(path=photos).read()[0]) == 40
            assert time.monotonic() > before
        assert other.wait() == 0
    assert [name[0] != "." for name in visible(root)] == [True]


def test_progress_is_reported(photos):
    seen = []
    with report_reading(lambda done, total: seen.append((done, total))):
        Folder(path=photos, size=(6, 4)).read()
    assert seen == [(32, 40), (40, 40)]

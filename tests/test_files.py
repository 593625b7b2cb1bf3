import csv
import errno
import json
import os
import subprocess
import sys

import pytest

from aegean.errors import CheckpointError, DataError, OutputError
from aegean.files import atomic_write, atomic_write_json, check_writable, lock, read_bounded, without_guard, write_csv


def fails_with(code):
    def fail(*_args, **_options):
        raise OSError(code, os.strerror(code))

    return fail


def test_writes_bytes_and_text(tmp_path):
    atomic_write(tmp_path / "a", b"\x00\xff")
    atomic_write(str(tmp_path / "b"), "Ägäis")
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b").read_text(encoding="utf-8") == "Ägäis"


def test_makes_missing_folders_and_replaces_what_was_there(tmp_path):
    file = tmp_path / "x" / "y" / "z.txt"
    atomic_write(file, "a much longer first text")
    atomic_write(file, "new")
    assert file.read_text() == "new"
    assert [f.name for f in file.parent.iterdir()] == ["z.txt"]


def test_mode_follows_the_umask(tmp_path):
    atomic_write(tmp_path / "ours", "")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_name_as_long_as_names_can_be(tmp_path):
    atomic_write(tmp_path / ("n" * 255), "x")
    with pytest.raises(OutputError, match="shorter name"):
        atomic_write(tmp_path / ("n" * 256), "x")


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    atomic_write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.open"])
def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch, where, code):
    file = tmp_path / "kept.txt"
    file.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(where, fails_with(code))
        with pytest.raises(OutputError) as raised:
            atomic_write(file, "new")
    assert str(file) in str(raised.value)
    assert os.strerror(code).lower() in str(raised.value).lower()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_too_large_for_the_system(tmp_path):
    """A real failure of write(2), not a made one: the operating system limits the size of files."""
    program = """
import resource, signal, sys
from aegean.errors import OutputError
from aegean.files import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    atomic_write(sys.argv[1], bytes(100_000))
except OutputError as error:
    print(error)
"""
    file = tmp_path / "big"
    done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, check=True)
    assert str(file) in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [lambda path: atomic_write(path, "x"), check_writable])
def test_paths_that_cannot_be_files(tmp_path, write):
    (tmp_path / "file").write_text("kept")
    os.mkfifo(tmp_path / "pipe")
    for path, reason in [
        (tmp_path / "file" / "inside", "not a directory|file exists"),
        (tmp_path / "file" / "deep" / "inside", "not a directory|file exists"),
        (tmp_path, "is a directory"),
        (tmp_path / "pipe", "not a plain file"),
        (tmp_path / "nul\0byte", "null"),
    ]:
        with pytest.raises(OutputError, match=reason) as raised:
            write(path)
        assert str(path) in str(raised.value)
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["file", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_check_writable_leaves_nothing_behind(tmp_path):
    check_writable(tmp_path / "run" / "deep" / "model.safetensors")
    check_writable(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_check_writable_sees_a_missing_permission(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.touch", fails_with(errno.EACCES))
    with pytest.raises(OutputError, match=r"permission denied.*may write to"):
        check_writable(tmp_path / "a")


def test_json(tmp_path):
    values = {"error": 3.25, "names": ["ä", None], "file": "\udcff"}
    atomic_write_json(tmp_path / "a.json", values)
    assert json.loads((tmp_path / "a.json").read_text()) == values
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic_write_json(tmp_path / "nan.json", [float("nan")])
    assert not (tmp_path / "nan.json").exists()


def test_text_with_a_file_name_that_is_not_utf8(tmp_path):
    atomic_write(tmp_path / "a", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "a").read_bytes() == b"caf\xe9"


def test_read_bounded(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bounded(tmp_path / "a", limit=5) == b"12345"
    with pytest.raises(DataError, match="larger than the 4 bytes"):
        read_bounded(tmp_path / "a", limit=4)
    with pytest.raises(CheckpointError, match=r"missing.*no such file"):
        read_bounded(tmp_path / "missing", limit=4, error=CheckpointError)
    with pytest.raises(DataError, match="is a directory"):
        read_bounded(tmp_path, limit=4)


# ---- tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=HYPERLINK(A1)", "'=HYPERLINK(A1)"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-x.png", "'-x.png"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("'=1", "''=1"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        ("a=b.png", "a=b.png"),
        ("'quoted'.png", "'quoted'.png"),
        ("a, b", "a, b"),
        ("say " + chr(34) + "x" + chr(34), "say " + chr(34) + "x" + chr(34)),
        ("two\nlines", "two\nlines"),
        ("", ""),
    ],
)
def test_cells_are_no_formulas_and_come_back_as_they_were(tmp_path, cell, written):
    write_csv(tmp_path / "a.csv", ["file", cell or "x"], [[cell, "1"]])
    with (tmp_path / "a.csv").open(newline="") as stream:
        (_, head), (found, number) = csv.reader(stream)
    assert found == written
    assert head == (written or "x")
    assert number == "1"
    assert without_guard(found) == cell


# ---- locks ------------------------------------------------------------------------------------------------


def test_a_lock_is_free_as_soon_as_its_process_is_killed(tmp_path):
    program = "import sys, time; from aegean.files import lock; f = open(sys.argv[1], 'w'); print(lock(f), flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program, tmp_path / "l"], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        with (tmp_path / "l").open("w") as stream:
            assert not lock(stream)
            other.kill()
            other.wait()
            assert lock(stream)

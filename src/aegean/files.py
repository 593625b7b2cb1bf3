"""Write files whole or not at all, and read no more than was agreed on.

The bottom of the package: everything that touches a disk comes through here, so a full disk or a folder
without permission always ends in the same plain sentence, and never in half a file.
"""

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from aegean.errors import AegeanError, DataError, OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some space or choose another disk",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.EEXIST: "a part of the path is a file; choose another folder",
    errno.EISDIR: "there is a folder of this name; choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}

#: What formulas begin with, and what some spreadsheets skip before one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Write a file so that readers see the old content or the new, never a part; make its folder if need be.

    Args:
        path: the file; an existing one is replaced, a symbolic link is followed.
        data: bytes, or text that is written as UTF-8 (a file name inside the text that is not UTF-8 is
            written as it is on disk).

    Raises:
        OutputError: there is no space, no permission, or the path is not one of a plain file. The previous
            file, if any, is untouched and no temporary file stays.
    """
    try:
        raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        file = _plain_file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(file)
        try:
            with temporary.open("xb") as stream:
                stream.write(raw)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(file)
        except BaseException:  # an interrupted write must not leave its temporary file either
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from None


def atomic_write_json(path: str | Path, values: object) -> None:
    """Write plain values as indented JSON with `atomic_write`.

    Raises:
        OutputError: see `atomic_write`.
        ValueError: a number is NaN or infinite, which JSON does not have; write `None` instead.
        TypeError: a value is not a dict, list, number, text, bool or None.
    """
    atomic_write(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table as CSV with `atomic_write`.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front, which `without_guard` takes away
    again (OWASP, CSV injection). Numbers, also negative ones, stay as they are.

    Raises:
        OutputError: see `atomic_write`.
    """
    lines = (",".join(_quoted(_guarded(cell)) for cell in row) + "\n" for row in (header, *rows))
    atomic_write(path, "".join(lines))


def without_guard(cell: str) -> str:
    """Return a cell of a table as it was before `write_csv` put an apostrophe in front."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def _guarded(cell: str) -> str:
    if not cell.lstrip("'").startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _quoted(cell: str) -> str:
    """As the csv module does, which leaves a carriage return bare where lines do not end with one."""
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


def check_writable(path: str | Path) -> None:
    """Find out before the work starts that a file can be written; leaves nothing behind.

    Args:
        path: the file that will be written (for a folder, name a file in it). Its folder need not exist yet.

    Raises:
        OutputError: what `atomic_write` would raise, except for a disk that fills up later.
    """
    try:
        file = _plain_file(path)
        folder = next(parent for parent in file.parents if parent.exists())
        temporary = _temporary_beside(folder / file.name)
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from None


def lock(stream: IO[bytes] | IO[str]) -> bool:
    """Lock an open file for this process until it is closed, which the system does also where a process is killed.

    Returns:
        False if another process holds it. True where the system or the disk has no such locks.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network disks
        return True
    return True


def read_bounded(path: str | Path, limit: int, error: type[AegeanError] = DataError) -> bytes:
    """Read a whole file that must not be larger than `limit` bytes.

    Args:
        path: the file.
        limit: in bytes.
        error: the class to raise.

    Raises:
        AegeanError: (as `error`) the file is missing, unreadable or larger than `limit`.
    """
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(limit + 1)
    except (OSError, ValueError) as problem:
        raise error(f"{path}: cannot be read ({_reason(problem)}).") from None
    if len(raw) > limit:
        raise error(f"{path}: larger than the {limit} bytes that such a file may have; is it the right file?")
    return raw


def _plain_file(path: str | Path) -> Path:
    """Follow links; refuse folders and devices (replacing `/dev/null` by a file would break the machine)."""
    file = Path(os.path.realpath(path))
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if file.exists() and not stat.S_ISREG(file.stat().st_mode):
        raise ValueError("not a plain file; choose another name")
    return file


def _temporary_beside(file: Path) -> Path:
    # In the same folder, because only a rename within one file system is atomic. Not made from the file's
    # own name, which may already be as long as names can be.
    return file.with_name(f".aegean-{secrets.token_hex(8)}.tmp")


def _cannot_write(path: str | Path, error: Exception) -> OutputError:
    remedy = _REMEDIES.get(getattr(error, "errno", None) or 0)
    return OutputError(f"{path}: cannot be written ({_reason(error)}){f'; {remedy}' if remedy else ''}.")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]

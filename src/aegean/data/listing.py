"""Where a user's images are: a folder, a zip archive of one, or a table of paths. Nothing is unpacked to disk."""

import hashlib
import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aegean.data.decoding import KINDS, SUFFIXES, Opener
from aegean.data.labels import read_table
from aegean.errors import DataError

TABLES = (".csv", ".tsv")

#: A member of an archive that unpacks to more than this is refused.
MAX_MEMBER_BYTES = 500_000_000
#: An archive is refused that unpacks to more than `MAX_RATIO` times its size and more than `FREE_BYTES`.
MAX_RATIO, FREE_BYTES = 100, 2**30


@dataclass(frozen=True)
class Listing:
    """Images by name, not read yet.

    Attributes:
        path: the folder, archive or table.
        names: of the images, relative to `path`, with `/` between folders, sorted (a table keeps its order).
        others: names of files that are no images.
        stamp: digest of names, sizes and times; another content has another stamp.
        size: bytes of all images together, as they are stored.
        table: the labels of a table of paths, "" for none; None where there is none.
        members: the name in the archive of each image; None where images are files.
    """

    path: str
    names: tuple[str, ...]
    others: tuple[str, ...]
    stamp: str
    size: int
    table: Mapping[str, str] | None = None
    members: Mapping[str, zipfile.ZipInfo] | None = None

    @contextmanager
    def opened(self) -> Iterator[Opener]:
        """Give a function that returns an image's file, or its content, by name; threads may share it."""
        if self.members is None:
            root = Path(self.path).parent if self.table is not None else Path(self.path)
            yield lambda name: Path(root, name)
            return
        members = self.members
        with zipfile.ZipFile(self.path) as archive:

            def content(name: str) -> io.BytesIO:
                with archive.open(members[name]) as stream:
                    # To its size: without one, a dishonest archive unpacks more than it says.
                    return io.BytesIO(stream.read(members[name].file_size))

            yield content

    def where(self, name: str) -> str:
        """Name an image in an error."""
        if self.members is not None:
            return f"{self.path}, {name}"
        return str(Path(Path(self.path).parent if self.table is not None else self.path, name))


def list_images(path: str) -> Listing:
    """List the images of a folder and its subfolders, of a zip archive, or of a table of paths.

    Raises:
        DataError: there is nothing of the kind, no image in it, or a link or name that leaves it.
    """
    place = Path(path)
    if place.is_dir():
        found = _list_folder(place)
    elif not place.exists():
        raise DataError(
            f"{path}: does not exist; check the path. Expected a folder of {KINDS} images, a .zip of one, a .csv or "
            ".tsv with their paths, or a .npy or .npz file."
        )
    elif place.suffix.lower() in TABLES:
        found = _list_table(place)
    elif zipfile.is_zipfile(place):
        found = _list_archive(place)
    else:
        raise DataError(
            f"{path}: not a folder, and not a zip archive, .csv, .tsv, .npy or .npz file either; give a folder of "
            f"{KINDS} images, or one of these."
        )
    if not found.names:
        others = f" ({len(found.others)} other files, for example {found.others[0]})" if found.others else ""
        raise DataError(f"{path}: no images in it or its subfolders{others}; expected {KINDS}.")
    return found


def _list_folder(root: Path) -> Listing:
    images: list[str] = []
    size, others = 0, list[str]()
    inside = _Inside(root)
    waiting = [(str(root), "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name = f"{prefix}{entry.name}"
                    if entry.is_symlink():
                        inside.check_link(entry.path)
                    # A device or a pipe is no image.
                    if name.lower().endswith(SUFFIXES) and entry.is_file():
                        found = entry.stat()
                        images.append(_line(name, found))
                        size += found.st_size
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, f"{name}/"))
                    elif not entry.is_dir():  # a link to a folder: its images are listed where they are
                        others.append(name)
        except OSError as error:
            raise DataError(f"{folder}: cannot be read ({error.strerror}); correct its permissions.") from None
    images.sort()
    return _listing(root, images, size, others)


def _list_table(path: Path) -> Listing:
    table = read_table(path)
    root, inside = path.parent, _Inside(path.parent)
    images, size = [], 0
    for name in table:
        if not name or _leaves(name):
            raise DataError(
                f"{path}: {name!r} is not a path inside the table's folder; write paths relative to the table, without "
                "'..', or put the table into a folder above the images."
            )
        file = Path(root, name)
        try:
            inside.check_parents(file)
            found = file.stat()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(f"{path}: {name!r} cannot be read ({reason}); correct the line, or remove it.") from None
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path}: {name!r} is not a file; name images, one a line.")
        images.append(_line(name, found))
        size += found.st_size
    return _listing(path, images, size, [], table)


def _line(name: str, found: os.stat_result) -> str:
    """Return what a stamp says of a file: lines sort as names do, and 100,000 of them are made in a moment.

    The time of change as well: a file can be replaced by another of its size and its date.
    """
    return f"{name}\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _listing(
    path: Path, images: list[str], size: int, others: list[str], table: Mapping[str, str] | None = None
) -> Listing:
    digest = hashlib.blake2b(os.fsencode(os.path.realpath(path)), digest_size=20)
    digest.update(os.fsencode("\0".join(("", *images))))
    names = tuple([line.partition("\0")[0] for line in images])
    return Listing(str(path), names, tuple(sorted(others)), digest.hexdigest(), size, table)


def _list_archive(path: Path) -> Listing:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        found = path.stat()
    except Exception as error:  # on damaged files, the parser raises whatever it meets
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: a damaged archive ({reason}); make it again.") from None
    total = sum(entry.file_size for entry in entries)
    if total > max(FREE_BYTES, MAX_RATIO * found.st_size):
        raise DataError(
            f"{path}: unpacks to {total} bytes, {total // max(1, found.st_size)} times its size; images do not. Pack "
            "the images alone, or give the unpacked folder."
        )
    images: dict[str, zipfile.ZipInfo] = {}
    others = []
    for entry in entries:
        _check_member(path, entry)
        if any(part.startswith((".", "__MACOSX")) for part in entry.filename.split("/")):
            continue
        if entry.filename in images:
            raise DataError(f"{path}: holds {entry.filename!r} twice; make it again.")
        if os.path.splitext(entry.filename)[1].lower() in SUFFIXES:
            images[entry.filename] = entry
        else:
            others.append(entry.filename)
    top = _common_folder(images)
    members = {name.removeprefix(top): images[name] for name in sorted(images)}
    digest = hashlib.blake2b(os.fsencode(os.path.realpath(path)), digest_size=20)
    digest.update(f"\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}".encode())
    return Listing(str(path), tuple(members), tuple(sorted(others)), digest.hexdigest(), found.st_size, None, members)


def _check_member(path: Path, entry: zipfile.ZipInfo) -> None:
    what = f"{path}: its member {entry.filename!r}"
    if _leaves(entry.filename):
        raise DataError(f"{what} has a path that leaves the archive; make it again with paths inside the folder.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(f"{what} is a link; pack the file itself.")
    if entry.flag_bits & 1:
        raise DataError(f"{what} is encrypted; make the archive without a password.")
    if entry.file_size > MAX_MEMBER_BYTES:
        raise DataError(f"{what} unpacks to {entry.file_size} bytes, more than {MAX_MEMBER_BYTES}; remove it.")


def _leaves(name: str) -> bool:
    """Whether a path is absolute, of another drive, or goes up, on any system."""
    parts = re.split(r"[/\\]", name)
    return name.startswith(("/", "\\")) or bool(re.match(r"[A-Za-z]:", name)) or ".." in parts or "\0" in name


def _common_folder(names: Mapping[str, object]) -> str:
    """Return `folder/` if an archive holds one folder with everything in it, as packing a folder makes it, else ""."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    (top,) = tops if len(tops) == 1 else ("",)
    return f"{top}/" if top else ""


class _Inside:
    """Checks that files lie in a folder, links followed; each folder is resolved once."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.realpath(root))
        self._folders: set[Path] = set()

    def check_link(self, path: str | Path) -> None:
        """Refuse a link that leaves the folder."""
        if not Path(os.path.realpath(path)).is_relative_to(self._root):
            raise DataError(f"{path}: a link that leaves the folder; replace it by the file itself, or remove it.")

    def check_parents(self, path: Path) -> None:
        """Refuse a file that is a link out of the folder, or lies behind one."""
        if path.parent not in self._folders:
            self.check_link(path.parent)
            self._folders.add(path.parent)
        if path.is_symlink():
            self.check_link(path)

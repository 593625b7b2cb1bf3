"""A user's own images: a folder, a zip archive, a table of paths, or an array."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from aegean.data.arrays import read_image_arrays
from aegean.data.cache import Entry, Writer, find_entry, find_or_make
from aegean.data.decoding import Decoded, Form, Opener, bring_to, decode, in_threads, measure
from aegean.data.images import ImageData
from aegean.data.labels import labels_of, read_labels
from aegean.data.listing import Listing, list_images
from aegean.data.sizes import choose_size
from aegean.data.splits import DataReport, PathText, Splits, SplitSettings
from aegean.errors import DataError

ARRAYS = (".npy", ".npz")
#: Fewer files that are smaller together are decoded each time: that takes a moment, and the cache stays tidy.
CACHED_FILES, CACHED_BYTES = 500, 10_000_000

#: Counts up when other pixels come out of the same files, so that older entries of the cache are not used.
_VERSION = 1

Side = Annotated[int, Field(ge=1, le=4096)]


class Folder(SplitSettings):
    """A user's own images, in the order of their paths.

    `path` is one of these:

    - a folder with PNG, JPEG, WebP, BMP, TIFF or GIF files, in subfolders or not;
    - a `.zip` archive of such a folder, which is read as it is;
    - a `.csv` or `.tsv` table with a column `file`, paths relative to the table, and perhaps a column `label`;
    - a `.npy` or `.npz` file, whose images are uint8, uint16, bool, or floating point in [0, 1], of shape (n, h, w) or
      (n, h, w, c); a `.npz` file may hold labels too.

    In a folder or archive without a labels file, an image in a subfolder is of the class of that name (the first below
    `path`), and an image in no subfolder is unlabelled. Hidden files and files of other kinds are ignored. Images are
    turned by their EXIF orientation; an animation is its first frame; 16 bits a channel are rounded to 8.

    Many files are decoded once, in several threads, into the cache (`aegean.data.cache`).

    Attributes:
        path: see above.
        size: (height, width) that all images are brought to: scaled until they cover it, then cropped around
            the centre. None chooses a size if the images differ or are large, and says so (`aegean.data.sizes`).
        channels: 1 for grey, 3 for colour; None is grey if no image has any colour.
        labels_file: a CSV file with a header that names the columns `file` (relative to `path`) and `label`;
            an image that it does not list, or lists without label, is unlabelled. Subfolders are then no
            classes.
        skip_damaged: leave out files that cannot be read, instead of stopping.
        background: what shines through where an image is transparent.
        cache: whether many decoded images may be kept on disk.
    """

    kind: Literal["folder"] = "folder"
    path: PathText
    size: tuple[Side, Side] | None = None
    channels: Literal[1, 3] | None = None
    labels_file: PathText | None = None
    skip_damaged: bool = False
    background: Literal["white", "black"] = "white"
    cache: bool = True

    def load(self) -> Splits:
        """Read and split; see `read` and `SplitSettings.split`."""
        found = self._read(self.skip_damaged)
        splits = self.split(found.data, source=Path(self.path).name or self.path, skipped=found.problems)
        note = f"; {found.note}" if found.note else ""
        return replace(splits, description=f"{splits.description}{note}", note=found.note)

    def read(self) -> tuple[ImageData, tuple[str, ...]]:
        """Read all images and labels.

        Returns:
            The images, and a sentence for each damaged file that was left out.

        Raises:
            DataError: there is no such source, no image in it, a damaged file, a link or name that leaves it, or a
                labels file that does not fit.
        """
        found = self._read(self.skip_damaged)
        return found.data, found.problems

    def check(self) -> DataReport:
        """Look at every file and go on where one is damaged.

        Raises:
            DataError: there is nothing to look at, no image can be read, a link or name leaves the source, or the
                labels file does not fit.
        """
        found = self._read(skip_damaged=True)
        problems = list(found.problems)
        table = Path(self.labels_file).resolve() if self.labels_file else None
        ignored = [name for name in found.others if Path(self.path, name).resolve() != table]
        if ignored:
            problems.append(f"{self.path}: ignored {len(ignored)} other files, for example {ignored[0]}.")
        return DataReport(
            images=len(found.data),
            classes=found.data.counts(),
            sizes=found.sizes,
            channels=found.data.shape[0],
            problems=tuple(problems),
            notes=(f"{found.note}",) if found.note else (),
        )

    # ---- from each kind of source ---------------------------------------------------------------------------------

    def _read(self, skip_damaged: bool) -> "_Found":
        if Path(self.path).suffix.lower() in ARRAYS and Path(self.path).is_file():
            return self._read_arrays()
        listing = list_images(self.path)
        labels = self._labels(listing)
        class_names = sorted(set(labels) - {""})
        entry = self._decoded(listing, skip_damaged)
        problems = tuple(entry.about["problems"])
        if problems and not skip_damaged:
            raise DataError(problems[0])
        names: Sequence[str] = listing.names
        if entry.about["damaged"]:
            damaged = set(entry.about["damaged"])
            kept = [index for index in range(len(names)) if index not in damaged]
            names, labels = [names[index] for index in kept], [labels[index] for index in kept]
        number = {name: label for label, name in enumerate(class_names)} | {"": -1}
        data = ImageData(
            images=entry.images,
            labels=torch.tensor([number[label] for label in labels]),
            class_names=tuple(class_names),
            names=tuple(names),
        )
        return _Found(data, problems, entry.about["sizes"], entry.about["note"], listing.others)

    def _read_arrays(self) -> "_Found":
        if self.labels_file is not None:
            raise DataError(
                f"{self.path}: images in an array have no file names that {self.labels_file} could name; save their "
                "labels as the array 'labels' of a .npz file."
            )
        data = read_image_arrays(Path(self.path))
        c, h, w = data.shape
        sizes = {f"{h}x{w}": len(data)}
        if self.size in (None, (h, w)) and self.channels in (None, c) and c in (1, 3):
            return _Found(data, (), sizes, "", ())
        if c > 4:
            raise DataError(f"{self.path}: images of {c} channels cannot be brought to another size; leave size out.")
        form = Form(self.size or (h, w), self.channels, self.background)
        images = [np.asarray(bring_to(_picture(image, self.background), form)) for image in data.images]
        colour = any(image.ndim == 3 for image in images)
        writer = Writer((self.channels or (3 if colour else 1), *(self.size or (h, w))), len(images))
        for image in images:
            writer.add(image)
        return _Found(replace(data, images=writer.images()), (), sizes, "", ())

    def _labels(self, listing: Listing) -> list[str]:
        """Return a label for each image, "" for none."""
        if self.labels_file is not None:
            return labels_of(listing.names, read_labels(self.labels_file), self.labels_file)
        if listing.table is not None:
            return list(listing.table.values())
        # A name that is not UTF-8 opens its file, but stands in no text.
        return [_as_text(name.split("/")[0]) if "/" in name else "" for name in listing.names]

    # ---- pixels ---------------------------------------------------------------------------------------------------

    def _decoded(self, listing: Listing, skip_damaged: bool) -> Entry:
        many = len(listing.names) >= CACHED_FILES or listing.size >= CACHED_BYTES
        if not (self.cache and many):
            return self._decode_all(listing, skip_damaged, None)
        settings = json.dumps([_VERSION, listing.stamp, self.size, self.channels, self.background])
        key = hashlib.blake2b(settings.encode(), digest_size=20).hexdigest()
        return find_entry(key) or self._decode_all(listing, skip_damaged, key)

    def _decode_all(self, listing: Listing, skip_damaged: bool, key: str | None) -> Entry:
        size, note, coloured = self.size, "", True
        with warnings.catch_warnings(), listing.opened() as opener:
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata would reach the terminal
            if size is None:
                size, note, coloured = _survey(listing, opener)
            channels = self.channels or (3 if coloured else 1)
            fill = partial(self._fill, listing, opener, Form(size, self.channels, self.background), note, skip_damaged)
            shrink = self.channels is None and channels == 3
            return find_or_make(key, len(listing.names), (channels, *size), fill, shrink)

    def _fill(
        self, listing: Listing, opener: Opener, form: Form, note: str, skip_damaged: bool, writer: Writer
    ) -> dict[str, Any]:
        """Decode all images into a writer; return what is worth knowing of them."""
        sizes: Counter[str] = Counter()
        damaged, problems, colour = [], [], False
        for index, image in enumerate(_decode_each(listing, opener, form)):
            if isinstance(image, DataError):
                if not skip_damaged:
                    raise image
                damaged.append(index)
                problems.append(str(image))
                continue
            writer.add(image.pixels)
            sizes[f"{image.size[0]}x{image.size[1]}"] += 1
            colour = colour or image.pixels.ndim == 3
        if not writer.count:
            raise DataError(f"{self.path}: none of its {len(problems)} images can be read; the first: {problems[0]}")
        return {
            "sizes": dict(sizes.most_common()),
            "damaged": damaged,
            "problems": problems,
            "colour": colour,
            "note": note,
        }


@dataclass(frozen=True)
class _Found:
    """What a source holds: images, a sentence for each damaged file, sizes, why a size was chosen, other files."""

    data: ImageData
    problems: tuple[str, ...]
    sizes: dict[str, int]
    note: str
    others: tuple[str, ...]


def _as_text(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _decode_each(listing: Listing, opener: Opener, form: Form) -> Iterator[Decoded | DataError]:
    def work(name: str) -> Decoded | DataError:
        where = listing.where(name)
        try:
            source = opener(name)
        except Exception as error:  # on a damaged archive, the parser raises whatever it meets
            reason = " ".join(str(error).split()) or type(error).__name__
            return DataError(
                f"{where}: damaged ({reason}); remove it, or set skip_damaged: true to leave such files out."
            )
        return decode(source, where, form)

    return in_threads(work, listing.names)


def _survey(listing: Listing, opener: Opener) -> tuple[tuple[int, int], str, bool]:
    """Return the size that images without a given one are brought to, why, and whether any may have colour."""

    def work(name: str) -> tuple[tuple[int, int], bool] | None:
        try:
            return measure(opener(name))
        except Exception:  # decoding will say what is wrong
            return None

    found = [measured for measured in in_threads(work, listing.names) if measured is not None]
    if not found:
        return (1, 1), "", True  # nothing can be decoded either
    size, note = choose_size(Counter(size for size, _ in found))
    return size, note, any(colour for _, colour in found)


def _picture(image: torch.Tensor, background: str) -> Image.Image:
    """Return a uint8 tensor (c, h, w) of one to four channels, the second and fourth being opacity, as L or RGB."""
    c = len(image)
    planes = [Image.fromarray(plane) for plane in image.numpy()]
    if c in (1, 3):
        return planes[0] if c == 1 else Image.merge("RGB", planes)
    whole = Image.merge("LA" if c == 2 else "RGBA", planes).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", whole.size, background), whole).convert("L" if c == 2 else "RGB")

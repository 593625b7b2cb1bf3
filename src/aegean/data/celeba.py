"""CelebA: faces of celebrities, aligned, in colour."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from aegean.data.decoding import in_threads
from aegean.data.files import Benchmark, OfficialFile
from aegean.data.images import ImageData
from aegean.data.splits import DataSettings, Splits
from aegean.errors import DataError
from aegean.files import read_bounded

#: Width and height of the official images, and how many there are.
_SIZE, _COUNT = (178, 218), 202_599
#: A list of partitions, or an image, with more bytes is refused.
MAX_LIST_BYTES, MAX_IMAGE_BYTES = 10_000_000, 1_000_000
_FOLDER = "img_align_celeba"


class CelebA(DataSettings):
    """CelebA: 202,599 aligned faces in colour, without classes, in the official partition (Liu et al., 2015).

    162,770 images are for training, 19,867 for validation and 19,962 for the test; nobody is in two parts. The paper on
    implicit autoencoders has images of 48x48 and does not say how they were made; here a square around the centre of
    each image is scaled.

    `list_eval_partition.txt` and `img_align_celeba.zip`, or the folder `img_align_celeba` in its place, are read from
    the folder that `AEGEAN_DATA` names, or its subfolder `celeba`, or the cache (the folder from such a subfolder
    alone). The authors publish no hashes, so names, numbers and sizes are checked. All images are held in memory,
    1.4 GB at 48x48.

    Attributes:
        size: height and width that the square is scaled to.
        crop: height and width of the square, in pixels of the official images; 108 is the face alone.
    """

    benchmark: ClassVar[Benchmark] = Benchmark(
        name="celeba",
        description="48x48 faces of celebrities in colour (not fetched: its authors' page asks to agree to terms)",
        images=_COUNT,
        shape=(3, 48, 48),
        classes=0,
        source="Liu, Luo, Wang and Tang; for non-commercial research",
        files=(OfficialFile("list_eval_partition.txt"), OfficialFile(f"{_FOLDER}.zip")),
        folders=(_FOLDER,),
        remedy=(
            "Get list_eval_partition.txt and img_align_celeba.zip from the authors' page "
            "(https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html), put both into a folder celeba, and set AEGEAN_DATA "
            "to the folder that contains it."
        ),
    )

    kind: Literal["celeba"] = "celeba"
    size: int = Field(default=48, ge=8, le=178)
    crop: int = Field(default=108, ge=8, le=178)

    def load(self) -> Splits:
        """Read the list and the images of each of its parts.

        Raises:
            DataError: a file is not on this machine, is damaged, or is another one.
        """
        part_of = _read_partition(self.benchmark.get(self.benchmark.files[0]))
        folders = self.benchmark.find_folders()
        if folders:
            parts = self._parts(part_of, lambda name: _from_folder(folders[0], name))
        else:
            path = self.benchmark.get(self.benchmark.files[1])
            try:
                with zipfile.ZipFile(path) as archive:
                    parts = self._parts(part_of, lambda name: _from_archive(archive, path, name))
            except (zipfile.BadZipFile, OSError) as error:
                raise DataError(f"{path}: a damaged archive, or none ({error}); get it again.") from None
        train, validation, test = parts
        return self.reveal(train, validation, test, source="celeba")

    def _parts(self, part_of: dict[str, int], read: Callable[[str], bytes]) -> list[ImageData]:
        parts = []
        for part in range(3):
            names = tuple(name for name in part_of if part_of[name] == part)
            images = np.empty((len(names), 3, self.size, self.size), np.uint8)
            for index, face in enumerate(in_threads(lambda name: self._face(read(name), name), names)):
                images[index] = face
            parts.append(ImageData(torch.from_numpy(images), torch.full((len(names),), -1), names=names))
        return parts

    def _face(self, raw: bytes, name: str) -> NDArray[np.uint8]:
        """Cut the square out and scale it, (3, size, size)."""
        try:
            with Image.open(io.BytesIO(raw), formats=("JPEG",)) as image:
                if image.size != _SIZE:
                    raise DataError(
                        f"celeba: {name} is {image.height}x{image.width}, the official images are "
                        f"{_SIZE[1]}x{_SIZE[0]} (height x width); get img_align_celeba, not another version."
                    )
                left, top = ((side - self.crop) // 2 for side in _SIZE)
                square = image.convert("RGB").crop((left, top, left + self.crop, top + self.crop))
        except DataError:
            raise
        except Exception:  # on damaged files, decoders raise whatever they stumble over
            raise DataError(f"celeba: {name} is damaged, or not a JPEG image; get it again.") from None
        return np.asarray(square.resize((self.size, self.size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def _read_partition(path: Path) -> dict[str, int]:
    """Return the part of each image: 0 for training, 1 for validation, 2 for the test."""
    text = read_bounded(path, MAX_LIST_BYTES).decode("ascii", "replace")
    part_of: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        found = re.fullmatch(r"(\d{6}\.jpg)\s+([012])\s*", line)
        if not found or found[1] in part_of:
            raise DataError(
                f"{path}, line {number}: {line[:80]!r}; expected a name that is not in the list yet and 0, 1 or 2, "
                "as in '000001.jpg 0'; get the official file."
            )
        part_of[found[1]] = int(found[2])
    if set(part_of.values()) != {0, 1, 2} or len(part_of) > _COUNT:
        raise DataError(
            f"{path}: {len(part_of)} images in parts {sorted(set(part_of.values()))}; expected at most {_COUNT} in the "
            "parts 0, 1 and 2; get the official file."
        )
    return part_of


def _from_folder(folder: Path, name: str) -> bytes:
    return read_bounded(folder / name, MAX_IMAGE_BYTES)


def _from_archive(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    try:
        entry = archive.getinfo(f"{_FOLDER}/{name}")
        if entry.file_size > MAX_IMAGE_BYTES:
            raise DataError(f"{path}: {name} has {entry.file_size} bytes, more than {MAX_IMAGE_BYTES}; get it again.")
        with archive.open(entry) as stream:
            # To its size: without one, a dishonest archive unpacks more than it says.
            return stream.read(entry.file_size)
    except KeyError:
        raise DataError(f"{path}: has no {_FOLDER}/{name}, which is in the list; get both files again.") from None
    except DataError:
        raise
    except Exception as error:  # on damaged archives, the parser raises whatever it meets
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}, {name}: damaged ({reason}); get it again.") from None

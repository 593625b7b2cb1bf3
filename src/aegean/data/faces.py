"""Faces, 48x48, grey: the Toronto Face Database and Labeled Faces in the Wild."""

import io
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from aegean.data.files import MAX_FILE_BYTES, Benchmark, OfficialFile
from aegean.data.images import ImageData
from aegean.data.matlab import read_mat
from aegean.data.splits import DataSettings, HeldOut, Splits, SplitSettings, number_of
from aegean.errors import DataError

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

#: An archive of faces with more files, or larger ones, is refused.
MAX_FACES, MAX_FACE_BYTES = 20_000, 100_000

_SIDE = 48


class TFD(DataSettings):
    """The Toronto Face Database: 102,236 faces, 48x48, grey; 4,178 have one of seven emotions (Susskind et al., 2010).

    Training images are the unlabelled ones and the training images of a fold; validation and test images are
    the fold's, as in table 1 of the adversarial autoencoder paper, which follows Goodfellow et al. (2014).

    `TFD_48x48.mat` is read from the folder that `AEGEAN_DATA` names, or its subfolder `tfd`, or the cache. Its
    hash is not published, so only types, shapes and ranges are checked.

    Attributes:
        fold: which of the five official folds.
    """

    benchmark: ClassVar[Benchmark] = Benchmark(
        name="tfd",
        description="48x48 grey faces with emotions (not fetched: the authors give it to those who ask)",
        images=102_236,
        shape=(1, 48, 48),
        classes=7,
        source="Susskind, Anderson and Hinton, UTML TR 2010-001; with the permission of its authors only",
        files=(OfficialFile("TFD_48x48.mat"),),
        remedy=(
            "The Toronto Face Database is given to researchers who ask its authors (Josh Susskind, Department of "
            "Computer Science, University of Toronto). Put TFD_48x48.mat into a folder tfd, and set AEGEAN_DATA to "
            "the folder that contains it."
        ),
    )

    kind: Literal["tfd"] = "tfd"
    fold: Literal[1, 2, 3, 4, 5] = 1

    def load(self) -> Splits:
        """Read the file and take a fold's parts.

        Raises:
            DataError: the file is not on this machine, is damaged, or is another one.
        """
        path = self.benchmark.get(self.benchmark.files[0])
        shapes = {"images": (None, _SIDE, _SIDE), "labs_ex": (None, 1), "folds": (None, 5)}
        arrays = read_mat(path, "images", shapes)
        emotions, folds = arrays["labs_ex"][:, 0], arrays["folds"]
        if not np.isin(emotions, (-1, *range(1, 8))).all() or not np.isin(folds, range(4)).all():
            raise DataError(
                f"{path}: labs_ex must hold emotions from 1 to 7, or -1, and folds 0 to 3; get the official file."
            )
        data = ImageData(
            torch.from_numpy(np.ascontiguousarray(arrays["images"])[:, None]),
            torch.from_numpy(np.where(emotions > 0, emotions - 1, -1)),
            EMOTIONS,
        )
        part = torch.from_numpy(folds[:, self.fold - 1])
        train, validation, test = (
            data.subset(torch.nonzero(chosen).flatten()) for chosen in (part <= 1, part == 2, part == 3)
        )
        return self.reveal(train, validation, test, source=f"tfd, fold {self.fold}")


class Faces(SplitSettings):
    """Labeled Faces in the Wild, 48x48, grey: 13,233 faces of 5,749 people, without classes (Huang et al., 2007).

    They are divided by person: nobody is in two of training, validation and test images.

    `lfw48.zip` is read from the folder that `AEGEAN_DATA` names, or its subfolder `lfw`, or the cache. It is no
    official file: make it from the official images (the aligned variant is best) by cropping each around its
    centre, scaling it to 48x48 grey and packing all as `lfw48/First_Last_0001.jpg` and so on.

    Attributes:
        test: images held out for the final judgement: how many, or a share of all, rounded up.
        validation: images held out for choices.
        split_seed: of the order in which people are drawn for the test, then for validation.
    """

    benchmark: ClassVar[Benchmark] = Benchmark(
        name="lfw",
        description="48x48 grey faces of 5,749 people (not fetched: made from Labeled Faces in the Wild)",
        images=13_233,
        shape=(1, _SIDE, _SIDE),
        classes=0,
        source="Huang, Ramesh, Berg and Learned-Miller; for research",
        files=(OfficialFile("lfw48.zip"),),
        remedy=(
            "Make it from Labeled Faces in the Wild: crop each image around its centre, scale it to 48x48 grey, and "
            "pack all as lfw48/First_Last_0001.jpg and so on. Put lfw48.zip into a folder lfw, and set AEGEAN_DATA to "
            "the folder that contains it."
        ),
    )

    kind: Literal["lfw"] = "lfw"
    validation: HeldOut = 1_000

    def load(self) -> Splits:
        """Read the archive and divide it by person.

        Raises:
            DataError: the archive is not on this machine or damaged, or people cannot be divided so that as
                many images are held out.
        """
        names, images = _read_zip(self.benchmark.get(self.benchmark.files[0]))
        data = ImageData(torch.from_numpy(images), torch.full((len(images),), -1), names=names)
        people = [name.rsplit("_", 1)[0] for name in names]
        sizes = [number_of(size, len(data)) for size in (self.test, self.validation)]
        test, validation, train = split_by_person(people, sizes, self.split_seed)
        if not len(train):
            raise DataError(f"lfw: {sum(sizes)} held-out images leave none for training; hold out fewer.")
        splits = self.reveal(data.subset(train), data.subset(validation), data.subset(test), source="lfw")
        return replace(splits, description=f"{splits.description}, by person, split seed {self.split_seed}")


def split_by_person(people: list[str], sizes: list[int], seed: int) -> list[Tensor]:
    """Divide images so that nobody is in two parts.

    People are drawn one after the other and taken where all their images still fit in. As with
    `stratified_split`, the first part does not depend on the sizes of the later ones.

    Args:
        people: who is in each image.
        sizes: images in each held-out part; the rest follows as the last part.
        seed: of the order of people.

    Returns:
        One tensor of indices a size, then the rest; int64, ascending, disjoint, together 0 ... n-1.

    Raises:
        DataError: no part of this size could be made of whole people.
    """
    names, person = np.unique(np.asarray(people, dtype=np.str_), return_inverse=True)
    counts = np.bincount(person, minlength=len(names))
    left = np.random.default_rng(seed).permutation(len(names))
    parts = []
    for size in sizes:
        room, taken = size, []
        for who in left:
            if counts[who] <= room:
                taken.append(who)
                room -= counts[who]
        if room:
            raise DataError(
                f"lfw: {size} images of whole people could not be held out, only {size - room}; hold out fewer or "
                "others, or change split_seed."
            )
        left = left[~np.isin(left, taken)]
        parts.append(np.flatnonzero(np.isin(person, taken)))
    return [torch.from_numpy(part) for part in (*parts, np.flatnonzero(np.isin(person, left)))]


def _read_zip(path: Path) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Return the names of the faces, sorted, and the faces, uint8 of shape (n, 1, 48, 48)."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(f"{path}: larger than the {MAX_FILE_BYTES} bytes that it may have; make it again.")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = sorted(
                (entry for entry in archive.infolist() if not entry.is_dir()), key=lambda entry: entry.filename
            )
            names = tuple(entry.filename.rsplit("/", 1)[-1] for entry in entries)
            _check_entries(path, entries, names)
            images = np.empty((len(entries), 1, _SIDE, _SIDE), np.uint8)
            for index, entry in enumerate(entries):
                with archive.open(entry) as stream:
                    # To its size: without one, a dishonest archive unpacks more than it says.
                    images[index, 0] = _face(stream.read(entry.file_size), f"{path}, {entry.filename}")
    except DataError:
        raise
    except Exception as error:  # on damaged files, the parser raises whatever it meets
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: a damaged archive, or none ({reason}); make it again.") from None
    return names, images


def _check_entries(path: Path, entries: list[zipfile.ZipInfo], names: tuple[str, ...]) -> None:
    if not 1 <= len(entries) <= MAX_FACES or len(set(names)) < len(names):
        raise DataError(
            f"{path}: {len(entries)} files of {len(set(names))} names, expected 1 to {MAX_FACES} of different "
            "names; make it again."
        )
    for entry, name in zip(entries, names, strict=True):
        if not re.fullmatch(r".+_\d+\.jpe?g", name):
            raise DataError(f"{path}: {entry.filename!r} is not named after a person and a number, as A_Name_0001.jpg.")
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{path}: {entry.filename!r} is encrypted or packed in an unusual way; make the archive without a "
                "password, stored or deflated."
            )
        if entry.file_size > MAX_FACE_BYTES:
            raise DataError(
                f"{path}: {entry.filename!r} has {entry.file_size} bytes, more than {MAX_FACE_BYTES}; these are not "
                f"faces of {_SIDE}x{_SIDE}."
            )


def _face(raw: bytes, where: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG",)) as image:
            if image.size != (_SIDE, _SIDE):
                raise DataError(f"{where}: is {image.height}x{image.width}, expected {_SIDE}x{_SIDE}; scale it.")
            return np.asarray(image.convert("L"))
    except DataError:
        raise
    except Exception:  # on damaged files, decoders raise whatever they stumble over
        raise DataError(f"{where}: damaged, or not a JPEG image; make the archive again.") from None

"""Images in NumPy files."""

import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aegean.data.images import ImageData, from_arrays
from aegean.data.splits import PathText, Splits, SplitSettings
from aegean.errors import DataError

#: A `.npz` file that unpacks to more than this is refused.
MAX_ARRAY_BYTES = 16 * 2**30

#: What people call images and labels in a `.npz` file.
IMAGE_KEYS = ("images", "image", "x", "X", "data", "x_train", "arr_0")
LABEL_KEYS = ("labels", "label", "y", "Y", "targets", "target", "y_train")


class Arrays(SplitSettings):
    """Images in a `.npy` file, or in a `.npz` file together with labels.

    A `.npz` file holds the arrays `images` and, if there are any, `labels`, `class_names` and `names`;
    `aegean.data.from_arrays` says which shapes, types and ranges they may have.

    Attributes:
        path: the file.
        images_key: name of the array of images in a `.npz` file.
        labels_key: name of the array of labels; it may be missing.
        layout: where the channels of a four-dimensional array are.
    """

    kind: Literal["arrays"] = "arrays"
    path: PathText
    images_key: str = "images"
    labels_key: str = "labels"
    layout: Literal["nhwc", "nchw"] = "nhwc"

    def read(self) -> ImageData:
        """Read all images and labels.

        Raises:
            DataError: the file is missing, damaged, too large, holds pickled objects, or lacks the images.
        """
        arrays = read_arrays(Path(self.path), (self.images_key, self.labels_key, "class_names", "names"))
        if self.images_key not in arrays:
            raise DataError(
                f"{self.path}: has no array {self.images_key!r}; save the images under this name, or name "
                "another array as images_key."
            )
        class_names, names = arrays.get("class_names"), arrays.get("names")
        try:
            return from_arrays(
                arrays[self.images_key],
                arrays.get(self.labels_key),
                None if class_names is None else [str(name) for name in class_names.flat],
                None if names is None else [str(name) for name in names.flat],
                self.layout,
            )
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from None

    def load(self) -> Splits:
        """Read and split; see `read` and `SplitSettings.split`."""
        return self.split(self.read(), source=Path(self.path).name)


def read_image_arrays(path: Path) -> ImageData:
    """Read the images of a `.npy` or `.npz` file, whatever their array is called, and labels, if there are any.

    Raises:
        DataError: see `Arrays.read`; or no array has a usual name and there are several.
    """
    names = _array_names(path)
    images = next((key for key in IMAGE_KEYS if key in names), names[0] if len(names) == 1 else IMAGE_KEYS[0])
    labels = next((key for key in LABEL_KEYS if key in names), LABEL_KEYS[0])
    return Arrays(path=str(path), images_key=images, labels_key=labels).read()


def _array_names(path: Path) -> list[str]:
    try:
        if not zipfile.is_zipfile(path):
            return [IMAGE_KEYS[0]]
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return [IMAGE_KEYS[0]]  # reading it will say what is wrong


def read_arrays(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Return those of the arrays that the file has; of a `.npy` file, its array under the first key."""
    try:
        if not zipfile.is_zipfile(path):
            return {keys[0]: np.load(path, mmap_mode="r", allow_pickle=False)}
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_ARRAY_BYTES:
            raise DataError(f"{path}: unpacks to {size} bytes, more than {MAX_ARRAY_BYTES}; save the images as .npy.")
        with np.load(path, allow_pickle=False) as file:
            return {key: np.asarray(file[key]) for key in keys if key in file.files}
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); give a .npz or .npy file.") from None
    except Exception as error:  # on damaged files, the parsers of NumPy and zipfile raise whatever they meet
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: not a .npz or .npy file of plain arrays ({reason}); save it again, for example with "
            "numpy.savez_compressed(file, images=..., labels=...)."
        ) from None

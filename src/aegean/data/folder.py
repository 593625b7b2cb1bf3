"""A folder of images: one subfolder a class, or a table of labels, or no labels at all."""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import Field

from aegean.data.images import ImageData
from aegean.data.labels import labels_of, read_labels
from aegean.data.splits import DataReport, PathText, Splits, SplitSettings
from aegean.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
#: An image with more pixels is refused before it is unpacked.
MAX_PIXELS = 100_000_000

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # no other decoder of Pillow sees the files
_KINDS = "PNG, JPEG, WebP, BMP, TIFF or GIF"

Side = Annotated[int, Field(ge=1, le=4096)]


class Folder(SplitSettings):
    """The images in a folder and its subfolders, in the order of their paths.

    Without a labels file, an image in a subfolder is of the class of that name (the first below `path`), and
    an image in no subfolder is unlabelled. Hidden files and files of other kinds are ignored. Images are
    turned by their EXIF orientation; an animation is its first frame; 16 bits a channel are rounded to 8.

    Attributes:
        path: the folder.
        size: (height, width) that all images are brought to: scaled until they cover it, then cropped around
            the centre. None demands images of one size.
        channels: 1 for grey, 3 for colour; None is grey if no image has any colour.
        labels_file: a CSV file with a header that names the columns `file` (relative to `path`) and `label`;
            an image that it does not list, or lists without label, is unlabelled. Subfolders are then no
            classes.
        skip_damaged: leave out files that cannot be read, instead of stopping.
        background: what shines through where an image is transparent.
    """

    kind: Literal["folder"] = "folder"
    path: PathText
    size: tuple[Side, Side] | None = None
    channels: Literal[1, 3] | None = None
    labels_file: PathText | None = None
    skip_damaged: bool = False
    background: Literal["white", "black"] = "white"

    def load(self) -> Splits:
        """Read and split; see `read` and `SplitSettings.split`."""
        data, skipped = self.read()
        return self.split(data, source=Path(self.path).name or self.path, skipped=skipped)

    def read(self) -> tuple[ImageData, tuple[str, ...]]:
        """Read all images and labels.

        Returns:
            The images, and a sentence for each damaged file that was left out.

        Raises:
            DataError: there is no such folder, no image in it, a damaged file, images of several sizes, a
                link that leaves the folder, or a labels file that does not fit.
        """
        names, _ = list_images(self.path)
        labels, class_names = self._labels(names)
        kept: list[int] = []
        pixels: list[NDArray[np.uint8]] = []
        skipped = []
        with self._decoded(names, self.size) as images:
            for index, image in enumerate(images):
                if isinstance(image, DataError):
                    if not self.skip_damaged:
                        raise image
                    skipped.append(str(image))
                    continue
                if pixels and image.shape[:2] != pixels[0].shape[:2]:
                    raise DataError(_differ(self.path, names[kept[0]], pixels[0], names[index], image))
                kept.append(index)
                pixels.append(image)
        if not pixels:
            raise DataError(f"{self.path}: none of its {len(names)} images can be read; the first: {skipped[0]}")
        number = {name: label for label, name in enumerate(class_names)} | {"": -1}
        data = ImageData(
            images=_stack(pixels, self.channels),
            labels=torch.tensor([number[labels[index]] for index in kept]),
            class_names=tuple(class_names),
            names=tuple(names[index] for index in kept),
        )
        return data, tuple(skipped)

    def check(self) -> DataReport:
        """Look at every file and go on where one is damaged.

        Raises:
            DataError: there is nothing to look at, a link leaves the folder, or the labels file does not fit.
        """
        names, others = list_images(self.path)
        table = Path(self.labels_file).resolve() if self.labels_file else None
        ignored = [name for name in others if Path(self.path, name).resolve() != table]
        labels, class_names = self._labels(names)
        sizes: Counter[str] = Counter()
        channels, good, problems = 1, [], []
        with self._decoded(names, size=None) as images:
            for label, image in zip(labels, images, strict=True):
                if isinstance(image, DataError):
                    problems.append(str(image))
                    continue
                good.append(label)
                sizes[_size(image)] += 1
                channels = max(channels, 1 if image.ndim == 2 else 3)
        if len(sizes) > 1 and self.size is None:
            common = sizes.most_common(1)[0][0]
            problems.append(
                f"{self.path}: images of {len(sizes)} sizes; bring them to one, "
                f"for example with size: [{common.replace('x', ', ')}]."
            )
        if ignored:
            problems.append(f"{self.path}: ignored {len(ignored)} other files, for example {ignored[0]}.")
        counts = Counter(good)
        return DataReport(
            images=len(good),
            classes={name: counts[name] for name in class_names},
            sizes=dict(sizes.most_common()),
            channels=self.channels or channels,
            problems=tuple(problems),
        )

    def _labels(self, names: list[str]) -> tuple[list[str], list[str]]:
        """Return a label for each image, "" for none, and the class names in order."""
        if self.labels_file is not None:
            labels = labels_of(names, read_labels(self.labels_file), self.labels_file)
        else:
            labels = [name.split("/")[0] if "/" in name else "" for name in names]
        return labels, sorted(set(labels) - {""})

    @contextmanager
    def _decoded(
        self, names: list[str], size: tuple[int, int] | None
    ) -> Iterator[Iterator[NDArray[np.uint8] | DataError]]:
        """Decode in several threads, for Pillow releases the interpreter lock; give the results in order."""

        def decode(name: str) -> NDArray[np.uint8] | DataError:
            return _decode(Path(self.path, name), size, self.channels, self.background)

        pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata would reach the terminal
                yield pool.map(decode, names)
        finally:
            pool.shutdown(cancel_futures=True)


def list_images(path: str) -> tuple[list[str], list[str]]:
    """List the images of a folder and its subfolders.

    Returns:
        The images' paths relative to the folder, with `/` between folders, sorted; and those of other files.

    Raises:
        DataError: there is no such folder, no image in it, or a link that leaves it.
    """
    root = Path(path)
    if not root.is_dir():
        found = "is a file; unpack it first" if root.exists() else "does not exist; check the path"
        raise DataError(f"{path}: {found}. Expected a folder of {_KINDS} images.")

    def stop(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); correct its permissions.")

    images: list[str] = []
    others: list[str] = []
    for folder, folders, files in os.walk(root, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*folders, *files):
            file = Path(folder, name)
            if name.startswith("."):
                continue
            if file.is_symlink() and not file.resolve().is_relative_to(root.resolve()):
                raise DataError(f"{file}: a link that leaves the folder; replace it by the file itself, or remove it.")
            if file.is_dir():
                continue
            known = file.suffix.lower() in SUFFIXES and file.is_file()  # a device or a pipe is no image
            (images if known else others).append(file.relative_to(root).as_posix())
    if not images:
        other = f" ({len(others)} other files, for example {min(others)})" if others else ""
        raise DataError(f"{path}: no images in this folder or its subfolders{other}; expected {_KINDS}.")
    return sorted(images), sorted(others)


def read_grey(path: str | Path) -> NDArray[np.uint8]:
    """Read one image file as grey values, uint8 (h, w).

    Raises:
        DataError: there is no such file, or it is damaged or no image.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file; give a {_KINDS} image.")
    pixels = _decode(Path(path), None, 1, "black", f"give a {_KINDS} image")
    if isinstance(pixels, DataError):
        raise pixels
    return pixels


def _decode(
    path: Path,
    size: tuple[int, int] | None,
    channels: int | None,
    background: str,
    remedy: str = "remove it, or leave such files out with the setting skip_damaged: true",
) -> NDArray[np.uint8] | DataError:
    """Return grey (h, w) or colour (h, w, 3), or why the file cannot be read."""
    too_large = DataError(f"{path}: has more than {MAX_PIXELS} pixels; scale it down, or remove it.")
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return too_large
            image = _to_eight_bits(ImageOps.exif_transpose(opened), background)
        if channels == 1:
            image = image.convert("L")
        if size is not None and image.size != size[::-1]:
            image = ImageOps.fit(image, size[::-1])
        pixels: NDArray[np.uint8] = np.asarray(image)
    except Image.DecompressionBombError:
        return too_large
    except Exception as error:  # on damaged files, decoders raise whatever they stumble over
        text = getattr(error, "strerror", None) or str(error).replace(repr(str(path)), "")
        reason = " ".join(text.split()) or type(error).__name__
        return DataError(f"{path}: damaged, or not an image ({reason}); {remedy}.")
    if pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, 0]
    return pixels


def _to_eight_bits(image: Image.Image, background: str) -> Image.Image:
    """Return mode L or RGB, without transparency."""
    if image.mode.startswith("I"):  # 16 bits a pixel, in several orders and containers
        values: NDArray[Any] = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its values do not fit into 16 bits")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError("its floating-point values are not in [0, 1]")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, background)
        return Image.alpha_composite(below, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _stack(pixels: list[NDArray[np.uint8]], channels: int | None) -> torch.Tensor:
    """Return uint8 of shape (n, c, h, w); empties the list as it goes, so that memory is not needed twice."""
    h, w = pixels[0].shape[:2]
    c = channels or (3 if any(image.ndim == 3 for image in pixels) else 1)
    stacked = np.empty((len(pixels), c, h, w), dtype=np.uint8)
    for index, image in enumerate(pixels):
        stacked[index] = image if image.ndim == 2 else image.transpose(2, 0, 1)
        pixels[index] = image[:0]
    return torch.from_numpy(stacked)


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"


def _differ(path: str, first: str, one: NDArray[np.uint8], second: str, other: NDArray[np.uint8]) -> str:
    return (
        f"{path}: images of several sizes (height x width): {first} is {_size(one)}, {second} is "
        f"{_size(other)}; bring all to one size, for example with size: [{_size(one).replace('x', ', ')}]."
    )

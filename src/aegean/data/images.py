"""Images and their labels in memory: uint8 at rest (vectors: float32), float32 in [0, 1] at work."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aegean.errors import DataError

#: How grey becomes black and white: by a threshold of 0.5, by a fresh draw at each visit, or not at all.
Binarize = Literal["threshold", "sample"] | None


@dataclass(frozen=True, eq=False)
class ImageData:
    """A set of images with as many labels as are known.

    Attributes:
        images: shape (n, c, h, w); uint8, of which 255 stands for 1.0, or float32, which is held as it is. A vector of
            d numbers is an image of shape (d, 1, 1), see `aegean.data.vectors`.
        labels: int64, shape (n,); -1 = unlabelled.
        class_names: the name of label 0, of label 1, and so on; empty where no classes are known.
        names: a name for each image (its file), or None.

    Raises:
        DataError: the parts do not fit together.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        held = self.images.dtype in (torch.uint8, torch.float32)
        if not held or self.images.dim() != 4 or 0 in self.images.shape[1:]:
            raise DataError(
                f"Images must be uint8 or float32 of shape (n, c, h, w), not {self.images.dtype} of "
                f"{tuple(self.images.shape)}; from_arrays accepts other arrays."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != (len(self.images),):
            raise DataError(
                f"Labels of {len(self.images)} images must be int64 of shape ({len(self.images)},), not "
                f"{self.labels.dtype} of {tuple(self.labels.shape)}; give -1 to the images without label."
            )
        if self.labels.device != self.images.device:
            raise DataError(f"Images are on {self.images.device} and labels on {self.labels.device}; move both.")
        if len(set(self.class_names)) != len(self.class_names):
            raise DataError(f"Class names must differ from each other: {', '.join(self.class_names)}.")
        if len(self.labels):
            low, high = (int(label) for label in torch.aminmax(self.labels))
            if low < -1 or high >= self.classes:
                raise DataError(
                    f"Labels go from {low} to {high}, but there are {self.classes} class names; labels are "
                    f"0 to {self.classes - 1}, or -1 for an image without label."
                )
        if self.names is not None and len(self.names) != len(self.images):
            raise DataError(f"{len(self.images)} images have {len(self.names)} names; give one name an image.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (c, h, w) of one image."""
        c, h, w = self.images.shape[1:]
        return c, h, w

    @property
    def classes(self) -> int:
        """Number of classes, 0 if none is known."""
        return len(self.class_names)

    def counts(self) -> dict[str, int]:
        """Return the number of labelled images of each class."""
        known = self.labels[self.labels >= 0]
        return dict(zip(self.class_names, torch.bincount(known, minlength=self.classes).tolist(), strict=True))

    def subset(self, indices: Tensor) -> "ImageData":
        """Return the images at `indices`, int64 of shape (k,), in their order; without a copy, if they are all."""
        if len(indices) == len(self) and torch.equal(indices, torch.arange(len(self), device=indices.device)):
            return self
        names = None if self.names is None else tuple(self.names[index] for index in indices.tolist())
        return replace(self, images=self.images[indices], labels=self.labels[indices], names=names)

    def with_known_labels(self) -> "ImageData":
        """Return the images whose label is known."""
        return self.subset(torch.nonzero(self.labels >= 0).flatten())

    def without_labels(self, keep: Tensor | None = None) -> "ImageData":
        """Return the same images, unlabelled except at the indices `keep`, int64 of shape (k,)."""
        labels = torch.full_like(self.labels, -1)
        if keep is not None:
            labels[keep] = self.labels[keep]
        return replace(self, labels=labels)

    def to(self, device: torch.device | str) -> "ImageData":
        """Return the data on a device; no copy where it is there already."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def from_arrays(
    images: NDArray[Any] | Tensor,
    labels: NDArray[Any] | Tensor | Sequence[int] | Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    layout: Literal["nhwc", "nchw"] = "nhwc",
) -> ImageData:
    """Make image data from arrays.

    Args:
        images: uint8 (0 to 255), uint16 (0 to 65535), bool, or floating point in [0, 1]; shape (n, h, w), or
            (n, h, w, c), or (n, c, h, w) with `layout="nchw"`.
        labels: shape (n,). Text: one name an image, "" for an image without label. Integers: -1 for an image
            without label; with `class_names` they count those names from 0, without it each distinct number
            is a class of that name.
        class_names: the name of label 0, of label 1, and so on.
        names: a name for each image.
        layout: where the channels of a four-dimensional array are.

    Raises:
        DataError: the shape, type or range of values is none of these, or the lengths differ.
    """
    pixels = _pixels(images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images), layout)
    given = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels
    if given is None:
        codes, known = np.full(len(pixels), -1, dtype=np.int64), tuple(class_names or ())
    else:
        codes, known = label_codes(np.asarray(given), class_names)
    return ImageData(torch.from_numpy(pixels), torch.from_numpy(codes), known, None if names is None else tuple(names))


def as_float(images: Tensor, binarize: Binarize = None, generator: torch.Generator | None = None) -> Tensor:
    """Turn uint8 images into float32 in [0, 1].

    Args:
        images: uint8, any shape; float32 in [0, 1] stays as it is.
        binarize: `"threshold"` gives 1.0 where a value is above 0.5, else 0.0 (PixelGAN autoencoders);
            `"sample"` gives 1.0 with the value as its probability. Likelihoods under the two are not
            comparable.
        generator: for `"sample"`, on the device of the images.
    """
    x = images.float().div_(255) if images.dtype == torch.uint8 else images
    if binarize == "threshold":
        return (x > 0.5).float()
    if binarize == "sample":
        return (torch.rand(x.shape, generator=generator, device=x.device) < x).float()
    return x


def in_batches(
    images: Tensor, batch_size: int = 500, device: torch.device | str = "cpu", binarize: Binarize = None
) -> Iterator[Tensor]:
    """Iterate over all images in order, as float32 in [0, 1] on a device.

    Args:
        images: uint8, or float32 in [0, 1], (n, ...).
        batch_size: images at a time.
        device: where they are wanted.
        binarize: see `as_float`; `"sample"` draws the same at every call.
    """
    generator = torch.Generator(device).manual_seed(0) if binarize == "sample" else None
    for part in torch.split(images, batch_size):
        yield as_float(part.to(device), binarize, generator)


def as_uint8(x: Tensor) -> Tensor:
    """Turn images in [0, 1] into uint8, rounded; the inverse of `as_float` for values that came from it."""
    return x.float().mul(255).round_().clamp_(0, 255).to(torch.uint8)


def block_means(images: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Make images smaller: the means of blocks of factor x factor pixels, halves rounded up.

    Args:
        images: uint8, shape (..., h, w), h and w multiples of the factor.
        factor: 1 (the images as they are) to 16.

    Returns:
        uint8, shape (..., h / factor, w / factor).
    """
    if factor == 1:
        return images
    *outer, h, w = images.shape
    pixels = factor**2
    total = np.full((*outer, h // factor, w // factor), pixels // 2, np.uint16)
    for i, j in np.ndindex(factor, factor):
        total += images[..., i::factor, j::factor]
    return (total // pixels).astype(np.uint8)


def _pixels(images: NDArray[Any], layout: str) -> NDArray[np.uint8]:
    """Return contiguous uint8 of shape (n, c, h, w)."""
    if images.ndim not in (3, 4):
        raise DataError(f"Images have the shape {images.shape}; expected (n, h, w) or, in colour, (n, h, w, c).")
    if images.ndim == 3:
        images = images[:, None]
    elif layout == "nhwc":
        if images.shape[3] > 4 >= images.shape[1]:
            raise DataError(
                f"Images of shape {images.shape} have {images.shape[3]} channels if the last axis holds the "
                'channels; if the second one does, say layout="nchw".'
            )
        images = images.transpose(0, 3, 1, 2)
    if images.dtype == np.bool_:
        images = images.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(images.dtype, np.floating):
        images = _quantized(images)
    elif images.dtype == np.uint16 and images.size and images.max() > 255:
        images = np.rint(images / 257).astype(np.uint8)
    elif images.dtype != np.uint8:
        raise DataError(
            f"Images are {images.dtype}; expected uint8 (0 to 255), uint16 (0 to 65535) or floating point in [0, 1]. "
            "If all values are 0 to 255, convert with .astype('uint8')."
        )
    return np.array(images, order="C")  # a copy: later changes to the caller's array do not reach the data


def _quantized(images: NDArray[Any]) -> NDArray[np.uint8]:
    if images.size:
        low, high = float(images.min()), float(images.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError("Images hold NaN or infinite values; replace them by values in [0, 1].")
        if low < 0 or high > 1:
            raise DataError(
                f"Images hold values from {low:g} to {high:g}; floating-point images must be in [0, 1]. "
                "Rescale them first, for example by the largest value."
            )
    return np.rint(images.astype(np.float32) * 255).astype(np.uint8)


def label_codes(labels: NDArray[Any], class_names: Sequence[str] | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels as 0 ... k-1 or -1, and the k class names; labels as `from_arrays` takes them."""
    if labels.dtype.kind == "U":
        missing, known = labels == "", tuple(class_names or sorted(set(labels.flat) - {""}))
        unknown = sorted(set(labels[~missing].flat) - set(known))
        if unknown:
            raise DataError(f"The label {str(unknown[0])!r} is not among the class names: {', '.join(known)}.")
        index = {name: code for code, name in enumerate(known)}
        codes = np.array([index.get(str(name), -1) for name in labels.flat], dtype=np.int64)
        return codes.reshape(labels.shape), tuple(str(name) for name in known)
    if labels.dtype.kind not in "iu":
        raise DataError(f"Labels are {labels.dtype}; expected integers (-1 = unlabelled) or text ('' = unlabelled).")
    codes = labels.astype(np.int64)
    if class_names is not None:
        return codes, tuple(class_names)
    if codes.size and codes.min() < -1:
        raise DataError(f"The label {codes.min()} is negative; labels count from 0, and -1 is an image without label.")
    values = np.unique(codes[codes >= 0])
    return np.where(codes >= 0, np.searchsorted(values, codes), -1), tuple(str(value) for value in values)

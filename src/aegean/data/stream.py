"""Mini-batches as a pure function of the step, so that a resumed run needs to know nothing but its step."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from aegean.data.images import Binarize, ImageData, as_float, in_batches
from aegean.data.neighbours import nearest
from aegean.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Batch:
    """One mini-batch.

    Attributes:
        x: images, float32 in [0, 1], shape (n, c, h, w).
        y: labels, int64, shape (n,); -1 = unlabelled.
        index: positions in the stream's data, int64, shape (n,).
        epoch: how many passes over the images training has made, with its fraction.
        near: of each image another one that looks alike, as `x`; None where the stream knows of none.
    """

    x: Tensor
    y: Tensor
    index: Tensor
    epoch: float
    near: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Stream:
    """Endless mini-batches of one size, in an order that depends on the seed, the name and the epoch alone.

    Each epoch visits the images in a new order and none of them twice; the images that do not fill a last
    batch wait for another epoch. Where there are fewer images than one batch holds, an epoch is one batch, in
    which the images come around again, as evenly as possible.

    Attributes:
        data: the images; batches are made on their device, without a loader and without Python per image.
        batch_size: images a batch.
        seed: of the order, and of the draws of `binarize="sample"`.
        name: tells streams of one seed apart.
        binarize: see `aegean.data.images.as_float`; "sample" draws anew at every visit.
        neighbours: at every visit an image comes with one of so many others that look most like it, drawn anew; they
            are looked for when the first mini-batch is made (`aegean.data.neighbours`). 0 does without.

    Raises:
        ConfigError: there is no image, a batch would be empty, or there are not so many neighbours.
    """

    data: ImageData
    batch_size: int
    seed: int
    name: str = "images"
    binarize: Binarize = None
    neighbours: int = 0

    def __post_init__(self) -> None:
        if len(self.data) == 0:
            raise ConfigError(f"The stream {self.name!r} has no images; give it some, or hold out fewer.")
        if self.batch_size < 1:
            raise ConfigError(f"The stream {self.name!r} has a batch size of {self.batch_size}; it must be at least 1.")
        if not 0 <= self.neighbours < len(self.data):
            raise ConfigError(
                f"{self.neighbours} neighbours of each of {len(self.data)} training images are asked for; set "
                "consistency.neighbours to less than their number, or to 0."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return max(1, len(self.data) // self.batch_size)

    def batch(self, step: int, epoch: float | None = None, repeat: int = 0) -> Batch:
        """Return the mini-batch of a step.

        Args:
            step: counts from 0 over all epochs.
            epoch: what the batch should say; by default this stream's own `step / steps_per_epoch`. A loop
                over several streams passes the epochs of the unlabelled one.
            repeat: counts the batches within one step; each has an order of its own.
        """
        own_epoch, place = divmod(step, self.steps_per_epoch)
        key = (self.seed, *self.name.encode(), repeat)
        order = _order(len(self.data), self.batch_size, (*key, own_epoch), self.data.images.device)
        index = order[place * self.batch_size : (place + 1) * self.batch_size].clone()
        generator, near = None, None
        if self.binarize == "sample" or self.neighbours:
            seed = np.random.SeedSequence((*key, step)).generate_state(1, np.uint64)[0]
            generator = torch.Generator(self.data.images.device).manual_seed(int(seed))
        x = as_float(self.data.images[index], self.binarize, generator)  # (n, c, h, w)
        if self.neighbours:
            drawn = torch.randint(self.neighbours, (len(index), 1), generator=generator, device=index.device)
            other = self.alike[index].gather(1, drawn).flatten()
            near = as_float(self.data.images[other], self.binarize, generator)
        own = step / self.steps_per_epoch
        return Batch(x, self.data.labels[index], index, own if epoch is None else epoch, near)

    def all_images(self, batch_size: int = 500) -> Iterator[Tensor]:
        """Iterate over all images in order, (n, c, h, w) in [0, 1]; drawn pixels are the same at every call."""
        return in_batches(self.data.images, batch_size, self.data.images.device, self.binarize)

    def to(self, device: torch.device | str) -> Self:
        """Return the same stream with its data on a device, moved once and whole."""
        return replace(self, data=self.data.to(device))

    @cached_property
    def alike(self) -> Tensor:
        """Of each image the indices of those that look most like it, (n, neighbours)."""
        return self.nearest(self.neighbours)

    def nearest(self, count: int) -> Tensor:
        """Return, of each image, the indices of the others that look most like it, (n, count), nearest first."""
        return nearest(self.data.images, min(count, len(self.data) - 1)).to(self.data.images.device)


@lru_cache(maxsize=8)
def _order(n: int, batch_size: int, key: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the images of an epoch in their order: permutations, joined until they fill a batch."""
    rng = np.random.default_rng(key)
    times = -(-batch_size // n)
    return torch.from_numpy(np.concatenate([rng.permutation(n) for _ in range(times)])).to(device)

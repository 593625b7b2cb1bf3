"""What the explorer's page asks of a run: a map of codes, images of codes, and what is near an image."""

import base64
import threading
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from aegean.data import ImageData, as_float
from aegean.data.images import Binarize
from aegean.errors import ConfigError, DataError, UnsupportedError
from aegean.explore.axes import Axes, corners, find_axes, neighbours
from aegean.models import CategoricalAAE, Model
from aegean.plots import image_grid, png_bytes
from aegean.plots.latent import PALETTE
from aegean.priors import Categorical, Prior, parts_of
from aegean.run import Run
from aegean.use import Advance, codes, decode_alike

#: Nearest neighbours of an image, and training images below the map.
NEIGHBOURS, THUMBNAILS = 10, 24
#: Draws of the prior that show the range of codes where there is no encoder.
PRIOR_DRAWS = 2000
#: How far points of one category are spread around its corner of the map.
SPREAD = 0.07
#: Coordinates beyond this are no codes.
MOST = 1e6

Answer = dict[str, Any]


class Session:
    """A model, some images and their codes, and everything that the page can ask about them.

    All answers are plain values for JSON; images are data URIs of PNG. It may be asked from several threads.

    Args:
        model: with a decoder of codes.
        data: images for the map.
        z: their codes, (n, d); None where the model has no encoder.
        binarize: how the images are made black and white.
        seed: of the decoder's noise, and of draws of the prior.

    Raises:
        UnsupportedError: the model makes no images of codes.
        DataError: a code is not finite, or there are fewer than two.
    """

    def __init__(
        self, model: Model, data: ImageData, z: Tensor | None, binarize: Binarize = None, seed: int = 0
    ) -> None:
        require_decoder(model)
        self.model, self.data, self.binarize, self.seed = model, data, binarize, seed
        self.prior: Prior | None = getattr(model, "prior", None)
        self._lock = threading.Lock()
        # Cluster heads make one code of category and style, and that is what there is to explore.
        self.merged = model if isinstance(model, CategoricalAAE) and model.heads is not None else None
        self.encodes = z is not None
        seen = z if z is not None else self._prior_draws(PRIOR_DRAWS, seed)
        if len(seen) < 2:
            raise DataError(f"A map needs two images or more; found {len(seen)}.")
        if not seen.isfinite().all():
            raise DataError("A code is not finite: the model has diverged; train it again with smaller rates.")
        self.z = self._merge(seen)
        self.categories: tuple[slice, ...] = ()
        if self.merged is None and self.prior is not None:
            self.categories = tuple(where for part, where in parts_of(self.prior) if isinstance(part, Categorical))
        free = torch.ones(self.z.shape[1], dtype=torch.bool)
        for where in self.categories:
            free[where] = False
        self.axes: Axes = find_axes(self.z, free, principal=self.encodes)
        self.draws = self._draws()

    # ---- answers --------------------------------------------------------------------------------------------------

    def describe(self) -> Answer:
        """Return what the page needs to know at its start."""
        polygon = self._polygon()
        points, view = self._map(polygon)
        groups, names = self._groups()
        return {
            "dim": self.z.shape[1],
            "start": self._start().tolist(),
            "origin": self.axes.origin.tolist(),
            "axes": [
                {"name": name, "low": low, "high": high, "direction": direction}
                for name, low, high, direction in zip(
                    self.axes.names,
                    self.axes.low.tolist(),
                    self.axes.high.tolist(),
                    self.axes.directions.tolist(),
                    strict=True,
                )
            ],
            "categoryWord": "Class" if self.model.supervised else "Cluster",
            "categories": [
                {"start": where.start, "stop": where.stop, "names": self._category_names(where)}
                for where in self.categories
            ],
            "corners": None if polygon is None else polygon.tolist(),
            "points": [[round(x, 4), round(y, 4)] for x, y in points.tolist()] if self.encodes else [],
            "view": view,
            "groups": groups,
            "groupNames": names,
            "palette": list(PALETTE),
            "draws": self.draws,
            "seed": self.seed,
            "encodes": self.encodes,
            "components": self._component_names(),
            "samples": self.can_sample,
            "pixelated": min(self.data.images.shape[2:]) < 64,
            "thumbnails": [self._thumbnail(k) for k in range(min(THUMBNAILS, len(self.data)))] if self.encodes else [],
        }

    def sentences(self) -> list[str]:
        """Return what the page says above the map."""
        d, n = self.z.shape[1], len(self.z)
        said = [f"The model {self.model.kind} makes images of codes of {d} number{'' if d == 1 else 's'}."]
        if not self.encodes:
            said.append(
                "It has no encoder, so no training image has a place on the map: drag, move sliders, or sample."
            )
        else:
            said.append(f"Every point is one of {n:,} training images.")
        if self._polygon() is not None:
            said.append(
                "Each corner of the map is a category; between the corners is a mixture, which training avoids."
            )
        elif self.axes.names[0].startswith("component"):
            what = "styles" if self.categories else "codes"
            said.append(
                f"The map is the plane of the first two principal components of their {what}, in which lie "
                f"{100 * self.axes.share:.0f} % of the variance."
            )
        if self.merged is not None:
            said.append("Codes are the sum of cluster head and style.")
        if self.draws:
            said.append("The decoder draws: images of all codes have the same noise until you ask for other noise.")
        return said

    def decode(self, code: list[float], seed: int) -> Answer:
        """Return the image of a code.

        Raises:
            ConfigError: it is no code of the model's.
        """
        if len(code) != self.z.shape[1]:
            raise ConfigError(f"A code of this model has {self.z.shape[1]} numbers, not {len(code)}.")
        z = torch.tensor([code])
        if not (z.abs() <= MOST).all():
            raise ConfigError(f"The numbers of a code must lie between {-MOST:g} and {MOST:g}.")
        return {"image": _uri(self._decode(z, seed))}

    def look(self, index: int, seed: int) -> Answer:
        """Return an image of the map, its code, its reconstruction, and its nearest neighbours in code space.

        Raises:
            ConfigError: there is no such image.
        """
        if not (self.encodes and 0 <= index < len(self.data)):
            raise ConfigError(f"There is no image {index} on the map.")
        near, distances = neighbours(self.z, index, NEIGHBOURS)
        return {
            **self._thumbnail(index),
            "code": self.z[index].tolist(),
            "reconstruction": _uri(self._decode(self.z[index : index + 1], seed)),
            "neighbours": [
                {**self._thumbnail(k), "distance": distance}
                for k, distance in zip(near.tolist(), distances.tolist(), strict=True)
            ],
        }

    def sample(self, label: int | None, seed: int) -> Answer:
        """Draw a code from the prior, or from one of its classes, and return it with its image.

        Raises:
            ConfigError: there is no such class.
            UnsupportedError: the model cannot draw.
        """
        if not self.can_sample:
            raise UnsupportedError(f"The codes of this {self.model.kind!r} follow no prior; look at images instead.")
        names = self._component_names()
        if label is not None and not 0 <= label < len(names):
            raise ConfigError(f"There is no class {label} to draw from.")
        z = self._merge(self._prior_draws(1, seed, label))
        return {"code": z[0].tolist(), "seed": seed, "image": _uri(self._decode(z, seed))}

    @property
    def can_sample(self) -> bool:
        """Whether the codes follow a prior that can be drawn from."""
        return self.prior is not None and self.model.can("sample")

    # ---- codes ----------------------------------------------------------------------------------------------------

    def _merge(self, z: Tensor) -> Tensor:
        """Codes as they are explored: with cluster heads their sum with the style, else as they are."""
        if self.merged is None:
            return z
        with torch.inference_mode():
            return self.merged.represent(z.to(self.model.device)).cpu()

    def _split(self, z: Tensor) -> Tensor:
        """A code that `_merge` turns into this one: of the first category, with the style that is missing."""
        if self.merged is None:
            return z
        first = one_hot(torch.zeros(len(z), dtype=torch.int64), self.merged.categories).float()
        head = self._merge(self.merged.join(first, torch.zeros_like(z)))
        return self.merged.join(first, z - head)

    def _decode(self, z: Tensor, seed: int) -> Tensor:
        with self._lock:
            return decode_alike(self.model, self._split(z), seed)

    def _prior_draws(self, n: int, seed: int, label: int | None = None) -> Tensor:
        if self.prior is None:
            raise UnsupportedError(f"The model {self.model.kind!r} has neither encoder nor prior; nothing to explore.")
        labels = None if label is None else torch.full((n,), label)
        return self.prior.sample(n, labels, torch.Generator().manual_seed(seed))

    def _start(self) -> Tensor:
        """A code to begin with: the first category, the middle of everything else."""
        code = self.axes.origin.clone()
        for where in self.categories:
            code[where] = 0.0
            code[where.start] = 1.0
        return code

    def _draws(self) -> bool:
        """Whether the decoder's images depend on noise."""
        z = self._start()[None]
        return not torch.equal(self._decode(z, 0), self._decode(z, 1))

    # ---- the map --------------------------------------------------------------------------------------------------

    def _polygon(self) -> Tensor | None:
        """Corners for categories where there is nothing else to make a map of."""
        if len(self.axes.names) or not self.categories:
            return None
        return corners(self.categories[0].stop - self.categories[0].start)

    def _map(self, polygon: Tensor | None) -> tuple[Tensor, Answer]:
        """Points (n, 2), and what the map shows: its middle, and half its side."""
        if polygon is not None:
            spread = torch.randn(len(self.z), 2, generator=torch.Generator().manual_seed(0))
            return self.z[:, self.categories[0]] @ polygon + SPREAD * spread, {"middle": [0.0, 0.0], "half": 1.3}
        values = self.axes.values(self.z)[:, :2]
        low, high = self.axes.low[:2], self.axes.high[:2]
        if values.shape[1] == 1:  # one number: a line through the middle of the map
            values = torch.nn.functional.pad(values, (0, 1))
            low, high = (torch.nn.functional.pad(side, (0, 1)) for side in (low, high))
        middle = (low + high) / 2
        return values, {"middle": middle.tolist(), "half": float((high - low).max()) / 2}

    def _groups(self) -> tuple[list[int], list[str]]:
        """What points are coloured by: their classes, or, without any labels, the likeliest category."""
        if not self.encodes:
            return [], []
        if not (self.data.labels >= 0).any() and self.categories:
            where = self.categories[0]
            return self.z[:, where].argmax(dim=1).tolist(), self._category_names(where)
        return self.data.labels.tolist(), list(self.data.class_names)

    def _category_names(self, where: slice) -> list[str]:
        return self._names(where.stop - where.start, self.model.supervised)

    def _component_names(self) -> list[str]:
        """Names of the prior's classes; none where samples are of the whole prior alone."""
        components = None if self.prior is None else self.prior.components
        matched = self.model.supervised or getattr(self.model.config, "label_aware", False)
        return self._names(components, matched) if components else []

    def _names(self, count: int, matched: bool) -> list[str]:
        names = self.data.class_names if matched else ()
        return [names[k] if k < len(names) else f"cluster {k}" for k in range(count)]

    def _thumbnail(self, index: int) -> Answer:
        label = int(self.data.labels[index])
        image = as_float(self.data.images[index : index + 1], self.binarize, torch.Generator().manual_seed(0))
        return {
            "index": index,
            "name": self.data.names[index] if self.data.names else None,
            "label": self.data.class_names[label] if label >= 0 else None,
            "image": _uri(image),
        }


def require_decoder(model: Model) -> None:
    """Refuse a model that makes no images of codes.

    Raises:
        UnsupportedError: it does not.
    """
    if not model.can("decode"):
        raise UnsupportedError(
            f"The model {model.kind!r} makes no images of codes, so there is nothing to explore; use a model with a "
            "decoder (AAE, VAE, PixelGAN with its reconstruction phase, GAN, ...)."
        )


def open_session(run: Run, n: int = 2000, seed: int = 0, advance: Advance | None = None) -> Session:
    """Load a run's model, and encode some of its training images.

    Args:
        run: with at least one checkpoint.
        n: how many training images, chosen at random; all where there are fewer.
        seed: of the choice, and of the decoder's noise.
        advance: called with the number of images encoded.

    Raises:
        UnsupportedError: the model makes no images of codes.
        CheckpointError: there is no model yet.
        DataError: the images cannot be read.
    """
    model = run.model()
    require_decoder(model)  # before the data is read
    splits = run.splits
    chosen = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(seed))[:n]
    # Points are coloured by every label that is known: a person looks, nothing learns.
    data = ImageData(splits.train.images, splits.train_truth, splits.train.class_names, splits.train.names)
    data = data.subset(chosen)
    z = codes(run, model, data, advance) if model.can("encode") else None
    return Session(model, data, z, splits.binarize, seed)


def _uri(images: Tensor) -> str:
    """The first of some images (n, c, h, w), pixel by pixel, as a data URI."""
    png = png_bytes(image_grid(images[:1], scale=1))
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"

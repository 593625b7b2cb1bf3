"""What a trained run is good for: draw, reconstruct, complete, encode, predict, mix."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from aegean.data import DataSettings, Folder, ImageData, Vectors, as_float, available, holds_vectors, settings_of
from aegean.data.decoding import KINDS, Form, decode, read_grey
from aegean.data.vectors import scale
from aegean.errors import ConfigError, DataError, UnsupportedError
from aegean.evaluate.apply import apply, evaluation
from aegean.models import Model
from aegean.priors import Categorical, Prior, parts_of, path
from aegean.run import Run
from aegean.train.precision import autocast

Advance = Callable[[int], None]

_log = logging.getLogger(__name__)

#: Images that are drawn at a time.
DRAWN_AT_ONCE = 100


def images_for(run: Run, model: Model, path: Path | None) -> ImageData:
    """Return the images of a folder in the form the run's model takes, or the run's own test images.

    Args:
        run: the run.
        model: its model.
        path: a folder of images, scaled and cropped to the model's size, or a file of vectors, scaled as those of
            training were; None for the test images.

    Raises:
        DataError: no such folder, no images in it, or a damaged one; or the run holds no test images.
    """
    data = run.experiment.data
    if path is None:
        if not len(run.splits.test):
            raise DataError(f"{run.folder}: holds no test images; name a folder of images after it.")
        return run.splits.test
    channels, height, width = model.shape
    if run.scaler is not None:
        vectors = data if isinstance(data, Vectors) else Vectors(path=str(path))
        return scale(vectors.override({"path": str(path)}).read(), run.scaler)
    if channels not in (1, 3):
        raise DataError(f"The model takes images of {channels} channels; a folder holds grey or colour ones.")
    folder = data if isinstance(data, Folder) else Folder(path=str(path))
    form = {"path": str(path), "labels_file": None, "size": (height, width), "channels": 1 if channels == 1 else 3}
    images, problems = folder.override(form).read()
    if problems:
        _log.warning("files left out because they cannot be read: %d; the first: %s", len(problems), problems[0])
    return images


def draw_samples(
    model: Model,
    n: int,
    label: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    advance: Advance | None = None,
) -> Tensor:
    """Draw new images, float32 in [0, 1], (n, c, h, w), on the CPU.

    Args:
        model: a trained model.
        n: how many.
        label: the class or cluster to draw from; None for the whole prior.
        seed: same seed, same images.
        dtype: number format of network passes.
        advance: called with the number of images done.

    Raises:
        ConfigError: the model has no such class.
        UnsupportedError: the model has no classes.
    """
    if label is not None:
        if model.components is None:
            raise UnsupportedError(f"The model {model.kind!r} has no classes to draw from; leave --class out.")
        if label >= model.components:
            raise ConfigError(f"--class {label}: the model has the classes 0 to {model.components - 1}.")
    generator = torch.Generator().manual_seed(seed)
    parts: list[Tensor] = []
    for start in range(0, n, DRAWN_AT_ONCE):
        count = min(DRAWN_AT_ONCE, n - start)
        y = None if label is None else torch.full((count,), label)
        with evaluation(model), autocast(model.device, dtype):
            parts.append(model.sample(count, y, generator).float().cpu())
        if advance:
            advance(start + count)
    return torch.cat(parts)


def reconstructions(
    run: Run, model: Model, data: ImageData, n: int, seed: int = 0, advance: Advance | None = None
) -> tuple[Tensor, Tensor]:
    """Return the first n images as the model sees them, and their reconstructions, each (n, c, h, w) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    originals = as_float(data.images[:n], run.experiment.data.binarize, torch.Generator().manual_seed(0))
    rebuilt = apply(
        model,
        lambda x: model.reconstruct(x, generator),
        originals,
        run.precision,
        batch_size=DRAWN_AT_ONCE,
        progress=advance,
    )
    return originals, rebuilt


def known_pixels(keep: str | None, mask: Path | None, size: tuple[int, int]) -> Tensor:
    """Return which pixels of an image are known, boolean (h, w).

    Args:
        keep: the half that is known, `"top"`, `"bottom"`, `"left"` or `"right"`; or the share of rows that are,
            counted from the top, as `"0.3"`. None for the top, where there is no mask.
        mask: an image that is white where pixels are known and black where they are not, in place of `keep`.
        size: height and width.

    Raises:
        ConfigError: `keep` is none of these, or is given beside a mask; or no pixel, or every pixel, would be known.
        DataError: the mask cannot be read, or has another size.
    """
    height, width = size
    if mask is not None:
        if keep is not None:
            raise ConfigError("--keep and --mask both say which pixels are known; give one of them.")
        pixels = read_grey(mask)
        if pixels.shape != size:
            found = "x".join(map(str, pixels.shape))
            raise DataError(f"{mask}: is {found} (height x width), the model's images are {height}x{width}; scale it.")
        known, where = torch.from_numpy(pixels > 127), str(mask)
    else:
        keep = keep or "top"
        known, where = _side(keep, height, width), f"--keep {keep}"
    if known.all() or not known.any():
        which = "every pixel is known, so nothing is left to draw" if known.all() else "no pixel is known"
        raise ConfigError(f"{where}: of {height}x{width} pixels {which}; keep some and leave some.")
    return known


def _side(keep: str, height: int, width: int) -> Tensor:
    """The kept half, or the upper rows, of an image; boolean (h, w)."""
    row, column = torch.arange(height)[:, None].expand(height, width), torch.arange(width).expand(height, width)
    sides = {
        "top": row < height // 2,
        "bottom": row >= height - height // 2,
        "left": column < width // 2,
        "right": column >= width - width // 2,
    }
    if keep in sides:
        return sides[keep]
    try:
        share = float(keep)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise ConfigError(f"--keep {keep}: write top, bottom, left, right, or the share of rows between 0 and 1.")
    return row < round(share * height)


def completions(
    run: Run,
    model: Model,
    data: ImageData,
    known: Tensor,
    n: int,
    draws: int,
    candidates: int = 100,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Complete the first images of a set from some of their pixels.

    Args:
        run: how images are made black and white, if they are.
        model: with a PixelCNN decoder.
        data: the images; their unknown pixels are not looked at.
        known: which pixels are given, boolean (h, w).
        n: how many images.
        draws: completions of each.
        candidates: see `Model.complete`.
        seed: same seed, same completions.
        progress: called with the work done and the work in all.

    Returns:
        The first n images as the model sees them, (n, c, h, w), and their completions, (n, draws, c, h, w), all in
        [0, 1].

    Raises:
        UnsupportedError: the model cannot complete images.
    """
    generator = torch.Generator().manual_seed(seed)
    originals = as_float(data.images[:n], run.experiment.data.binarize, torch.Generator().manual_seed(0))
    repeated = originals.repeat_interleave(draws, dim=0)
    parts = []
    for start in range(0, len(repeated), DRAWN_AT_ONCE):
        x = repeated[start : start + DRAWN_AT_ONCE]

        def report(done: int, work: int, start: int = start, count: int = len(x)) -> None:
            if progress:
                progress(start * work + count * done, len(repeated) * work)

        with evaluation(model):
            parts.append(model.complete(x, known, generator, candidates, report).cpu())
    return originals, torch.cat(parts).view(len(originals), draws, *originals.shape[1:])


def codes(run: Run, model: Model, data: ImageData, advance: Advance | None = None) -> Tensor:
    """Return the codes of images, (n, d)."""
    return apply(model, model.encode, data.images, run.precision, run.experiment.data.binarize, progress=advance)


def predictions(run: Run, model: Model, data: ImageData, advance: Advance | None = None) -> Tensor:
    """Return the probability of each class or cluster, (n, k), calibrated where the run is.

    Raises:
        UnsupportedError: the model's code is continuous.
    """
    if run.temperature == 1:
        return apply(model, model.predict, data.images, run.precision, run.experiment.data.binarize, progress=advance)
    binarize = run.experiment.data.binarize
    log_q = apply(model, model.log_predict, data.images, run.precision, binarize, progress=advance)
    return (log_q / run.temperature).softmax(dim=1)


def image_files(run: Run, model: Model, files: Sequence[Path]) -> Tensor:
    """Return single image files as the model sees them: scaled, cropped, made grey and black and white as in training.

    Returns:
        (n, c, h, w) in [0, 1].

    Raises:
        DataError: there is no such file, or it is damaged or no image; or the model takes no images of files.
    """
    channels, height, width = model.shape
    if run.scaler is not None or channels not in (1, 3):
        raise DataError(f"The model was not trained on images but on {channels} numbers each; image files do not fit.")
    data = run.experiment.data
    background = data.background if isinstance(data, Folder) else "white"
    form = Form((height, width), 1 if channels == 1 else None, background)
    images = []
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: no such file; give a {KINDS} image.")
        found = decode(file, str(file), form, f"give a {KINDS} image")
        if isinstance(found, DataError):
            raise found
        pixels = torch.tensor(found.pixels)
        images.append(pixels.permute(2, 0, 1) if pixels.dim() == 3 else pixels.expand(channels, -1, -1))
    return as_float(torch.stack(images), run.experiment.data.binarize, torch.Generator().manual_seed(0))


def decode_alike(model: Model, z: Tensor, seed: int = 0, advance: Advance | None = None) -> Tensor:
    """Return the images of codes, all with the same noise where the decoder draws: only the code makes a difference.

    In float32, so that a small step of the code is a small step of the image.

    Args:
        model: a trained model.
        z: (n, d).
        seed: of the noise.
        advance: called with the number of images done.

    Returns:
        (n, c, h, w) in [0, 1], on the CPU.

    Raises:
        UnsupportedError: the model makes no images of codes.
    """
    parts = []
    for index, code in enumerate(torch.split(z, 1)):
        with evaluation(model):
            image = model.decode(code.to(model.device), torch.Generator().manual_seed(seed))
        parts.append(image.float().cpu())
        if advance:
            advance(index + 1)
    return torch.cat(parts)


def transfer(model: Model, content: Tensor, style: Tensor, seed: int = 0) -> Tensor:
    """Return images with the content of some and the style of others.

    The content is the category that the encoder sees in an image, the style the rest of its code.

    Args:
        model: with a category and a style in its code.
        content: images as the model sees them, (n, c, h, w).
        style: the same number of images.
        seed: of the decoder's noise, where it draws.

    Raises:
        UnsupportedError: the model's code is no category, or nothing else.
    """
    _require_both_ways(model)
    prior: Prior | None = getattr(model, "prior", None)
    parts = parts_of(prior) if prior is not None else ()
    categories = [where for part, where in parts if isinstance(part, Categorical)]
    if not 0 < len(categories) < len(parts):
        holds = "a category and no style" if categories else "no category"
        raise UnsupportedError(
            f"The code of the model {model.kind!r} holds {holds}, so content cannot be told from style; train a model "
            "with both, such as 'aae-categorical', or use: aegean interpolate"
        )
    z = apply(model, model.encode, style)
    mixed, wanted = z.clone(), apply(model, model.encode, content)
    for where in categories:
        mixed[:, where] = wanted[:, where]
    return decode_alike(model, mixed, seed)


def interpolate(
    model: Model, first: Tensor, last: Tensor, n: int, seed: int = 0, advance: Advance | None = None
) -> Tensor:
    """Return images on the way from the code of an image to that of another; see `aegean.priors.path`.

    Args:
        model: with an encoder and a decoder.
        first: an image as the model sees it, (c, h, w).
        last: another.
        n: how many images; the first and the last of them are reconstructions of the two.
        seed: of the decoder's noise, where it draws; the same for all images.
        advance: called with the number of images done.

    Returns:
        (n, c, h, w) in [0, 1].

    Raises:
        UnsupportedError: the model has no encoder, or makes no images of codes.
    """
    _require_both_ways(model)
    start, end = apply(model, model.encode, torch.stack((first, last)))
    return decode_alike(model, path(getattr(model, "prior", None), start, end, n), seed, advance)


def _require_both_ways(model: Model) -> None:
    if not (model.can("encode") and model.can("decode")):
        raise UnsupportedError(
            f"The model {model.kind!r} does not lead from images to codes and back; use an autoencoder (AAE, VAE, "
            "PixelGAN, ...), or draw images with: aegean sample"
        )


def data_source(source: str, size: str | None = None, labels: Path | None = None) -> DataSettings:
    """Return the data configuration that a person means: the name of a data set, a folder, or a file of vectors.

    Raises:
        ConfigError: the size is not of the form 32x32.
        DataError: there is neither such a data set nor such a folder.
    """
    if source in [benchmark.name for benchmark in available()] or not Path(source).exists():
        return settings_of(source)  # which names the nearest data set where there is none
    if Path(source).is_file() and holds_vectors(source):
        return Vectors(path=source)
    pair = None
    if size is not None:
        height, _, width = size.partition("x")
        if not (height.isdigit() and width.isdigit()):
            raise ConfigError(f"--size {size}: write height x width, as 32x32.")
        pair = (int(height), int(width))
    return Folder(path=source, size=pair, labels_file=str(labels) if labels else None)

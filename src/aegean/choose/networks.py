"""Which model, networks and terms suit the data; each choice with its reason in words for everyone."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from aegean.choose.summary import DataSummary
from aegean.errors import ConfigError
from aegean.likelihoods import Bernoulli, DiscretizedLogisticMixture
from aegean.models.consistency import neighbours_of
from aegean.nn import (
    ConvEncoderConfig,
    ImageDiscriminatorConfig,
    MLPConfig,
    StridedDecoderConfig,
    StridedEncoderConfig,
)
from aegean.nn.augment import Jitter
from aegean.recipes import get

Task = Literal["classify", "cluster", "embed"]
ModelName = Literal["aae", "pixelgan", "implicit"]

#: What each task and model starts from: the recipe that is measured to work, or the nearest one to it.
RECIPES: dict[tuple[Task, ModelName], str] = {
    ("classify", "aae"): "aae-mnist-100-neighbours",
    ("classify", "pixelgan"): "pixelgan-mnist-100-neighbours",
    ("classify", "implicit"): "implicit-mnist-100-neighbours",
    ("cluster", "aae"): "aae-mnist-30-consistent",
    ("cluster", "pixelgan"): "pixelgan-mnist-30-consistent",
    ("cluster", "implicit"): "implicit-mnist-30-neighbours",
    ("embed", "aae"): "aae-mnist-2d",
    ("embed", "pixelgan"): "pixelgan-mnist-gaussian",
    ("embed", "implicit"): "implicit-mnist-10d",
}

#: Images that look alike are linked if this share of the labelled ones, chance left aside, look most like one of their
#: class.
ALIKE = 0.5
#: To look for neighbours among more images takes minutes and more.
MOST_LINKED = 150_000

#: Up to so many examples are few: their clusters are better for several beginnings than for finer ones.
FEW = 10_000
#: Clusters of more images are merged from so many finer ones, which hold one kind each, after this share of training.
FINER, FINER_SHARE = 50, 0.25

#: Smaller images get fully connected networks, and small ones convolutions that keep their size.
SMALLEST_SIDE, SMALL_SIDE = 4, 12
#: Vectors of fewer numbers lose too much when one is swapped.
FEW_NUMBERS = 8


@dataclass
class Choice:
    """Settings that differ from a recipe's, by their dotted keys, and why.

    Attributes:
        changes: for `Experiment.override`.
        reasons: one sentence a choice.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def add(self, reason: str, **changes: object) -> None:
        """Add a choice; in the names of settings, `__` stands for a dot."""
        self.changes |= {name.replace("__", "."): value for name, value in changes.items()}
        if reason:
            self.reasons.append(reason)


def choose_model(task: Task, model: ModelName, data: DataSummary, groups: int, dim: int) -> Choice:
    """Choose the parts of a model.

    Args:
        task: what it is for.
        model: which family.
        data: what it is for.
        groups: classes or clusters; not for "embed".
        dim: of the code, for "embed".

    Raises:
        ConfigError: a PixelGAN for vectors.
    """
    choice = Choice()
    {"aae": _aae, "pixelgan": _pixelgan, "implicit": _implicit}[model](choice, task, data)
    if neighbours_of(get(RECIPES[task, model]).model):
        _neighbours(choice, task, data)
    if task == "cluster":
        _finer(choice, get(RECIPES[task, model]).train.epochs, data, groups)
    if task == "embed":
        choice.add(f"Each of the {data.what} becomes {dim} coordinates, as asked.", model__prior__dim=dim)
    else:
        part = "category" if model == "aae" else "prior"
        what = f"{groups} classes: those of the labels." if task == "classify" else f"{groups} clusters, as asked."
        choice.add(what, **{f"model__{part}__categories": groups})
    return choice


def _aae(choice: Choice, task: Task, data: DataSummary) -> None:
    layers = _layers(data).to_dict()
    choice.add("", model__decoder=layers, model__discriminator=layers)
    if task == "embed":
        choice.add(_why_layers(data), model__encoder=_coordinates(data).to_dict())
        return
    _encoder(choice, data)
    _consistency(choice, task, data)
    style = min(10 if task == "classify" else 5, max(1, data.numbers // 4))
    choice.add(f"Besides its class or cluster, {style} numbers describe how each one looks.", model__style__dim=style)


def _pixelgan(choice: Choice, task: Task, data: DataSummary) -> None:
    if data.vectors:
        raise ConfigError(
            "A PixelGAN draws an image pixel after pixel, and vectors have no pixels; choose the model 'aae' or "
            "'implicit', or give the shape of the images."
        )
    blocks = 4 if data.side < SMALL_SIDE else 6
    choice.add(
        f"The decoder draws pixel by pixel with {blocks} blocks of layers, enough for {data.size}.",
        model__decoder__blocks=blocks,
    )
    _pixels(choice, data)
    layers = _layers(data).to_dict()
    choice.add("", model__discriminator=layers)
    if task == "embed":
        choice.add(_why_layers(data), model__encoder=_coordinates(data).to_dict(), model__prior__std=1.0)
        return
    _encoder(choice, data)


def _implicit(choice: Choice, task: Task, data: DataSummary) -> None:
    layers = _layers(data)
    choice.add("", model__code_discriminator=layers.to_dict())
    if task == "embed":
        choice.add(_why_layers(data), model__encoder=layers.override({"batch_norm": "last"}).to_dict())
    else:
        _encoder(choice, data)
        _consistency(choice, task, data)
    noise = min(100 if task == "embed" else 10, max(1, data.numbers // 2))
    choice.add(f"{noise} random numbers stand for what the code does not say.", model__noise=noise)
    if data.side < SMALLEST_SIDE:
        choice.add("", model__decoder=layers.to_dict(), model__discriminator=layers.to_dict())
        return
    count = _halvings(data)
    widths = [min(256, 64 * 2**k) for k in range(count)]
    decoder = StridedDecoderConfig(widths=tuple(widths[::-1]), kernel=4, hidden=(layers.widths[0],))
    conditioning: Literal["location-invariant", "location-dependent"] = (
        "location-dependent" if task == "embed" else "location-invariant"
    )
    discriminator = ImageDiscriminatorConfig(
        widths=tuple(widths), kernel=4, hidden=(layers.widths[0],), activation="relu", conditioning=conditioning
    )
    choice.add(
        f"Decoder and critic halve the size {count} times, down to a few cells.",
        model__decoder=decoder.to_dict(),
        model__discriminator=discriminator.to_dict(),
    )


def _layers(data: DataSummary) -> MLPConfig:
    """Fully connected networks: as wide as their inputs ask for and as the number of examples allows."""
    if data.vectors:
        width = 2 ** round(math.log2(max(16, min(4 * data.numbers, 2 * data.n, 1024))))
    else:
        width = 1000 if data.numbers >= 400 else 500
    return MLPConfig(widths=(width, width))


def _coordinates(data: DataSummary) -> MLPConfig:
    """Batch normalisation to the last layer gives codes the prior's mean and width from the first step on.

    Without it, codes of photographs, which are mostly alike, stay in one place: the discriminator wins at once.
    """
    return _layers(data).override({"batch_norm": "all"})


def _why_layers(data: DataSummary) -> str:
    width = _layers(data).widths[0]
    return f"Fully connected networks of {width} units a layer, for {data.n} {data.what} of {data.size}."


def _encoder(choice: Choice, data: DataSummary) -> None:
    """Convolutions where there is something to convolve; batch normalisation in all layers keeps categories alive."""
    if data.side < SMALLEST_SIDE:
        choice.add(_why_layers(data), model__encoder=_layers(data).override({"batch_norm": "all"}).to_dict())
    elif data.side < SMALL_SIDE:
        small = ConvEncoderConfig(stages=((2, 3, 32), (2, 3, 32)), batch_norm="all")
        choice.add(f"Small filters (3x3), because the images are small: {data.size}.", model__encoder=small.to_dict())
    else:
        widths = tuple(min(256, 32 * 2**k) for k in range(_halvings(data)))
        strided = StridedEncoderConfig(widths=widths, kernel=5, batch_norm="all")
        choice.add(
            f"{len(widths)} layers of filters that halve {data.size} each time, so that the last one sees the whole.",
            model__encoder=strided.to_dict(),
        )


def _halvings(data: DataSummary) -> int:
    """So many that three or four pixels a side are left: 3 for 28 pixels."""
    return max(1, min(5, round(math.log2(data.side / 3.5))))


def _consistency(choice: Choice, task: Task, data: DataSummary) -> None:
    """Images: the recipe's. Vectors: what it means to shift or rotate one is not known, so noise and swaps."""
    if not data.vectors:
        how = "Small shifts, rotations and slants" if task == "classify" else "Shifts, rotations and slants"
        choice.add(f"{how} of an image must not change its class or cluster.")
        return
    swap = 0.0 if data.numbers < FEW_NUMBERS else 0.1
    change = Jitter(swap=swap).to_dict()
    choice.add("A little noise on a vector must not change its class or cluster.", model__consistency__change=change)


def _neighbours(choice: Choice, task: Task, data: DataSummary) -> None:
    """The recipe's, where the labelled ones show that neighbours are mostly of one class, far beyond chance."""
    enough = ALIKE + (1 - ALIKE) / max(1, data.classes)
    if task == "classify" and data.n <= MOST_LINKED and data.alike is not None and data.alike >= enough:
        choice.add(
            f"{round(100 * data.alike)} of 100 labelled {data.what} look most like another one of their class, so at "
            "first those that look alike shall be of one class."
        )
    else:
        choice.add("", model__consistency__neighbours=0, model__consistency__neighbour_epochs=0.0)


def _finer(choice: Choice, epochs: int, data: DataSummary, groups: int) -> None:
    """So few clusters would hold two kinds each, and halves of others, from which they do not come away."""
    if data.vectors or data.n <= FEW or 2 * groups > FINER:
        return
    choice.add(
        f"{FINER} smaller clusters first; after a quarter of the training those that an image moves between with small "
        f"changes become one, until {groups} are left.",
        model__consistency__finer=FINER,
        model__consistency__finer_epochs=FINER_SHARE * epochs,
    )


def _pixels(choice: Choice, data: DataSummary) -> None:
    if data.levels == 2 and data.shape[0] == 1:
        choice.add("Pixels are black or white.", model__likelihood=Bernoulli().to_dict())
        return
    colour = data.shape[0] == 3
    mixture = DiscretizedLogisticMixture(components=10 if colour else 5, levels=data.levels)
    kind = "colours, red, green and blue together" if colour else "shades of grey"
    choice.add(f"Pixels are {kind}, of {data.levels} levels.", model__likelihood=mixture.to_dict())

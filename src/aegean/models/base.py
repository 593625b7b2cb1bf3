"""What every model is: networks, plus the phases that train them.

A model lists its phases; the one training loop (`aegean.train.loop`) runs them on every mini-batch. A phase is
one loss, the networks that it updates, and (in the recipe) the optimiser that it owns::

    def phases(self):
        return (
            Phase("reconstruct", self.reconstruction_loss, updates=(self.encoder, self.decoder)),
            Phase("discriminate", self.discriminator_loss, updates=(self.discriminator,)),
            Phase("confuse", self.confusion_loss, updates=(self.encoder,)),
        )

A network may appear in several phases: each phase has its own optimiser state for it.
"""

import json
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from aegean.config import Config, read_yaml
from aegean.data.stream import Batch, Stream
from aegean.errors import CheckpointError, ConfigError, UnsupportedError, did_you_mean
from aegean.files import atomic_write
from aegean.nn.noise import bind_rng

#: The description of a model whose images have more numbers than this, or that has more classes, is refused.
MAX_PIXELS = 100_000_000

#: Shape of one image: channels, height, width.
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Phase:
    """One loss, the networks it updates, and when it runs.

    Attributes:
        name: unique within the model; the recipe's optimisers and the logs use it.
        loss: `loss(batch)`, or `loss(batch, shared)` inside a `Group`; returns one number a sample, shape (n,), in
            nats where the loss is a likelihood. The loop takes the mean.
        updates: the networks whose weights this phase changes, and no others.
        stream: `"images"` (all training images, label -1 where none is known) or `"labelled"` (the labelled ones
            alone, in a cycle; an epoch is always a pass over the images), or `"pairs"` (all of them in mini-batches of
            another size, see `Consistency.batch_size`).
        every: run at every so many steps.
        repeat: run so many times a step, each time on new images.
        after: first run after so many epochs, which may be a fraction (warm-up of the other phases).
    """

    name: str
    loss: Callable[..., Tensor]
    updates: tuple[nn.Module, ...]
    stream: str = "images"
    every: int = 1
    repeat: int = 1
    after: float = 0.0

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Whether the phase runs at this step (counted from 0)."""
        first = math.ceil(self.after * steps_per_epoch)
        return step >= first and (step - first) % self.every == 0


@dataclass(frozen=True)
class Moment:
    """Something that a model does once, between two steps, with all training images.

    Attributes:
        after: so many epochs, which may be a fraction.
        act: given the stream of the images.
    """

    after: float
    act: Callable[[Stream], None]


@dataclass(frozen=True)
class Group:
    """Phases that share one forward pass over one mini-batch.

    Attributes:
        forward: `forward(batch)`; what it returns is given to each phase's loss as the second argument.
        uses: the networks that `forward` runs.
        phases: their losses; all read the same stream and run at the same steps.
        simultaneous: if true, every loss is differentiated before any network is stepped (VAE/GAN). If false, the
            phases alternate as usual and only share the work; then none but the last may update what `forward` uses.
    """

    forward: Callable[[Batch], Any]
    uses: tuple[nn.Module, ...]
    phases: tuple[Phase, ...]
    simultaneous: bool = False

    def __post_init__(self) -> None:
        first = self.phases[0]
        for phase in self.phases[1:]:
            if (phase.stream, phase.every, phase.repeat, phase.after) != (
                first.stream,
                first.every,
                first.repeat,
                first.after,
            ):
                raise ConfigError(f"Phases {first.name!r} and {phase.name!r} share a forward pass but not its timing.")
        if not self.simultaneous:
            used = {id(parameter) for network in self.uses for parameter in network.parameters()}
            for phase in self.phases[:-1]:
                if used & {id(parameter) for network in phase.updates for parameter in network.parameters()}:
                    raise ConfigError(
                        f"Phase {phase.name!r} updates a network of the shared forward pass before the others have "
                        "used it; declare the group simultaneous, or give the phases forward passes of their own."
                    )


class Model(nn.Module):
    """Base of all models.

    Args:
        config: the model's configuration.
        shape: shape (c, h, w) of one image.
        classes: number of classes of the data, 0 if unknown.

    A run owns its randomness: noise inside a model comes from `self.rng` alone (see `seed_noise`).
    """

    kind: ClassVar[str]
    config_class: ClassVar[type[Config]]

    def __init__(self, config: Config, shape: Shape, classes: int = 0) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.classes = classes
        self.rng = torch.Generator()
        self.observed: dict[str, Tensor] = {}

    @classmethod
    def create(cls, config: Config, shape: Shape, classes: int = 0, seed: int = 0, **parts: Any) -> Self:
        """Build a model whose initial weights and noise depend on `seed` alone.

        Args:
            config: the model's configuration.
            shape: shape (c, h, w) of one image.
            classes: number of classes of the data, 0 if unknown.
            seed: of weights and noise; torch's global generator is left as it was.
            parts: networks or a prior of your own in place of the configured ones, where the model takes them.

        Raises:
            ConfigError: parts of the configuration do not fit each other or the images.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = cls(config, shape, classes, **parts)
        model.seed_noise(seed)
        return model

    # ---- training -------------------------------------------------------------------------------------------------

    @abstractmethod
    def phases(self) -> tuple[Phase | Group, ...]:
        """Return the phases in the order in which they run on each mini-batch."""

    def moments(self) -> tuple[Moment, ...]:
        """Return what is done once between two steps; nothing, where a model does not say."""
        return ()

    def all_phases(self) -> Iterator[Phase]:
        """Iterate over the phases, those inside groups too."""
        for item in self.phases():
            yield from item.phases if isinstance(item, Group) else (item,)

    def observe(self, **metrics: Tensor) -> None:
        """Hand metrics of the current phase to the log; the loop averages them over the epoch.

        Args:
            metrics: tensors of any shape; they are detached and stay on the device.
        """
        self.observed.update({name: value.detach().float() for name, value in metrics.items()})

    def seed_noise(self, seed: int, device: torch.device | str = "cpu") -> None:
        """Give the model and all its noise layers one generator of their own on `device`."""
        self.rng = torch.Generator(device=device)
        self.rng.manual_seed(seed)
        bind_rng(self, self.rng)

    # ---- use ------------------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes of images, (n, c, h, w) in [0, 1] to (n, d), without noise."""
        raise UnsupportedError(f"{self._name} has no encoder.")

    def decode(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the images of codes, (n, d) to (n, c, h, w) in [0, 1]."""
        raise UnsupportedError(f"{self._name} has no decoder of codes.")

    def reconstruct(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return what the decoder makes of the codes of images, (n, c, h, w) to (n, c, h, w)."""
        return self.decode(self.encode(x), generator)

    def sample(self, n: int, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draw new images, (n, c, h, w) in [0, 1].

        Args:
            n: how many.
            y: classes or clusters to draw from, (n,) int64, where the model has them.
            generator: of the prior's and the decoder's noise.
        """
        raise UnsupportedError(f"{self._name} cannot draw images.")

    def complete(
        self,
        x: Tensor,
        known: Tensor,
        generator: torch.Generator | None = None,
        candidates: int = 100,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Draw the unknown pixels of images, given the known ones; see `aegean.models.completion.complete`.

        Args:
            x: images in [0, 1], (n, c, h, w); what their unknown pixels are does not matter.
            known: True where a pixel is known; boolean, (h, w) or (n, 1, h, w).
            generator: of all draws.
            candidates: codes, or whole completions, that are weighed for each image.
            progress: called with the work done and the work in all.

        Returns:
            (n, c, h, w) in [0, 1].
        """
        raise UnsupportedError(
            f"{self._name} cannot complete images; that takes a PixelCNN decoder (the models 'pixelgan', 'pixelcnn')."
        )

    def predict(self, x: Tensor) -> Tensor:
        """Return the probability of each class or cluster, (n, c, h, w) to (n, k)."""
        raise UnsupportedError(
            f"{self._name} has a continuous code, so it predicts no classes; use encode, or a model with a "
            "categorical prior."
        )

    def log_predict(self, x: Tensor) -> Tensor:
        """Return the logarithm of `predict`, computed so that confident predictions can still be told apart."""
        return self.predict(x).log()

    def reconstruction_log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x | z) at the code of x, shape (n,), in nats."""
        raise UnsupportedError(f"{self._name} has no likelihood.")

    @property
    def supervised(self) -> bool:
        """Whether `predict` returns the classes of the labels rather than clusters without names."""
        return False

    @property
    def components(self) -> int | None:
        """How many classes or components of the prior `sample` can be asked for; None if there are no such."""
        found: int | None = getattr(getattr(self, "prior", None), "components", None)
        return found

    def can(self, task: str) -> bool:
        """Whether the model supports a task by the name of its method (`"sample"`, `"predict"`, ...)."""
        return getattr(type(self), task) is not getattr(Model, task)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def _name(self) -> str:
        return f"The model {self.kind!r}"

    # ---- on disk --------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`, each atomically.

        Raises:
            OutputError: the folder cannot be written.
        """
        folder = Path(folder)
        weights = {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}
        atomic_write(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
        description = {"format": 1, "model": self.config.to_dict(), "shape": list(self.shape), "classes": self.classes}
        atomic_write(folder / "config.json", json.dumps(description, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path, **parts: Any) -> Self:
        """Load what `save_pretrained` wrote. `Model.from_pretrained` finds the class by itself.

        Args:
            folder: the folder of a model or of a checkpoint.
            parts: networks or a prior of your own, if the model was created with them.

        Raises:
            CheckpointError: something is missing, damaged, or of another model.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{folder}: no saved model here (config.json is missing).")
        kind, config, shape, classes = _read_description(folder / "config.json")
        model_class = registry().get(kind)
        if model_class is None:
            raise CheckpointError(f"{folder}: unknown model {kind!r}{did_you_mean(kind, registry())}")
        if not issubclass(model_class, cls):
            raise CheckpointError(f"{folder}: holds the model {kind!r}, not {cls.kind!r}.")
        model = model_class.create(
            model_class.config_class.from_dict(config, f"{folder / 'config.json'}"), shape, classes, **parts
        )
        load_weights(model, folder / "model.safetensors")
        return model


def registry() -> dict[str, type[Model]]:
    """All models by their `kind`."""
    found: dict[str, type[Model]] = {}
    pending = list(Model.__subclasses__())
    while pending:
        model_class = pending.pop()
        pending += model_class.__subclasses__()
        if "kind" in vars(model_class):  # not a base that others share
            found[model_class.kind] = model_class
    return found


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a safetensors file into a module, strictly.

    Raises:
        CheckpointError: the file is missing or damaged, or its names or shapes are another model's.
    """
    tensors = read_tensors(path)
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise CheckpointError(f"{path}: holds another model ({name!r} is missing).")
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: holds another model ({name!r} has shape {tuple(tensors[name].shape)}, "
                f"not {tuple(tensor.shape)})."
            )
    extra = sorted(tensors.keys() - expected.keys())
    if extra:
        raise CheckpointError(f"{path}: holds another model ({extra[0]!r} is unknown here).")
    model.load_state_dict(tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: missing, truncated or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing.") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged or truncated ({error}).") from None


def _read_description(path: Path) -> tuple[str, dict[str, Any], Shape, int]:
    try:
        values = read_yaml(path)
        kind, config = values["model"]["kind"], values["model"]  # type: ignore[index]
        channels, height, width = (int(size) for size in values["shape"])  # type: ignore[index]
        classes = int(values["classes"])  # type: ignore[index]
        if min(channels, height, width) < 1 or channels * height * width > MAX_PIXELS or not 0 <= classes <= MAX_PIXELS:
            raise ValueError(f"images of {channels}x{height}x{width} in {classes} classes")
        return str(kind), config, (channels, height, width), classes
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not the description of a model ({error}).") from None

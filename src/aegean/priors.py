"""Priors p(z): the distributions that adversarial training imposes on the codes.

All that training needs of a prior is samples. A prior of your own is any object with a method `sample(n)`
that returns a float tensor of shape `(n, dim)`; pass it through `check_prior` once, which also says what else
it may offer.
"""

import inspect
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, FiniteFloat, model_validator
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from aegean.config import Config
from aegean.errors import ConfigError, UnsupportedError

Device = torch.device | str
_Positive = Annotated[FiniteFloat, Field(gt=0)]


class Prior(ABC):
    """Base of all priors; one of your own needs only `sample`.

    Attributes:
        dim: the number of coordinates of a code.
        components: how many classes a sample can be conditioned on, or None.
    """

    if TYPE_CHECKING:  # each prior has these as a field, a constant or a property

        @property
        def dim(self) -> int: ...  # noqa: D102

        @property
        def components(self) -> int | None: ...  # noqa: D102

    @abstractmethod
    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes.

        Args:
            n: how many.
            labels: the component to draw each code from, int64 `(n,)`; -1 draws from the whole prior.
            generator: what to draw from, on `device`; the same state gives the same codes.
            device: where the codes are made.

        Returns:
            z, float32 `(n, dim)`.

        Raises:
            UnsupportedError: labels were given and the prior has no components.
            ConfigError: the labels have the wrong shape or are out of range.
        """

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, float32 `(n,)`, for codes `(n, dim)`.

        Raises:
            UnsupportedError: the density is not known in closed form.
        """
        raise UnsupportedError(f"{type(self).__name__} has samples but no density in closed form.")


class Gaussian(Prior, Config):
    """Isotropic Gaussian N(0, std² I)."""

    components: ClassVar[None] = None

    kind: Literal["gaussian"] = "gaussian"
    dim: int = Field(ge=1)
    std: _Positive = 1.0

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`."""
        _refuse_labels(self, labels)
        return self.std * torch.randn(n, self.dim, generator=generator, device=device)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, `(n,)`."""
        return _log_normal(z.float() / self.std) - self.dim * math.log(self.std)

    def percentiles(self, n: int) -> Tensor:
        """Return codes at equally spaced percentiles of both coordinates, as in figure 2e of the paper.

        Args:
            n: how many along each coordinate; their percentiles are (i + 1/2) / n.

        Returns:
            z, float32 `(n * n, 2)`, row by row from the top: the first coordinate grows rightwards, the second
            upwards.

        Raises:
            UnsupportedError: the prior has not two coordinates.
        """
        return self.std * _standard_percentiles(self, n)


class GaussianMixture(Prior, Config):
    """Equally likely Gaussians around a ring, elongated along its radius like the petals of a flower.

    The mixture of ten 2-D Gaussians of "Adversarial Autoencoders" (Makhzani et al., 2015), figures 2b and 4a.
    The paper gives no sizes; the defaults give each coordinate a variance near 1. Coordinates after the
    second, if any, are centred and as narrow as the tangential direction.

    Attributes:
        components: the number of Gaussians; label i chooses the one at angle 2πi / components.
        dim: the number of coordinates, 2 or more.
        radius: the distance of the means from the origin.
        radial_std: the standard deviation along the radius.
        tangential_std: the standard deviation across it.
    """

    kind: Literal["gaussian_mixture"] = "gaussian_mixture"
    components: int = Field(default=10, ge=1)
    dim: int = Field(default=2, ge=2)
    radius: _Positive = 1.4
    radial_std: _Positive = 0.5
    tangential_std: _Positive = 0.1

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`."""
        component = _components(self.components, n, labels, generator, device)
        return self._place(torch.randn(n, self.dim, generator=generator, device=device), component)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, `(n,)`."""
        angles = -2 * math.pi / self.components * torch.arange(self.components, device=z.device)
        unrotated = _rotate(z.float()[:, None], angles)  # (n, components, dim)
        radial = (unrotated[..., :1] - self.radius) / self.radial_std
        standard = torch.cat([radial, unrotated[..., 1:] / self.tangential_std], dim=-1)
        log_volume = math.log(self.radial_std) + (self.dim - 1) * math.log(self.tangential_std)
        return _log_normal(standard).logsumexp(dim=1) - math.log(self.components) - log_volume

    def percentiles(self, n: int, component: int) -> Tensor:
        """Return codes at equally spaced percentiles along both axes of a component, as in figure 4b of the paper.

        Args:
            n: how many along each axis; their percentiles are (i + 1/2) / n.
            component: whose axes.

        Returns:
            z, float32 `(n * n, 2)`, row by row from the top: the radial coordinate grows rightwards, the tangential
            one (counterclockwise around the origin) upwards.

        Raises:
            UnsupportedError: the prior has not two coordinates.
            ConfigError: there is no such component.
        """
        if not 0 <= component < self.components:
            raise ConfigError(f"Component {component}: the mixture has the components 0 to {self.components - 1}.")
        return self._place(_standard_percentiles(self, n), torch.tensor(component))

    def _place(self, standard: Tensor, component: Tensor) -> Tensor:
        """Move values of N(0, I), (n, dim), to components, (n,) or ()."""
        radial = self.radius + self.radial_std * standard[:, :1]
        unrotated = torch.cat([radial, self.tangential_std * standard[:, 1:]], dim=1)
        return _rotate(unrotated, 2 * math.pi / self.components * component)


class SwissRoll(Prior, Config):
    """A Gaussian whose mean is uniform along the length of a spiral that starts at the origin.

    The swiss roll of "Adversarial Autoencoders" (Makhzani et al., 2015), section 3.1 and figure 4c. Of
    K components, label i chooses the i-th K-th of the spiral's length, counted from the centre.

    Attributes:
        components: into how many parts of equal length labels divide the roll.
        turns: how often the (Archimedean) spiral goes round.
        radius: the distance of its outer end from the origin.
        std: the standard deviation of the Gaussian around it.
    """

    dim: ClassVar[int] = 2

    kind: Literal["swiss_roll"] = "swiss_roll"
    components: int = Field(default=10, ge=1)
    turns: _Positive = 2.0
    radius: _Positive = 3.0
    std: _Positive = 0.1

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`."""
        component = _components(self.components, n, labels, generator, device)
        share = (component + torch.rand(n, generator=generator, device=device)) / self.components
        return self._axis(share) + self.std * torch.randn(n, 2, generator=generator, device=device)

    def walk(self, n: int) -> Tensor:
        """Return steps along the roll's axis, from the centre outwards, as in figure 4d of the paper.

        Args:
            n: how many; step i is at (i + 1/2) / n of the spiral's length.

        Returns:
            z, float32 `(n, 2)`, without the roll's thickness.
        """
        return self._axis((torch.arange(n) + 0.5) / n)

    def _axis(self, share: Tensor) -> Tensor:
        """Return the points of the spiral, (n, 2), at shares of its length, (n,)."""
        angle = _spiral_angle(share, 2 * math.pi * self.turns)
        point = torch.zeros(len(share), 2, device=share.device)
        point[:, 0] = self.radius / (2 * math.pi * self.turns) * angle
        return _rotate(point, angle)


class Categorical(Prior, Config):
    """One-hot vectors.

    Attributes:
        categories: the number of classes, and of coordinates.
        probabilities: how likely each class is; uniform where not given.
        stratified: let the class counts of a batch be what is expected, to less than one (with uniform
            probabilities, no two counts then differ by more than one), in random order. The discriminator
            then never sees a batch that lacks a class by chance.
    """

    kind: Literal["categorical"] = "categorical"
    categories: int = Field(ge=1)
    probabilities: tuple[_Positive, ...] | None = None
    stratified: bool = False

    @model_validator(mode="after")
    def _probabilities_fit(self) -> Self:
        if self.probabilities is not None:
            if len(self.probabilities) != self.categories:
                raise ValueError(
                    f"{self.categories} categories need as many probabilities, not {len(self.probabilities)}."
                )
            if abs(sum(self.probabilities) - 1.0) > 1e-6:
                raise ValueError(f"the probabilities add up to {sum(self.probabilities):g}; they must add up to 1.")
        return self

    @property
    def dim(self) -> int:
        """The number of coordinates, which is the number of categories."""
        return self.categories

    @property
    def components(self) -> int:
        """The number of classes that labels can choose."""
        return self.categories

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`. Stratification is over the codes that have no label."""
        labels = _checked(labels, n, self.categories, device)
        free = labels < 0
        points = torch.rand(n, generator=generator, device=device, dtype=torch.float64)
        if self.stratified:
            # Systematic sampling: the free rows, in random order, get equally spaced points with one common
            # shift. Rows that have a label are ranked last and so take no point away.
            rank = (points + ~free).argsort().argsort()
            shift = torch.rand((), generator=generator, device=device, dtype=torch.float64)
            points = (rank.double() + shift) / free.sum()
        cumulative = self._probabilities(device).cumsum(dim=0)
        drawn = torch.searchsorted(cumulative, points).clamp(max=self.categories - 1)
        return one_hot(torch.where(free, drawn, labels), self.categories).float()

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, `(n,)`; minus infinity for what is not a one-hot vector."""
        category = z.argmax(dim=1)
        log_probability = self._probabilities(z.device).log().float()[category]
        is_one_hot = (z == one_hot(category, self.categories)).all(dim=1)
        return log_probability.where(is_one_hot, -torch.inf)

    def _probabilities(self, device: Device) -> Tensor:
        given = self.probabilities or (1.0 / self.categories,) * self.categories
        return torch.tensor(given, dtype=torch.float64, device=device)


class Uniform(Prior, Config):
    """Independent coordinates, uniform between `low` and `high`."""

    components: ClassVar[None] = None

    kind: Literal["uniform"] = "uniform"
    dim: int = Field(ge=1)
    low: FiniteFloat = -1.0
    high: FiniteFloat = 1.0

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be less than high ({self.high:g}).")
        return self

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`."""
        _refuse_labels(self, labels)
        return self.low + (self.high - self.low) * torch.rand(n, self.dim, generator=generator, device=device)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, `(n,)`; minus infinity outside."""
        inside = ((z >= self.low) & (z <= self.high)).all(dim=1)
        density = torch.full(inside.shape, -self.dim * math.log(self.high - self.low), device=z.device)
        return density.where(inside, -torch.inf)


_Part = Annotated[
    Gaussian | GaussianMixture | SwissRoll | Categorical | Uniform,
    Field(discriminator="kind"),
]


class Product(Prior, Config):
    """Independent parts side by side, in order: a category and a style, say.

    Labels choose the component of the one part that has components. Of several such parts (two categories,
    say) none can be chosen: they are independent, and a label cannot say which of them it means.
    """

    kind: Literal["product"] = "product"
    parts: tuple[_Part, ...] = Field(min_length=1)

    @property
    def dim(self) -> int:
        """The number of coordinates of all parts together."""
        return sum(part.dim for part in self.parts)

    @property
    def components(self) -> int | None:
        """The number of classes that labels can choose; None unless exactly one part has any."""
        counts = [part.components for part in self.parts if part.components is not None]
        return counts[0] if len(counts) == 1 else None

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        """Draw codes; see `Prior.sample`."""
        if self.components is None:
            _refuse_labels(self, labels)
        draws = [part.sample(n, None if part.components is None else labels, generator, device) for part in self.parts]
        return torch.cat(draws, dim=1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, `(n,)`.

        Raises:
            UnsupportedError: the density of a part is not known.
        """
        codes = torch.split(z, [part.dim for part in self.parts], dim=1)
        log_probs = [part.log_prob(code) for part, code in zip(self.parts, codes, strict=True)]
        return torch.stack(log_probs).sum(dim=0)


#: A prior in a recipe or a file, told apart by `kind`.
PriorConfig = Annotated[
    Gaussian | GaussianMixture | SwissRoll | Categorical | Uniform | Product,
    Field(discriminator="kind"),
]


def check_prior(prior: object, dim: int, components: int | None = None) -> Prior:
    """Try a prior before training, and return it ready for use.

    A prior of your own is any object with a method `sample(n)`. It may also take, by these names:

    - `labels`, to be conditioned on classes as in `Prior.sample`; it then needs an attribute `components`;
    - `generator`. Without it, PyTorch's global CPU generator is seeded for the duration of the call, so that
      training can still be repeated; draws from elsewhere (NumPy, say) cannot;
    - `device`. Without it, the sample is moved there.

    Its `log_prob(z)` is used if it has one.

    Args:
        prior: one of this module's priors, or an object with `sample`.
        dim: the number of coordinates that the codes have.
        components: the number of classes that labels will choose from, or None if there are no labels.

    Returns:
        The prior itself, or the given object in a wrapper that has the whole interface of `Prior`.

    Raises:
        ConfigError: there is no `sample`, it cannot be conditioned on that many classes, or what it returns
            is not a float tensor, has the wrong shape, or contains NaN or infinity.
    """
    name = type(prior).__name__
    if not callable(getattr(prior, "sample", None)):
        raise ConfigError(f"The prior {name} has no method sample(n), which must return a tensor of shape (n, {dim}).")
    ready: Prior = _Custom(prior, dim)
    if isinstance(prior, Prior) and hasattr(prior, "dim") and hasattr(prior, "components"):
        ready = prior
    if components is not None and (ready.components or 0) < components:
        raise ConfigError(
            f"There are {components} classes; the prior {name} can be conditioned on {ready.components or 0}."
        )

    n = 16 + (components or 0)
    generator = Generator().manual_seed(0)
    requests = [None] if components is None else [None, torch.arange(n) % (components + 1) - 1]
    for labels in requests:
        z = ready.sample(n, labels, generator)
        _check_sample(z, prior, n, dim)
        if not z.isfinite().all():
            raise ConfigError(f"A sample of the prior {name} contains NaN or infinity.")
    return ready


class _Custom(Prior):
    """A user's prior, passed no more than its `sample` takes."""

    def __init__(self, prior: Any, dim: int) -> None:
        parameters = inspect.signature(prior.sample).parameters.values()
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        names = {parameter.name for parameter in parameters}
        self._takes = {name for name in ("labels", "generator", "device") if takes_all or name in names}
        self._prior = prior
        self._dim = dim

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def components(self) -> int | None:
        components: int | None = getattr(self._prior, "components", None)
        return components if "labels" in self._takes else None

    def sample(
        self, n: int, labels: Tensor | None = None, generator: Generator | None = None, device: Device = "cpu"
    ) -> Tensor:
        if self.components is None:
            _refuse_labels(self._prior, labels)
        given = {"labels": labels, "generator": generator, "device": device}
        passed = {name: value for name, value in given.items() if name in self._takes}
        if generator is None or "generator" in self._takes:
            z = self._prior.sample(n, **passed)
        else:
            with torch.random.fork_rng(devices=[]):
                seed = torch.randint(2**62, (), generator=generator, device=generator.device)
                torch.default_generator.manual_seed(int(seed))
                z = self._prior.sample(n, **passed)
        _check_sample(z, self._prior, n, self._dim)
        codes: Tensor = z.to(device, torch.float32)
        return codes

    def log_prob(self, z: Tensor) -> Tensor:
        if not hasattr(self._prior, "log_prob"):
            return super().log_prob(z)
        log_probability: Tensor = self._prior.log_prob(z)
        return log_probability


def _check_sample(z: object, prior: object, n: int, dim: int) -> None:
    if not (isinstance(z, Tensor) and z.is_floating_point() and z.shape == (n, dim)):
        found = f"{z.dtype} of shape {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
        raise ConfigError(
            f"sample({n}) of the prior {type(prior).__name__} must return a float tensor of shape "
            f"({n}, {dim}), not {found}."
        )


def _refuse_labels(prior: object, labels: Tensor | None) -> None:
    if labels is not None:
        raise UnsupportedError(f"The prior {type(prior).__name__} has no components that labels could choose.")


def _checked(labels: Tensor | None, n: int, components: int, device: Device) -> Tensor:
    """Return labels on the device, -1 everywhere if there are none."""
    if labels is None:
        return torch.full((n,), -1, device=device)
    if labels.shape != (n,) or labels.dtype != torch.int64:
        raise ConfigError(
            f"{n} codes need int64 labels of shape ({n},), not {labels.dtype} of shape {tuple(labels.shape)}."
        )
    # Only on the CPU: elsewhere a look at the values would stall the device at every step.
    if labels.device.type == "cpu" and n and not -1 <= labels.min() <= labels.max() < components:
        raise ConfigError(
            f"Labels must lie between 0 and {components - 1}, or be -1; "
            f"found {int(labels.min())} to {int(labels.max())}."
        )
    return labels.to(device)


def _components(
    components: int,
    n: int,
    labels: Tensor | None,
    generator: Generator | None,
    device: Device,
) -> Tensor:
    """Return a component a row: its label, or a uniform draw where that is -1."""
    labels = _checked(labels, n, components, device)
    drawn = torch.randint(components, (n,), generator=generator, device=device)
    return torch.where(labels < 0, drawn, labels)


def _log_normal(z: Tensor) -> Tensor:
    """Return the log-density of the standard normal distribution over the last dimension."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=-1)


def _standard_percentiles(prior: Prior, n: int) -> Tensor:
    """Return the grid of percentiles of N(0, I) in the plane, (n * n, 2), row by row from the top."""
    if prior.dim != 2:
        raise UnsupportedError(f"Percentiles are drawn in the plane; this prior has {prior.dim} coordinates.")
    values = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()
    second, first = torch.meshgrid(values.flip(0), values, indexing="ij")
    return torch.stack([first, second], dim=2).flatten(0, 1)


def _rotate(z: Tensor, angle: Tensor) -> Tensor:
    """Rotate the first two coordinates of z (..., dim) by angles, (...) or one for all, in radians."""
    x, y, rest = z[..., 0], z[..., 1], z[..., 2:]
    rotated = torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], dim=-1)
    return torch.cat([rotated, rest.expand(*rotated.shape[:-1], -1)], dim=-1)


def _spiral_angle(share: Tensor, end: float) -> Tensor:
    """Return the angle at which an Archimedean spiral from 0 to `end` has covered a share of its length.

    The length of r = θ up to θ is (θ sqrt(1 + θ²) + asinh θ) / 2. It is convex and at least θ²/2, so that
    Newton's method comes down to the solution from sqrt(2 length); six steps reach float32 precision.
    """
    length = share * (end * math.hypot(1.0, end) + math.asinh(end)) / 2
    angle = (2 * length).sqrt()
    for _ in range(6):
        slope = (1 + angle.square()).sqrt()
        angle = angle - ((angle * slope + angle.asinh()) / 2 - length) / slope
    return angle

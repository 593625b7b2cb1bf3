"""A prior of any origin, tried before training."""

import inspect
from typing import Any

import torch
from torch import Generator, Tensor

from aegean.errors import ConfigError
from aegean.priors.base import Device, Prior, refuse_labels


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
            refuse_labels(self._prior, labels)
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

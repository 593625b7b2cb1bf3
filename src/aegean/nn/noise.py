"""Noise inside networks, drawn from a generator that the training run owns.

PyTorch's own `nn.Dropout` draws from the global generator, which other code moves; a run could then not be
repeated or resumed bit for bit.
"""

import torch
from torch import Tensor, nn

from aegean.errors import ConfigError


class Noisy(nn.Module):
    """Base of modules that draw random numbers in their forward pass.

    Attributes:
        rng: what to draw from, on the device of the module's input; None means PyTorch's global generator.
            It is set by `bind_rng` and is not part of the module's state.
    """

    rng: torch.Generator | None = None


def bind_rng(module: nn.Module, rng: torch.Generator | None) -> None:
    """Let every `Noisy` module inside `module` (and `module` itself) draw from `rng`."""
    for part in module.modules():
        if isinstance(part, Noisy):
            part.rng = rng


class GaussianNoise(Noisy):
    """Add independent Gaussian noise in training mode; pass the input through otherwise.

    Args:
        std: the standard deviation of the noise, at least 0.
    """

    def __init__(self, std: float) -> None:
        super().__init__()
        if not 0.0 <= std < float("inf"):
            raise ConfigError(f"The standard deviation of Gaussian noise is {std}; it must be 0 or more.")
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of any shape, with noise added."""
        if not self.training or self.std == 0.0:
            return x
        return x + self.std * torch.randn(x.shape, generator=self.rng, dtype=x.dtype, device=x.device)

    def extra_repr(self) -> str:
        """Show the setting when the network is printed."""
        return f"std={self.std}"


class Dropout(Noisy):
    """Inverted dropout (Srivastava et al., 2014) in training mode; pass the input through otherwise.

    Args:
        rate: the probability that an element becomes 0. The others are divided by `1 - rate`, so that the
            expectation stays. What a paper calls "keep probability 0.8" is rate 0.2.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"The dropout rate is {rate}; it must be at least 0 and less than 1.")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, of any shape, with elements dropped."""
        if not self.training or self.rate == 0.0:
            return x
        # The uniforms are float32 whatever `x` is: bfloat16 has so few of them that the rate would be off.
        kept = torch.rand(x.shape, generator=self.rng, device=x.device, dtype=torch.float32) >= self.rate
        return x * kept / (1.0 - self.rate)

    def extra_repr(self) -> str:
        """Show the setting when the network is printed."""
        return f"rate={self.rate}"

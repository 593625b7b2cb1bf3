"""An exponential moving average of the weights, for evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Averages every floating-point tensor of a model's state, statistics of normalisation layers included.

    Args:
        model: the model in training.
        decay: weight of the past after one step, in [0, 1); the average spans about 1 / (1 - decay) steps. While
            fewer steps have been made, step / (step + 10) is used where smaller, so that the start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.model = model
        self.average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after one step."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        averages, currents = [], []
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                averages.append(self.average[name])
                currents.append(tensor)
            else:
                self.average[name].copy_(tensor)
        torch._foreach_lerp_(averages, currents, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights for the length of a `with` block."""
        current = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        try:
            yield
        finally:
            self.model.load_state_dict(current)

    def load(self, state: dict[str, Tensor], steps: int) -> None:
        """Go on from a saved average."""
        self.steps = steps
        for name, tensor in self.average.items():
            tensor.copy_(state[name])

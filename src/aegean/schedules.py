"""Settings that change while a model trains: a number, or a number annealed over epochs."""

import math
from typing import Literal

from pydantic import Field, FiniteFloat

from aegean.config import Config


class Anneal(Config):
    """A setting that moves from `start` to `end`, and is constant before and after.

    Epochs are absolute, counted from the beginning of training, and never a share of the planned ones: a
    run that is resumed with more epochs repeats exactly what it has already done.

    Attributes:
        start: the value until epoch `begin`.
        end: the value from epoch `begin + epochs` on.
        epochs: how many epochs the change takes, more than 0.
        begin: the epoch at which the change begins.
        shape: `"linear"`, or `"cosine"` (half a cosine wave, slow at both ends).
    """

    start: FiniteFloat
    end: FiniteFloat
    epochs: FiniteFloat = Field(gt=0)
    begin: FiniteFloat = Field(default=0.0, ge=0)
    shape: Literal["linear", "cosine"] = "linear"

    def value(self, epoch: float) -> float:
        """Return the value at an epoch, whole or fractional (2.5 is halfway through the third)."""
        done = min(max((epoch - self.begin) / self.epochs, 0.0), 1.0)
        if self.shape == "cosine":
            done = (1.0 - math.cos(math.pi * done)) / 2.0
        return (1.0 - done) * self.start + done * self.end  # exact at both ends


#: A constant, or an `Anneal`.
Scheduled = FiniteFloat | Anneal


def value_at(scheduled: Scheduled, epoch: float) -> float:
    """Return the value of a setting at an epoch, whole or fractional."""
    return scheduled.value(epoch) if isinstance(scheduled, Anneal) else float(scheduled)


def is_never_negative(scheduled: Scheduled) -> bool:
    """Return whether a setting is at least 0 throughout training (a weight or a standard deviation)."""
    ends = (scheduled.start, scheduled.end) if isinstance(scheduled, Anneal) else (scheduled,)
    return min(ends) >= 0.0

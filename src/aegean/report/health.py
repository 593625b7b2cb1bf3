"""Is a discriminator working? The question that every adversarial training has to answer first."""

import math
from dataclasses import dataclass
from typing import Literal

from aegean.errors import DataError
from aegean.plots.curves import Points
from aegean.train.health import has_left_chance

Verdict = Literal["working", "never started", "overpowered", "diverged"]

#: A discriminator that is right more often than this leaves the other side no useful gradient.
OVERPOWERED_ACCURACY = 0.95
#: The same by its loss, where no accuracy is known: less than this share of chance.
OVERPOWERED_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class AdversaryHealth:
    """What a discriminator and its opponent went through.

    Attributes:
        name: what it judges ("codes", "categories", "images").
        discriminator_loss: (epoch, loss) in nats a sample, the sum over a real and a fake one.
        generator_loss: (epoch, loss) of the side that is judged.
        real_accuracy: share of real samples that it recognised at the end, in [0, 1].
        fake_accuracy: share of fake samples that it recognised at the end, in [0, 1].
        discriminator_chance: its loss when it knows nothing; 2 ln 2 for the usual cross-entropy.
        generator_chance: the other side's loss then; ln 2 for the usual, non-saturating one.
    """

    name: str
    discriminator_loss: Points
    generator_loss: Points = ()
    real_accuracy: float | None = None
    fake_accuracy: float | None = None
    discriminator_chance: float = 2 * math.log(2)
    generator_chance: float = math.log(2)

    def __post_init__(self) -> None:
        if not self.discriminator_loss:
            raise DataError(f"{self.name}: no losses of the discriminator; leave this adversary out of the report.")

    @property
    def final_loss(self) -> float:
        """Mean discriminator loss over the last tenth of the training."""
        losses = [loss for _, loss in self.discriminator_loss]
        tail = losses[-max(1, len(losses) // 10) :]
        return sum(tail) / len(tail)

    @property
    def verdict(self) -> Verdict:
        """Judge the whole history, not its end.

        A discriminator that knows nothing at the end is what a finished training looks like (nothing is left
        to tell apart), *and* what one that never learned looks like. They differ in what came before.
        """
        chance = self.discriminator_chance
        if not math.isfinite(self.final_loss):
            return "diverged"
        if not any(has_left_chance(loss, chance) for _, loss in self.discriminator_loss):
            return "never started"
        accuracies = [value for value in (self.real_accuracy, self.fake_accuracy) if value is not None]
        if accuracies:
            strong = min(accuracies) > OVERPOWERED_ACCURACY
        else:
            # A loss whose chance is 0 is minus a divergence or a distance; it says nothing without a scale.
            strong = chance > 0 and self.final_loss < OVERPOWERED_SHARE * chance
        return "overpowered" if strong else "working"

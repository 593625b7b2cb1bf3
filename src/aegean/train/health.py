"""Warnings that an adversarial training deserves: an adversary that never starts, clusters that collapse."""

import math
from collections.abc import Mapping
from typing import Any

#: Epochs after which an adversary that has not yet left chance is reported.
PATIENCE_EPOCHS = 3
#: Epochs in a row in which a cluster must be all but empty to be reported: in the first ones some come and go.
COLLAPSE_EPOCHS = 5
#: A cluster with less than this share of its fair part of the images has collapsed.
COLLAPSED_SHARE = 0.05
#: A discriminator's loss further from chance than this share of it has started to learn.
STARTED_SHARE = 0.02


def has_left_chance(loss: float, chance: float) -> bool:
    """Whether a discriminator with this loss has learned something.

    Args:
        loss: of the discriminator, a mean over samples.
        chance: the same for one that knows nothing. Where it is 0, a share of it is nothing; the losses for which it
            is 0 are measured by the cross-entropy's instead, of which the Jensen-Shannon divergence is a shift.
    """
    return abs(loss - chance) > STARTED_SHARE * (abs(chance) or 2 * math.log(2))


class HealthMonitor:
    """Watches the epoch's metrics and returns each warning once.

    A discriminator at chance is what a finished training looks like, too; so the warning is about an adversary whose
    losses have *never* left chance since the first step. Several public re-implementations fail in this way unnoticed.
    """

    def __init__(self) -> None:
        self.started: set[str] = set()
        self.warned: set[str] = set()
        self.epochs: dict[str, int] = {}
        self.collapsed_epochs: dict[str, int] = {}

    def check(self, metrics: Mapping[str, Any]) -> list[str]:
        """Return new warnings after an epoch.

        Args:
            metrics: means over the last epoch. Phases that report `chance` (the loss of a discriminator that knows
                nothing) are adversaries; a `usage` is the share of each category in the codes.
        """
        adversaries, users = _reporting(metrics, "chance"), _reporting(metrics, "usage")
        for phase in {*adversaries, *users}:
            self.epochs[phase] = self.epochs.get(phase, 0) + 1  # its own: some phases begin later
        found = [self._adversary(phase, metrics) for phase in adversaries]
        found += [self._usage(phase, metrics[f"{phase}/usage"]) for phase in users]
        return [warning for warning in found if warning]

    def _adversary(self, phase: str, metrics: Mapping[str, Any]) -> str | None:
        loss, chance = metrics[phase], metrics[f"{phase}/chance"]
        epoch = self.epochs[phase]
        if has_left_chance(loss, chance):
            self.started.add(phase)
        key = f"adversary {phase}"
        if phase in self.started or epoch < PATIENCE_EPOCHS or key in self.warned:
            return None
        self.warned.add(key)
        return (
            f"The adversary has not started after {epoch} epochs: in phase {phase!r} the discriminator's loss is still "
            f"{loss:.3f} (chance is {chance:.3f}). Raise its learning rate, or lower the instance noise."
        )

    def _usage(self, phase: str, usage: list[float]) -> str | None:
        collapsed = [k for k, share in enumerate(usage) if share * len(usage) < COLLAPSED_SHARE]
        key = f"usage {phase}"
        self.collapsed_epochs[phase] = self.collapsed_epochs.get(phase, 0) + 1 if collapsed else 0
        if self.collapsed_epochs[phase] < COLLAPSE_EPOCHS or key in self.warned:
            return None
        self.warned.add(key)
        return (
            f"After {self.epochs[phase]} epochs {len(collapsed)} of {len(usage)} clusters had collapsed (for example "
            f"cluster {collapsed[0]} held {100 * usage[collapsed[0]]:.2f} % of the images). A stratified prior, more "
            "input noise or a slower adversary helps."
        )

    def state(self) -> dict[str, Any]:
        """Return what has been seen, as JSON values."""
        return {
            "started": sorted(self.started),
            "warned": sorted(self.warned),
            "epochs": self.epochs,
            "collapsed_epochs": self.collapsed_epochs,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.started, self.warned = set(state["started"]), set(state["warned"])
        self.epochs, self.collapsed_epochs = dict(state["epochs"]), dict(state["collapsed_epochs"])


def _reporting(metrics: Mapping[str, Any], name: str) -> list[str]:
    return [key.removesuffix(f"/{name}") for key in metrics if key.endswith(f"/{name}")]

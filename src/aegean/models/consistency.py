"""A term that the papers lack: the category of an image shall not change with small changes of the image."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from aegean.config import Config
from aegean.nn.augment import Affine, Jitter
from aegean.processes import batch_mean


class Consistency(Config):
    """A loss on q(y|x) and q(y|x'), x' a changed copy of x.

    Attributes:
        change: how images are changed (`Affine`), or vectors (`Jitter`); what it leaves as it is, categories go by.
        agreement: minus the mutual `"information"` of the two categories, which needs no labels and uses all categories
            (Ji et al., 2019); or the `"divergence"` of q(y|x') from q(y|x), which only labels keep from putting all
            images into one category.
    """

    change: Affine | Jitter = Affine()
    agreement: Literal["information", "divergence"] = "information"

    def loss(
        self,
        x: Tensor,
        logits: Callable[[Tensor], Tensor],
        corrupt: Callable[[Tensor], Tensor],
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return KL(q(y|x) || q(y|x')), (n,) nats, or -I(y; y') n times.

        No gradient flows into q(y|x) of the divergence.

        Args:
            x: images, (n, c, h, w).
            logits: of q(y|x), (n, c, h, w) to (n, k).
            corrupt: adds the encoder's input noise, as the other phases do; not to the target of the divergence.
            generator: of the changes.
        """
        changed = logits(corrupt(self.change.apply(x, generator))).log_softmax(dim=1)
        if self.agreement == "information":
            return -mutual_information(logits(corrupt(x)).softmax(dim=1), changed.exp()).expand(len(x))
        with torch.no_grad():
            target = logits(x).log_softmax(dim=1)
        return (target.exp() * (target - changed)).sum(dim=1)


def changed(consistency: Consistency | None, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return changed copies of labelled images, (n, c, h, w), or the images themselves where there is no such term."""
    return x if consistency is None else consistency.change.apply(x, generator)


def mutual_information(q: Tensor, q_changed: Tensor) -> Tensor:
    """Return I(y; y') in nats under the mini-batch's joint distribution, made symmetric (Ji et al., 2019, equation 3).

    Args:
        q: probabilities of the categories of images, (n, k).
        q_changed: those of the changed images, (n, k).
    """
    joint = batch_mean(q.t() @ q_changed / len(q))  # (k, k)
    joint = (joint + joint.t()) / 2
    independent = joint.sum(dim=0) * joint.sum(dim=1, keepdim=True)
    # A joint probability of 0 contributes nothing; the smallest float32 keeps its logarithm finite.
    smallest = torch.finfo(torch.float32).tiny
    return (joint * (joint.clamp(min=smallest).log() - independent.clamp(min=smallest).log())).sum()

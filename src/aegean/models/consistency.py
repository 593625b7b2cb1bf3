"""A term that the papers lack: the category of an image shall not change with small changes of the image."""

import logging
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from aegean.config import Config
from aegean.data.stream import Batch, Stream
from aegean.errors import ConfigError
from aegean.models.base import Group, Moment, Phase
from aegean.models.merging import FinerCategories
from aegean.nn.augment import Affine, Jitter
from aegean.processes import batch_mean

#: Changed copies of each image by which finer categories are merged where there are no neighbours.
COPIES = 4
#: Neighbours of each image by which they are merged, or as many as link images where these are more. Of a rare kind,
#: the first few are of that kind itself; what is beyond says which class it belongs to.
NEIGHBOURS = 20

_log = logging.getLogger(__name__)


class Consistency(Config):
    """A loss on q(y|x) and q(y|x'), x' a changed copy of x.

    Attributes:
        change: how images are changed (`Affine`), or vectors (`Jitter`); what it leaves as it is, categories go by.
        agreement: minus the mutual `"information"` of the two categories, which needs no labels and uses all categories
            (Ji et al., 2019); or the `"divergence"` of q(y|x') from q(y|x), which only labels keep from putting all
            images into one category.
        neighbours: x' is a changed copy of one of so many images that look most like x, drawn anew at each visit
            (Van Gansbeke et al., 2020, who find them by learnt features): what differs by more than a small change, a
            crossed seven and a plain one, is linked by what lies between. 0: of x itself.
        neighbour_epochs: until when; afterwards, x' is a changed copy of x, as a few neighbours are of other classes.
        finer: the encoder has so many finer categories, which the term is about until they are merged to those of the
            model by who are neighbours, or by changed copies where there are none; five times as many do well. 0: none.
        finer_epochs: until when; the model's other phases wait until then.
        batch_size: images of a mini-batch of this term. Information is told badly by a mini-batch that holds but one or
            two images of each category, and some models' games fail with larger ones. 0: as many as of the other
            phases, and the same images.
    """

    change: Affine | Jitter = Affine()
    agreement: Literal["information", "divergence"] = "information"
    neighbours: int = Field(default=0, ge=0)
    neighbour_epochs: float = Field(default=0.0, ge=0)
    finer: int = Field(default=0, ge=0)
    finer_epochs: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _both_or_none(self) -> "Consistency":
        if bool(self.neighbours) != bool(self.neighbour_epochs):
            raise ValueError("neighbours and neighbour_epochs go together; set both, or leave both at 0.")
        if bool(self.finer) != bool(self.finer_epochs):
            raise ValueError("finer and finer_epochs go together; set both, or leave both at 0.")
        if self.finer and self.agreement != "information":
            raise ValueError("finer needs agreement 'information'; the divergence does not find categories.")
        return self

    def loss(
        self,
        batch: Batch,
        logits: Callable[[Tensor], Tensor],
        corrupt: Callable[[Tensor], Tensor],
        generator: torch.Generator | None = None,
        encoder: nn.Module | None = None,
    ) -> Tensor:
        """Return KL(q(y|x) || q(y|x')), (n,) nats, or -I(y; y') n times.

        No gradient flows into q(y|x) of the divergence.

        Args:
            batch: images, (n, c, h, w), with neighbours if the settings ask for them.
            logits: of q(y|x), (n, c, h, w) to (n, k).
            corrupt: adds the encoder's input noise, as the other phases do; not to the target of the divergence.
            generator: of the changes.
            encoder: what `logits` uses; where it has finer categories, y is one of those until they are merged.
        """
        if not isinstance(encoder, FinerCategories):
            return self._loss(batch, logits, corrupt, generator)
        with nullcontext() if encoder.merged else encoder.unmerged():
            return self._loss(batch, logits, corrupt, generator)

    @torch.no_grad()
    def merge(self, encoder: FinerCategories, stream: Stream, logits: Callable[[Tensor], Tensor]) -> None:
        """Merge finer categories, once, by those of the neighbours of all training images, or of changed copies.

        Args:
            encoder: whose categories are merged.
            stream: of the training images.
            logits: of the finer categories, (n, c, h, w) to (n, finer), by that encoder.
        """
        if encoder.merged:  # by another training, whose weights this one began with
            return
        _log.info("Merging %d clusters to %d.", encoder.finer, encoder.categories)
        training = encoder.training
        encoder.eval()
        with encoder.unmerged():
            own = torch.cat([logits(x).argmax(dim=1) for x in stream.all_images()])
            if self.neighbours:
                others = own[stream.nearest(max(self.neighbours, NEIGHBOURS))]  # (n, neighbours)
            else:
                generator = torch.Generator(own.device).manual_seed(0)
                others = torch.cat(
                    [
                        torch.stack(
                            [logits(self.change.apply(x, generator)).argmax(dim=1) for _ in range(COPIES)], dim=1
                        )
                        for x in stream.all_images()
                    ]
                )
        encoder.train(training)
        pairs = encoder.finer * own.unsqueeze(1) + others
        counts = torch.bincount(pairs.flatten(), minlength=encoder.finer**2)
        encoder.choose(counts.view(encoder.finer, encoder.finer))

    def _loss(
        self,
        batch: Batch,
        logits: Callable[[Tensor], Tensor],
        corrupt: Callable[[Tensor], Tensor],
        generator: torch.Generator | None,
    ) -> Tensor:
        x = batch.x
        other = batch.near if batch.near is not None and batch.epoch < self.neighbour_epochs else x
        changed = logits(corrupt(self.change.apply(other, generator))).log_softmax(dim=1)
        if self.agreement == "information":
            return -mutual_information(logits(corrupt(x)).softmax(dim=1), changed.exp()).expand(len(x))
        with torch.no_grad():
            target = logits(x).log_softmax(dim=1)
        return (target.exp() * (target - changed)).sum(dim=1)


def with_finer(
    consistency: Consistency | None,
    build: Callable[[int], nn.Module],
    categories: int,
    outputs: int,
    start: int = 0,
    *,
    supervised: bool = False,
) -> nn.Module:
    """Return an encoder, with finer categories where the settings ask for them.

    Args:
        consistency: the settings.
        build: makes an encoder of a number of outputs.
        categories: of the model.
        outputs: of the encoder, categories among them.
        start: where these begin.
        supervised: the categories are the classes of labels.

    Raises:
        ConfigError: the finer categories are not more, or labels say what the categories are.
    """
    if consistency is None or not consistency.finer:
        return build(outputs)
    if supervised:
        raise ConfigError("model.consistency.finer finds clusters, and here labels say what they are; set it to 0.")
    more = consistency.finer - categories
    if more <= 0:
        raise ConfigError(
            f"model.consistency.finer={consistency.finer} categories are to be merged to the model's {categories}, so "
            f"there must be more of them; {5 * categories} do well."
        )
    return FinerCategories(build(outputs + more), consistency.finer, categories, start)


def with_agreement(
    consistency: Consistency | None,
    phases: Iterable[Phase | Group],
    encoder: nn.Module,
    loss: Callable[[Batch], Tensor],
) -> list[Phase | Group]:
    """Return a model's phases and, where the settings ask for it, the one of the term of consistency after them.

    Phases begin when finer categories are merged. Until then a category is a few finer ones by chance, and a game that
    is played with those spoils the finer ones.

    Args:
        consistency: the settings.
        phases: of the model.
        encoder: what the term teaches.
        loss: the term, of a batch, (n,).
    """
    if consistency is None:
        return list(phases)
    after = consistency.finer_epochs
    late: list[Phase | Group] = []
    for item in phases:
        if isinstance(item, Phase):
            late.append(replace(item, after=after))
        else:
            late.append(replace(item, phases=tuple(replace(phase, after=after) for phase in item.phases)))
    stream = "pairs" if consistency.batch_size else "images"
    return [*late, Phase("agree", loss, updates=(encoder,), stream=stream)]


def merging(
    consistency: Consistency | None, encoder: nn.Module, logits: Callable[[Tensor], Tensor]
) -> tuple[Moment, ...]:
    """Return the moment at which finer categories are merged, where there are such."""
    if consistency is None or not isinstance(encoder, FinerCategories):
        return ()
    return (Moment(consistency.finer_epochs, lambda stream: consistency.merge(encoder, stream, logits)),)


def changed(consistency: Consistency | None, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return changed copies of labelled images, (n, c, h, w), or the images themselves where there is no such term."""
    return x if consistency is None else consistency.change.apply(x, generator)


def consistency_of(config: Config) -> Consistency | None:
    """Return the term of a model's settings, if they have it."""
    consistency = getattr(config, "consistency", None)
    return consistency if isinstance(consistency, Consistency) else None


def neighbours_of(config: Config) -> int:
    """Return how many neighbours of each training image a model's settings ask for."""
    consistency = consistency_of(config)
    return 0 if consistency is None else consistency.neighbours


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

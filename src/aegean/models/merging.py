"""Finer categories than a model has, merged while it trains: what looks alike comes into one category.

With ten categories for ten digits, the term of consistency is soon where it cannot leave: ones fill two categories, by
their slant, and two other digits share one. With several times as many, hardly a category holds two digits; which of
them belong together is then told by the images that look alike.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Nats that a move must gain, lest rounding moves a category back and forth.
GAIN = 1e-12


class FinerCategories(nn.Module):
    """An encoder with finer categories; outside it looks like one with as many as the model has.

    Args:
        encoder: with `finer` outputs in place of `categories`.
        finer: categories of the encoder.
        categories: those of the model.
        start: where they begin among the outputs.

    Attributes:
        category: of each finer one, (finer,); buffers are saved with the weights.
        merged: whether `category` was chosen.
    """

    category: Tensor
    merged: Tensor

    def __init__(self, encoder: nn.Module, finer: int, categories: int, start: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.finer, self.categories, self.start = finer, categories, start
        self.register_buffer("category", torch.arange(finer) % categories)
        self.register_buffer("merged", torch.tensor(False))
        self._unmerged = False

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the outputs (n, d) of the encoder, with log q(y|x) in place of the finer logits; see `unmerged`."""
        outputs: Tensor = self.encoder(*inputs).float()
        if self._unmerged:
            return outputs
        before, finer, after = outputs.tensor_split((self.start, self.start + self.finer), dim=1)
        return torch.cat((before, self.merge(finer), after), dim=1)

    @contextmanager
    def unmerged(self) -> Iterator[None]:
        """Let the outputs be the encoder's own, (n, d - k + finer), for a `with` block."""
        self._unmerged = True
        try:
            yield
        finally:
            self._unmerged = False

    def merge(self, logits: Tensor) -> Tensor:
        """Return log q(y|x), (n, k): a category is as likely as its finer ones (n, finer) together."""
        members = self.category == torch.arange(self.categories, device=logits.device).unsqueeze(1)  # (k, finer)
        outside = torch.zeros(members.shape, device=logits.device).masked_fill(~members, -torch.inf)
        return (logits.log_softmax(dim=1).unsqueeze(1) + outside).logsumexp(dim=2)

    def choose(self, joint: Tensor) -> None:
        """Choose which finer categories are one.

        Args:
            joint: how often an image and one that looks like it are in which two of them, (finer, finer).
        """
        self.category.copy_(merge_categories(two_steps(joint), self.categories))
        self.merged.fill_(True)


def two_steps(joint: Tensor) -> Tensor:
    """Return in which two categories an image and a neighbour of its neighbour are, as if categories said all of both.

    A rare kind, crossed sevens for example, is cheap to merge with anything, another rare kind most of all; but what it
    is linked to is linked to the rest of its class.

    Args:
        joint: how often two neighbours are in which two categories, (k, k), not negative; made symmetric.

    Returns:
        A symmetric joint distribution, (k, k), float64, with the same marginals.
    """
    p = joint.double() + joint.double().t()
    p /= p.sum()
    return p @ (p / p.sum(dim=1, keepdim=True).clamp(min=torch.finfo(p.dtype).tiny))


def merge_categories(joint: Tensor, count: int) -> Tensor:
    """Merge categories so that much information is left of what those of two images that look alike tell of each other.

    They are merged pair by pair, each time those two by which the least of I(y; y') is lost (the agglomerative
    information bottleneck; Slonim and Tishby, 1999). Then each is moved to where most is left, as long as that helps
    (the sequential one; Slonim, Friedman and Tishby, 2002): what was cheap early is a mistake once groups are large.

    Args:
        joint: how often two such images are in which two categories, (k, k), not negative; made symmetric.
        count: categories that are left, 1 to k.

    Returns:
        The new category of each, (k,), int64, 0 to count - 1 in the order of their first members.
    """
    p = joint.double().cpu()
    p = (p + p.t()) / (p + p.t()).sum()
    return _numbered(move_categories(p, merge_pairs(p, count)))


def merge_pairs(p: Tensor, count: int) -> Tensor:
    """Merge the two categories by which the least information is lost, until `count` are left.

    Args:
        p: symmetric joint distribution, (k, k), float64.
        count: 1 to k.

    Returns:
        The new category of each, (k,), int64, 0 to count - 1.
    """
    p = p.clone()
    groups = [[index] for index in range(len(p))]
    while len(groups) > count:
        a, b = _cheapest(p)
        p[a] += p[b]  # the row of both, then the column
        p[:, a] += p[:, b]
        kept = [index for index in range(len(p)) if index != b]
        p = p[kept][:, kept]
        groups[a] += groups.pop(b)
    chosen = torch.empty(sum(map(len, groups)), dtype=torch.int64)
    for number, group in enumerate(groups):
        chosen[group] = number
    return chosen


def move_categories(p: Tensor, chosen: Tensor) -> Tensor:
    """Move one category after the other to the group with which most information is left, until none moves.

    Args:
        p: symmetric joint distribution, (k, k), float64.
        chosen: the group of each category, (k,), int64, 0 to n - 1; a group of one keeps it.

    Returns:
        The groups after all moves, (k,), int64.
    """
    chosen = chosen.clone()
    groups = int(chosen.max()) + 1
    places = torch.arange(groups)
    moved = groups > 1
    while moved:
        moved = False
        for index in range(len(p)):
            other = chosen.clone()
            other[index] = groups  # out of all groups, in a last row of its own
            members = functional.one_hot(other, groups + 1).double()
            apart = members.t() @ p @ members  # (groups + 1, groups + 1)
            joint = apart[:groups, :groups].repeat(groups, 1, 1)  # joint[g]: with it in group g
            joint[places, places] += apart[groups, :groups]
            joint[places, :, places] += apart[:groups, groups]
            joint[places, places, places] += apart[groups, groups]
            left = _information(joint)
            own, best = int(chosen[index]), int(left.argmax())
            if left[best] > left[own] + GAIN:
                chosen[index], moved = best, True
    return chosen


def _numbered(chosen: Tensor) -> Tensor:
    """Number groups in the order of their first members."""
    firsts = list(dict.fromkeys(chosen.tolist()))
    return torch.tensor([firsts.index(group) for group in chosen.tolist()])


def _information(p: Tensor) -> Tensor:
    """I(y; y') in nats of symmetric joint distributions, (n, k, k) to (n,)."""
    return _plogp(p).sum(dim=(1, 2)) - 2 * _plogp(p.sum(dim=2)).sum(dim=1)


def _cheapest(p: Tensor) -> tuple[int, int]:
    """Return the two categories a < b of a symmetric joint distribution, (k, k), that cost least information.

    I(y; y') is the sum of p log p over the joint distribution less twice that over the categories. Merging a and b
    adds two rows and two columns; all other entries stay.
    """
    own, diagonal = p.sum(dim=1), p.diagonal()
    rows = _plogp(p.unsqueeze(1) + p).sum(dim=2) - _in_pairs(_plogp(p).sum(dim=1))
    crossing = _plogp(diagonal.unsqueeze(1) + p) - _plogp(diagonal).unsqueeze(1) - _plogp(p)  # where a meets b
    block = _plogp(_in_pairs(diagonal) + 2 * p) - _in_pairs(_plogp(diagonal)) - 2 * _plogp(p)
    joint = 2 * (rows - crossing - crossing.t()) + block
    cost = 2 * (_plogp(_in_pairs(own)) - _in_pairs(_plogp(own))) - joint
    upper = torch.ones_like(cost, dtype=torch.bool).triu(diagonal=1)
    a, b = divmod(int(cost.masked_fill(~upper, torch.inf).argmin()), len(p))
    return a, b


def _plogp(p: Tensor) -> Tensor:
    return torch.xlogy(p, p)


def _in_pairs(v: Tensor) -> Tensor:
    """v_a + v_b of all a and b, (k,) to (k, k)."""
    return v.unsqueeze(1) + v

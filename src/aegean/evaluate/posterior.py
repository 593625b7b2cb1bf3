"""True and learned posteriors of a code in the plane, on a grid (implicit autoencoders, figures 8 and 9)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from aegean.errors import DataError

#: The grid spans so many standard deviations of the prior to each side of 0, in so many cells a side; the integral over
#: a cell is a sum over so many points a side.
SPAN, SIDE, FINE = 3.5, 56, 3


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Distributions over the cells of a grid, and of the plane around it as one cell more.

    Attributes:
        true: p(z|x) of each data point x, (k, side² + 1); zero for a point that the model never draws.
        learned: q(z|x), (k, side² + 1).
        prior: p(z), (side² + 1,).
    """

    true: Tensor
    learned: Tensor
    prior: Tensor

    @property
    def divergences(self) -> Tensor:
        """Jensen-Shannon divergence of p(z|x) and q(z|x), (k,) nats; log 2 for a point that is never drawn."""
        drawn = self.true.sum(dim=1) > 0
        return torch.where(drawn, jensen_shannon(self.true, self.learned), torch.tensor(2.0).log().double())

    @property
    def aggregated_divergence(self) -> float:
        """Jensen-Shannon divergence of q(z), the mean of q(z|x) over the points, and p(z), in nats."""
        return float(jensen_shannon(self.learned.mean(dim=0), self.prior))

    def image(self, which: str) -> Tensor:
        """Return `"true"` or `"learned"` as densities on the grid, (k, side, side), the second coordinate upwards."""
        cells: Tensor = getattr(self, which)[:, :-1].unflatten(1, (SIDE, SIDE))
        return cells.transpose(1, 2).flip(1)


def grid_posteriors(
    likelihood: Callable[[Tensor], Tensor], log_prior: Callable[[Tensor], Tensor], draws: Tensor, std: float
) -> Posteriors:
    """Integrate the true posteriors over the cells of a grid, and count draws of the learned ones in them.

    Args:
        likelihood: from codes (n, 2) to p(x|z) of each data point, (n, k).
        log_prior: from codes (n, 2) to log p(z), (n,).
        draws: of q(z|x) for each of the points, (k, m, 2).
        std: of the prior, the unit of the grid.

    Raises:
        DataError: codes have not two dimensions.
    """
    if draws.dim() != 3 or draws.shape[2] != 2:
        raise DataError(f"expected draws of codes in the plane, (k, m, 2), found {tuple(draws.shape)}.")
    fine = SIDE * FINE
    middles = SPAN * std * (2 * (torch.arange(fine) + 0.5) / fine - 1)
    codes = torch.cartesian_prod(middles, middles)  # the first coordinate changes slowest
    mass = log_prior(codes).double().exp() * (2 * SPAN * std / fine) ** 2  # (fine²,)
    joint = mass[:, None] * likelihood(codes).double()  # p(z) p(x|z), (fine², k)
    prior = _cells(mass[:, None])[0]
    true = _cells(joint)
    total = true.sum(dim=1, keepdim=True)
    cell = ((draws / (2 * SPAN * std) + 0.5) * SIDE).floor().long()  # (k, m, 2)
    inside = ((cell >= 0) & (cell < SIDE)).all(dim=2)
    index = torch.where(inside, cell[..., 0] * SIDE + cell[..., 1], SIDE * SIDE)
    counts = torch.stack([row.bincount(minlength=SIDE * SIDE + 1) for row in index]).double()
    return Posteriors(
        true=torch.where(total > 0, true / total.clamp(min=1e-300), 0.0),
        learned=counts / counts.sum(dim=1, keepdim=True),
        prior=torch.cat((prior[:-1], 1 - prior[:-1].sum(dim=0, keepdim=True))),
    )


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence in nats of distributions over the last dimension, at most log 2."""
    middle = (p + q) / 2
    return (torch.xlogy(p, p / middle) + torch.xlogy(q, q / middle)).nansum(dim=-1) / 2


def _cells(values: Tensor) -> Tensor:
    """Add up the points of each cell, (fine², k) to (k, side² + 1); nothing is known of what lies around the grid."""
    blocks = values.T.reshape(-1, SIDE, FINE, SIDE, FINE).sum(dim=(2, 4)).flatten(1)
    return torch.cat((blocks, blocks.new_zeros(len(blocks), 1)), dim=1)

"""How a network conditions on a code (PixelGAN autoencoders, appendix A.2; implicit autoencoders, D.1).

A *location-invariant* bias tells every pixel the same (what is in the image, not where); a
*location-dependent* one tells each pixel something of its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LocationInvariantBias(nn.Module):
    """Linear map from a condition to one bias a feature map, for each of several layers.

    All layers share one matrix product. There is no constant term: the layers' own biases are that.

    Args:
        condition: the length of the condition.
        widths: the number of feature maps of each layer.
    """

    def __init__(self, condition: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        self.linear = nn.Linear(condition, sum(self.widths), bias=False)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Map (n, condition) to one (n, width, 1, 1) a layer, to be added to its feature maps."""
        biases: Tensor = self.linear(condition)[:, :, None, None]
        return torch.split(biases, self.widths, dim=1)


class SpatialMap(nn.Module):
    """Network with one hidden layer of ReLU units and linear outputs, from a condition to an image of it.

    Args:
        condition: the length of the condition.
        maps: the number of feature maps (the papers' k).
        size: their height and width.
        hidden: the number of hidden units.
    """

    def __init__(self, condition: int, maps: int, size: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.shape = (maps, *size)
        self.layers = nn.Sequential(
            nn.Linear(condition, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, maps * size[0] * size[1])
        )

    def forward(self, condition: Tensor) -> Tensor:
        """Map (n, condition) to (n, maps, h, w)."""
        spatial: Tensor = self.layers(condition).view(-1, *self.shape)
        return spatial.contiguous(memory_format=torch.channels_last)


class LocationDependentBias(nn.Module):
    """Spatial map of a condition, spread over the feature maps of one or several layers.

    Args:
        condition: the length of the condition.
        widths: the number of feature maps of each layer.
        size: their height and width.
        hidden: the number of hidden units of the `SpatialMap`.
        maps: the number k of its maps. A single one is broadcast to all feature maps; more go through a
            1 × 1 convolution.
    """

    def __init__(
        self, condition: int, widths: Sequence[int], size: tuple[int, int], hidden: int = 1000, maps: int = 1
    ) -> None:
        super().__init__()
        self.widths = list(widths)
        self.spatial = SpatialMap(condition, maps, size, hidden)
        self.spread = nn.Conv2d(maps, sum(self.widths), kernel_size=1, bias=False) if maps > 1 else None

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Map (n, condition) to one (n, 1 or width, h, w) a layer, to be added to its feature maps."""
        spatial: Tensor = self.spatial(condition)
        if self.spread is None:
            return (spatial,) * len(self.widths)
        biases: Tensor = self.spread(spatial)
        return torch.split(biases, self.widths, dim=1)

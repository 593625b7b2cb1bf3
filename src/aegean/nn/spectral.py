"""Spectral normalisation (Miyato et al., 2018): every layer's weight divided by its largest singular value."""

from typing import TypeVar

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

N = TypeVar("N", bound=nn.Module)


def spectrally_normalised(network: N, on: bool = True) -> N:
    """Let all layers of a network have the spectral norm 1, those that take a condition too.

    A fully connected network of such layers with ReLU units changes its output by no more than its input changes, so a
    discriminator stays soft however far it is trained. The largest singular value is followed by one step of power
    iteration at each pass in training (algorithm 1). A convolution's weight is taken as a matrix of
    (outputs, inputs x height x width), as in the paper, which bounds its slope only up to a factor.

    Args:
        network: changed in place.
        on: False leaves it as it is.
    """
    for part in list(network.modules()) if on else ():
        if isinstance(part, nn.Linear | nn.Conv2d):
            spectral_norm(part)
    return network


def refuse_batch_norm(spectral: bool, batch_norm: str) -> None:
    """Refuse both normalisations at once.

    Raises:
        ValueError: both are set; a validator makes it a `ConfigError`.
    """
    if spectral and batch_norm != "none":
        raise ValueError(
            f"spectral_norm with batch_norm {batch_norm!r}: batch normalisation scales back what spectral "
            "normalisation has scaled; set batch_norm: none, or leave spectral_norm out."
        )

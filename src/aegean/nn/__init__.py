"""Networks and their building blocks; they know nothing of models.

A network is described by a configuration and made by its `build...` methods. `EncoderConfig`, `DecoderConfig`
and `DiscriminatorConfig` are what a model accepts in that place; all members of one have the same method
(`build_encoder`, `build_decoder`, `build_discriminator`).
"""

from typing import Annotated

from pydantic import Field

from aegean.nn.conv import (
    ConvEncoderConfig,
    ImageDiscriminatorConfig,
    StridedDecoderConfig,
    StridedEncoderConfig,
)
from aegean.nn.mlp import MLPConfig
from aegean.nn.noise import Dropout, GaussianNoise, Noisy, bind_rng
from aegean.nn.pixelcnn import PixelCNN, PixelCNNConfig
from aegean.nn.pixelcnn_sampling import sample as sample_pixelcnn

#: From an image, and extra inputs, to a vector.
EncoderConfig = Annotated[MLPConfig | ConvEncoderConfig | StridedEncoderConfig, Field(discriminator="kind")]

#: From a vector to the parameters of a likelihood, image-shaped.
DecoderConfig = Annotated[MLPConfig | StridedDecoderConfig, Field(discriminator="kind")]

#: From an image, and extra inputs, to a logit and features. (A discriminator of codes is an `MLPConfig`.)
DiscriminatorConfig = Annotated[MLPConfig | ImageDiscriminatorConfig, Field(discriminator="kind")]

__all__ = [
    "ConvEncoderConfig",
    "DecoderConfig",
    "DiscriminatorConfig",
    "Dropout",
    "EncoderConfig",
    "GaussianNoise",
    "ImageDiscriminatorConfig",
    "MLPConfig",
    "Noisy",
    "PixelCNN",
    "PixelCNNConfig",
    "StridedDecoderConfig",
    "StridedEncoderConfig",
    "bind_rng",
    "sample_pixelcnn",
]

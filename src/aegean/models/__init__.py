"""One paper a file. `ModelConfig` is the union of their configurations; `create` builds a model from one."""

from typing import Annotated, Any

from pydantic import Field

from aegean.config import Config
from aegean.models.aae import AAE, AAEConfig
from aegean.models.aae_categorical import CategoricalAAE, CategoricalAAEConfig
from aegean.models.ali import ALI, ALIConfig
from aegean.models.base import Group, Model, Moment, Phase, Shape, registry
from aegean.models.flipped_implicit import FlippedImplicitAutoencoder, FlippedImplicitAutoencoderConfig
from aegean.models.gan import GAN, GANConfig
from aegean.models.implicit import ImplicitAutoencoder, ImplicitAutoencoderConfig
from aegean.models.infogan import InfoGAN, InfoGANConfig
from aegean.models.pixelcnn import PixelCNNModel, PixelCNNModelConfig
from aegean.models.pixelgan import PixelGAN, PixelGANConfig
from aegean.models.vae import VAE, VAEConfig
from aegean.models.vae_gan import VAEGAN, VAEGANConfig

ModelConfig = Annotated[
    VAEConfig
    | AAEConfig
    | CategoricalAAEConfig
    | VAEGANConfig
    | PixelCNNModelConfig
    | PixelGANConfig
    | GANConfig
    | InfoGANConfig
    | ImplicitAutoencoderConfig
    | FlippedImplicitAutoencoderConfig
    | ALIConfig,
    Field(discriminator="kind"),
]


def create(config: Config, shape: Shape, classes: int = 0, seed: int = 0, **parts: Any) -> Model:
    """Build the model of a configuration; the arguments are those of `Model.create`."""
    by_config = {model.config_class: model for model in registry().values()}
    return by_config[type(config)].create(config, shape, classes, seed, **parts)


__all__ = [
    "AAE", "ALI", "GAN", "VAE", "VAEGAN", "AAEConfig", "ALIConfig", "CategoricalAAE", "CategoricalAAEConfig",
    "FlippedImplicitAutoencoder", "FlippedImplicitAutoencoderConfig", "GANConfig", "Group", "ImplicitAutoencoder",
    "ImplicitAutoencoderConfig", "InfoGAN", "InfoGANConfig", "Model", "ModelConfig", "Moment", "Phase", "PixelCNNModel",
    "PixelCNNModelConfig", "PixelGAN", "PixelGANConfig", "Shape", "VAEConfig", "VAEGANConfig", "create", "registry",
]  # fmt: skip

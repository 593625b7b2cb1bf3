"""Toys of "Implicit Autoencoders" on points in the plane: figures 5, 8 and 9, each in seconds on one core.

The paper gives neither networks nor optimiser for them.
"""

from aegean.adversary import Adversary
from aegean.data import Points
from aegean.experiment import Experiment
from aegean.models import (
    FlippedImplicitAutoencoderConfig,
    GANConfig,
    ImplicitAutoencoderConfig,
    InfoGANConfig,
)
from aegean.nn import MLPConfig
from aegean.priors import Categorical, Gaussian, Product
from aegean.train import Adam, TrainConfig

#: Of all networks of the toys. With batch normalisation generators reach all modes, and encoders keep all clusters.
_LAYERS = MLPConfig(widths=(128, 128))
_GENERATOR = MLPConfig(widths=(128, 128), batch_norm="hidden")
_CLUSTERS = MLPConfig(widths=(128, 128), batch_norm="all")


def _train(epochs: int) -> TrainConfig:
    """Rates fall to a tenth near the end, because two players who answer each other's last move never come to rest."""
    adam = Adam(rate=1e-3, betas=(0.5, 0.9), drops=((0.75 * epochs, 0.1),))
    return TrainConfig(
        epochs=epochs, batch_size=200, optimizers={"default": adam}, evaluate_every=0, precision="float32", device="cpu"
    )


def gan_points() -> Experiment:
    """Figure 5b: a GAN of seven Gaussians whose noise is a category of seven and a 10-D Gaussian."""
    return Experiment(
        name="gan-points",
        title="GAN with a category and 10-D noise on seven Gaussians",
        source="Implicit Autoencoders, figure 5b",
        row="stabilised",
        protocols=("mode-information",),
        data=Points(modes=7, std=0.04, labels_per_class=0),
        model=GANConfig(
            prior=Product(parts=(Categorical(categories=7), Gaussian(dim=10))),
            generator=_GENERATOR,
            discriminator=_LAYERS,
            adversary=Adversary(r1=0.001),
        ),
        train=_train(60),
    )


def implicit_points() -> Experiment:
    """Figure 5c: an implicit autoencoder of the same points with the same decoder; it infers the category."""
    return Experiment(
        name="implicit-points",
        title="Implicit autoencoder with a category and 10-D noise on seven Gaussians",
        source="Implicit Autoencoders, figure 5c",
        row="stabilised",
        protocols=("mode-information",),
        data=Points(modes=7, std=0.04, labels_per_class=0),
        model=ImplicitAutoencoderConfig(
            prior=Categorical(categories=7),
            noise=10,
            encoder=_CLUSTERS,
            decoder=_GENERATOR,
            discriminator=_LAYERS,
            adversary=Adversary(r1=0.001),
            code_discriminator=_LAYERS,
            code_adversary=Adversary(r1=0.03),
        ),
        train=_train(60),
    )


def infogan_points() -> Experiment:
    """Figure 8: an InfoGAN of four points with a 2-D code, whose learned posterior is a factorised Gaussian."""
    return Experiment(
        name="infogan-points",
        title="InfoGAN with a 2-D code on four points",
        source="Implicit Autoencoders, figure 8",
        row="stabilised",
        protocols=("posterior-divergence",),
        data=Points(modes=4, std=0.0, labels_per_class=0),
        model=InfoGANConfig(
            prior=Gaussian(dim=2),
            noise=0,
            generator=_LAYERS,
            discriminator=_LAYERS,
            recognition=MLPConfig(widths=(128,)),
            adversary=Adversary(r1=0.01),
        ),
        train=_train(80),
    )


def flipped_implicit_points() -> Experiment:
    """Figure 9: a flipped implicit autoencoder of the same points, whose learned posterior is implicit."""
    return Experiment(
        name="flipped-implicit-points",
        title="Flipped implicit autoencoder with a 2-D code on four points",
        source="Implicit Autoencoders, figure 9",
        row="stabilised",
        protocols=("posterior-divergence",),
        data=Points(modes=4, std=0.0, labels_per_class=0),
        model=FlippedImplicitAutoencoderConfig(
            prior=Gaussian(dim=2),
            likelihood="deterministic",
            noise=0,
            posterior="stochastic",
            posterior_noise=10,
            encoder=_LAYERS,
            decoder=_LAYERS,
            image_discriminator=_LAYERS,
            image_adversary=Adversary(r1=0.01),
            discriminator=_LAYERS,
            adversary=Adversary(r1=0.003),
        ),
        train=_train(80),
    )


RECIPES = (gan_points, implicit_points, infogan_points, flipped_implicit_points)

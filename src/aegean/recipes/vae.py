"""VAE and VAE/GAN."""

from aegean.data import MNIST
from aegean.experiment import Experiment
from aegean.models import VAEConfig, VAEGANConfig
from aegean.nn import MLPConfig
from aegean.priors import Gaussian, GaussianMixture
from aegean.schedules import Anneal
from aegean.train import Adam, TrainConfig


def vae_mnist() -> Experiment:
    """Two-dimensional code; the networks of the AAE paper's figure 2, so that the two can stand side by side."""
    layers = MLPConfig(widths=(1000, 1000))
    return Experiment(
        name="vae-mnist",
        title="VAE with a 2-D Gaussian code on MNIST",
        source="Kingma and Welling 2014; networks of Makhzani et al. 2015, figure 2c",
        row="faithful",
        protocols=("code-match",),
        data=MNIST(labels_per_class=0),
        model=VAEConfig(prior=Gaussian(dim=2), encoder=layers, decoder=layers),
        train=TrainConfig(epochs=15, optimizers={"elbo": Adam(rate=Anneal(start=1e-3, end=5e-5, epochs=15))}),
    )


def vae_mnist_mixture() -> Experiment:
    """The AAE paper's figure 2d: a VAE whose prior is the mixture of ten 2-D Gaussians."""
    return vae_mnist().override(
        {
            "name": "vae-mnist-mixture",
            "title": "VAE with a mixture of ten 2-D Gaussians as prior on MNIST",
            "source": "Makhzani et al. 2015, figure 2d",
            "model.prior": GaussianMixture(components=10).to_dict(),
        }
    )


def vae_gan_mnist() -> Experiment:
    """The reconstruction error measured in the discriminator's features. The paper has no MNIST experiment."""
    return Experiment(
        name="vae-gan-mnist",
        title="VAE/GAN on MNIST",
        source="Larsen et al. 2016, algorithm 1",
        row="extended",
        data=MNIST(),
        model=VAEGANConfig(code=32),
        train=TrainConfig(
            epochs=20,
            batch_size=64,
            optimizers={
                "encode": Adam(rate=3e-4, betas=(0.5, 0.999)),
                "decode": Adam(rate=3e-4, betas=(0.5, 0.999)),
                "discriminate": Adam(rate=1e-4, betas=(0.5, 0.999)),
            },
        ),
    )


RECIPES = (vae_mnist, vae_mnist_mixture, vae_gan_mnist)

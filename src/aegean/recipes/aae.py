"""Adversarial autoencoders (Makhzani et al., 2015)."""

from aegean.data import MNIST
from aegean.experiment import Experiment
from aegean.models import AAEConfig
from aegean.nn import MLPConfig
from aegean.priors import Gaussian, GaussianMixture, SwissRoll
from aegean.train import SGD, TrainConfig


def aae_mnist() -> Experiment:
    """The networks and the prior of table 1's MNIST column (footnote 1): 8-D code, standard deviation 5.

    The paper names no optimiser for it; these are the settings that public code gives for the paper.
    """
    layers = MLPConfig(widths=(1000, 1000))
    return Experiment(
        name="aae-mnist",
        title="AAE with an 8-D Gaussian code on MNIST",
        source="Makhzani et al. 2015, figure 6 and table 1, footnote 1",
        row="faithful",
        data=MNIST(),
        model=AAEConfig(prior=Gaussian(dim=8, std=5.0), encoder=layers, decoder=layers, discriminator=layers),
        train=TrainConfig(
            epochs=50,
            optimizers={
                "reconstruct": SGD(rate=0.01, momentum=0.9),
                "discriminate": SGD(rate=0.1, momentum=0.1),
                "confuse": SGD(rate=0.1, momentum=0.1),
            },
        ),
    )


def aae_mnist_gaussian_posterior() -> Experiment:
    """The second of section 2's three posteriors."""
    return aae_mnist().override(
        {
            "name": "aae-mnist-gaussian-posterior",
            "title": "AAE with a Gaussian posterior on MNIST",
            "source": "Makhzani et al. 2015, section 2",
            "model.posterior": "gaussian",
        }
    )


def aae_mnist_universal_posterior() -> Experiment:
    """The third of section 2's three posteriors; the paper does not give the noise's dimension."""
    return aae_mnist().override(
        {
            "name": "aae-mnist-universal-posterior",
            "title": "AAE with a universal approximator posterior on MNIST",
            "source": "Makhzani et al. 2015, section 2",
            "model.posterior": "universal",
            "model.noise": 16,
        }
    )


def aae_mnist_mixture() -> Experiment:
    """Figure 2b: the code space becomes a mixture of ten 2-D Gaussians."""
    return _two_dimensional("aae-mnist-mixture", "a mixture of ten 2-D Gaussians", GaussianMixture(components=10))


def aae_mnist_swiss_roll() -> Experiment:
    """Figure 4's second prior, without labels: a swiss roll."""
    return _two_dimensional("aae-mnist-swiss-roll", "a swiss roll", SwissRoll())


def _two_dimensional(name: str, what: str, prior: GaussianMixture | SwissRoll) -> Experiment:
    return aae_mnist().override(
        {
            "name": name,
            "title": f"AAE with {what} as prior on MNIST",
            "source": "Makhzani et al. 2015, figures 2 and 4",
            "model.prior": prior.to_dict(),
        }
    )


RECIPES = (
    aae_mnist,
    aae_mnist_gaussian_posterior,
    aae_mnist_universal_posterior,
    aae_mnist_mixture,
    aae_mnist_swiss_roll,
)

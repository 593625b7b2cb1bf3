"""Adversarial autoencoders (Makhzani et al., 2015): codes matched to a prior, with or without labels.

Their paper names gradient descent and no rates. The *faithful* rows have those that public code gives for it; with
them two-dimensional codes do not find their prior, so these are *stabilised* by Adam with falling rates.
"""

from aegean.data import MNIST, TFD, Faces
from aegean.experiment import Experiment
from aegean.models import AAEConfig
from aegean.nn import MLPConfig
from aegean.priors import Gaussian, GaussianMixture, SwissRoll
from aegean.schedules import Anneal
from aegean.train import SGD, Adam, TrainConfig


def aae_mnist() -> Experiment:
    """The networks and the prior of table 1's MNIST column (footnote 1): 8-D code, standard deviation 5."""
    layers = MLPConfig(widths=(1000, 1000))
    return Experiment(
        name="aae-mnist",
        title="AAE with an 8-D Gaussian code on MNIST",
        source="Makhzani et al. 2015, figure 6a and table 1, footnote 1",
        row="faithful",
        paper={"parzen": "340 ± 2"},
        protocols=("parzen", "code-match"),
        data=MNIST(labels_per_class=0),
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


def aae_mnist_10m() -> Experiment:
    """Table 1's second column: the same model judged with ten million samples."""
    return aae_mnist().override(
        {
            "name": "aae-mnist-10m",
            "title": "AAE with an 8-D Gaussian code on MNIST, judged with ten million samples",
            "source": "Makhzani et al. 2015, table 1",
            "paper": {"parzen_10m": "427"},
            "protocols": ["parzen-10m"],
        }
    )


def aae_mnist_stable() -> Experiment:
    """Table 1's MNIST column with the Gaussian posterior, dropout, rates that fall, and averaged weights."""
    experiment = aae_mnist()
    return experiment.override(
        {
            "name": "aae-mnist-stable",
            "title": "AAE with an 8-D Gaussian code on MNIST, Gaussian posterior and dropout",
            "row": "stabilised",
            "train.epochs": 90,
            "train.ema": 0.999,
            "train.optimizers": {
                name: optimizer.override({"drops": [[80, 0.1]]}).to_dict()
                for name, optimizer in experiment.train.optimizers.items()
            },
            "model.posterior": "gaussian",
            **{f"model.{network}.dropout": 0.2 for network in ("encoder", "decoder", "discriminator")},
        }
    )


def aae_mnist_gaussian_posterior() -> Experiment:
    """The second of section 2's three posteriors."""
    return aae_mnist().override(
        {
            "name": "aae-mnist-gaussian-posterior",
            "title": "AAE with a Gaussian posterior on MNIST",
            "source": "Makhzani et al. 2015, section 2",
            "paper": {},
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
            "paper": {},
            "model.posterior": "universal",
            "model.noise": 16,
        }
    )


def aae_tfd() -> Experiment:
    """Figure 6b and table 1's TFD column: 15-D code, standard deviation 10, 48x48 faces."""
    return aae_mnist().override(
        {
            "name": "aae-tfd",
            "title": "AAE with a 15-D Gaussian code on Toronto Faces",
            "source": "Makhzani et al. 2015, figure 6b and table 1, footnote 1",
            "paper": {"parzen": "2252 ± 16"},
            "data": TFD(labels_per_class=0).to_dict(),
            "model.prior": Gaussian(dim=15, std=10.0).to_dict(),
            "model.likelihood.activation": "linear",
            # With the rates of `aae_mnist` training overflows in its first steps; without normalised hidden units the
            # codes never reach a prior as wide as this.
            "row": "stabilised",
            "model.encoder.batch_norm": "hidden",
            "train.optimizers": falling_adam(50, discriminate=5e-5, confuse=5e-4),
        }
    )


def aae_lfw() -> Experiment:
    """The faces of `aae_tfd` replaced by others that can be had: Labeled Faces in the Wild, 48x48."""
    return aae_tfd().override(
        {
            "name": "aae-lfw",
            "title": "AAE with a 15-D Gaussian code on Labeled Faces in the Wild",
            "source": "in the manner of Makhzani et al. 2015, figure 6b",
            "paper": {},
            "row": "extended",
            "data": Faces(labels_per_class=0).to_dict(),
        }
    )


# ---- two-dimensional codes: figures 2 and 4 ------------------------------------------------------------------------


def aae_mnist_2d() -> Experiment:
    """Figure 2a and 2e: a spherical 2-D Gaussian, and the manifold by its percentiles; PixelGAN's figure 2c."""
    experiment = _two_dimensional("aae-mnist-2d", "a 2-D Gaussian", Gaussian(dim=2), "figures 2a and 2e")
    return experiment.override({"protocols": [*experiment.protocols, "sample-classes"]})


def aae_mnist_mixture() -> Experiment:
    """Figure 2b: the code space becomes a mixture of ten 2-D Gaussians."""
    prior = GaussianMixture(components=10)
    return _two_dimensional("aae-mnist-mixture", "a mixture of ten 2-D Gaussians", prior, "figure 2b")


def aae_mnist_swiss_roll() -> Experiment:
    """Figure 4's second prior, without labels: a swiss roll."""
    return _two_dimensional("aae-mnist-swiss-roll", "a swiss roll", SwissRoll(), "section 3.1")


def aae_mnist_mixture_labels() -> Experiment:
    """Figures 4a and 4b: each component of the mixture a class, 10K labelled and 40K unlabelled images."""
    return _label_aware(aae_mnist_mixture(), "figures 4a and 4b")


def aae_mnist_swiss_roll_labels() -> Experiment:
    """Figures 4c and 4d: each tenth of the swiss roll a class, 10K labelled and 40K unlabelled images."""
    return _label_aware(aae_mnist_swiss_roll(), "figures 4c and 4d")


def _two_dimensional(name: str, what: str, prior: Gaussian | GaussianMixture | SwissRoll, source: str) -> Experiment:
    return aae_mnist().override(
        {
            "name": name,
            "title": f"AAE with {what} as prior on MNIST",
            "source": f"Makhzani et al. 2015, {source}",
            "paper": {},
            "row": "stabilised",
            "protocols": ["code-match"],
            "model.prior": prior.to_dict(),
            "train.epochs": 15,
            "train.optimizers": falling_adam(15),
        }
    )


def falling_adam(epochs: int, discriminate: float = 2e-4, confuse: float = 1e-3) -> dict[str, object]:
    """Adam with rates that fall linearly to a twentieth; the discriminator is the slower one."""
    starts = {"reconstruct": 1e-3, "discriminate": discriminate, "confuse": confuse}
    return {
        phase: Adam(rate=Anneal(start=start, end=start / 20, epochs=epochs)).to_dict()
        for phase, start in starts.items()
    }


def _label_aware(experiment: Experiment, source: str) -> Experiment:
    return experiment.override(
        {
            "name": f"{experiment.name}-labels",
            "title": f"{experiment.title}, 10,000 labels told to the discriminator",
            "source": f"Makhzani et al. 2015, section 3.1, {source}",
            "data.labels_per_class": 1000,
            "model.label_aware": True,
        }
    )


RECIPES = (
    aae_mnist,
    aae_mnist_10m,
    aae_mnist_stable,
    aae_mnist_gaussian_posterior,
    aae_mnist_universal_posterior,
    aae_tfd,
    aae_lfw,
    aae_mnist_2d,
    aae_mnist_mixture,
    aae_mnist_swiss_roll,
    aae_mnist_mixture_labels,
    aae_mnist_swiss_roll_labels,
)

"""Cross-domain relations (Makhzani and Frey, 2017, section 4).

The prior is a second domain: class labels, or samples of another data set. The code of an image is then what stands for
it there.
"""

from aegean.adversary import Adversary
from aegean.experiment import Experiment
from aegean.likelihoods import Bernoulli
from aegean.models import AAEConfig
from aegean.nn import MLPConfig
from aegean.priors import Empirical
from aegean.recipes.pixelgan import pixelgan_mnist_100
from aegean.schedules import Anneal
from aegean.train import Adam

# ---- labels as the second domain -------------------------------------------------------------------------------------


def pixelgan_mnist_100_matching() -> Experiment:
    """Section 4, figure 9a: output distribution matching and 100 labels, without reconstruction."""
    experiment = pixelgan_mnist_100()
    return experiment.override(
        {
            "name": "pixelgan-mnist-100-matching",
            "title": "Output distribution matching on MNIST, 100 labels",
            "source": "Makhzani and Frey 2017, section 4, figure 9a",
            "protocols": [],
            "paper": {},
            "model.reconstruction": False,
            "train.optimizers": {
                name: optimizer.to_dict()
                for name, optimizer in experiment.train.optimizers.items()
                if name != "reconstruct"
            },
        }
    )


# ---- another set of digits as the second domain ----------------------------------------------------------------------

_ENCODER = MLPConfig(widths=(1000, 1000), batch_norm="hidden")
_ADVERSARY = Adversary(r1=1.0)
_EPOCHS = 10


def pixelgan_mnist_to_digits() -> Experiment:
    """MNIST mapped onto another set of digits (scikit-learn's, 16 principal components) without any pair."""
    return pixelgan_mnist_100().override(
        {
            "name": "pixelgan-mnist-to-digits",
            "title": "MNIST mapped onto scikit-learn's digits by a PixelGAN autoencoder",
            "source": "in the manner of Makhzani and Frey 2017, section 4",
            "row": "extended",
            "paper": {},
            "protocols": ["cross-domain", "code-match"],
            "data.labels_per_class": 0,
            "model.prior": Empirical(samples="digits", principal=16).to_dict(),
            "model.encoder": _ENCODER.to_dict(),
            "model.adversary": _ADVERSARY.to_dict(),
            "model.reconstruct_every": 4,
            "model.supervised": False,
            "model.label_aware": True,
            "train.epochs": _EPOCHS,
            "train.ema": 0.99,
            "train.optimizers": {
                "reconstruct": Adam(rate=Anneal(start=1e-3, end=5e-5, epochs=_EPOCHS)).to_dict(),
                # The encoder of a game alone, five times as fast as its discriminator, collapses.
                "default": Adam(rate=Anneal(start=2e-4, end=1e-5, epochs=_EPOCHS), betas=(0.5, 0.999)).to_dict(),
            },
        }
    )


def pixelgan_mnist_to_digits_pairs() -> Experiment:
    """With 100 pairs: of ten images a class it is known which class of the other set they belong to."""
    return _pairs(pixelgan_mnist_to_digits())


def matching_mnist_to_digits() -> Experiment:
    """Output distribution matching: the same without reconstruction (figure 9a)."""
    experiment = pixelgan_mnist_to_digits()
    return experiment.override(
        {
            "name": "matching-mnist-to-digits",
            "title": "MNIST mapped onto scikit-learn's digits by output distribution matching",
            "model.reconstruction": False,
            "model.reconstruct_every": 1,
            "train.optimizers": {"default": experiment.train.optimizers["default"].to_dict()},
        }
    )


def matching_mnist_to_digits_pairs() -> Experiment:
    """Output distribution matching with 100 pairs."""
    return _pairs(matching_mnist_to_digits())


def aae_mnist_to_digits() -> Experiment:
    """The same encoder in an adversarial autoencoder, whose code has to keep all of the image (figure 9b)."""
    return pixelgan_mnist_to_digits().override(
        {
            "name": "aae-mnist-to-digits",
            "title": "MNIST mapped onto scikit-learn's digits by an AAE",
            "model": AAEConfig(
                prior=Empirical(samples="digits", principal=16),
                encoder=_ENCODER,
                discriminator=MLPConfig(widths=(1000, 1000)),
                likelihood=Bernoulli(),
                adversary=_ADVERSARY,
                input_noise=0.3,
                label_aware=True,
            ).to_dict(),
        }
    )


def aae_mnist_to_digits_pairs() -> Experiment:
    """The adversarial autoencoder with 100 pairs."""
    return _pairs(aae_mnist_to_digits())


def _pairs(experiment: Experiment) -> Experiment:
    return experiment.override(
        {
            "name": f"{experiment.name}-pairs",
            "title": f"{experiment.title}, 100 pairs",
            "data.labels_per_class": 10,
            "model.paired": True,
        }
    )


RECIPES = (
    pixelgan_mnist_100_matching,
    pixelgan_mnist_to_digits,
    pixelgan_mnist_to_digits_pairs,
    matching_mnist_to_digits,
    matching_mnist_to_digits_pairs,
    aae_mnist_to_digits,
    aae_mnist_to_digits_pairs,
)

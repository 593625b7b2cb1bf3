"""PixelGAN autoencoders with categorical codes (Makhzani and Frey, 2017): table 1 and figures 5 to 8.

Gaussian codes (figures 2 and 3) are in `pixelgan_gaussian`, cross-domain relations (section 4) in `pixelgan_relations`,
the same cells with what the paper lacks in `pixelgan_extended`.
"""

from typing import Any

from aegean.data import MNIST, NORB, SVHN, Digits
from aegean.experiment import Experiment
from aegean.likelihoods import DiscretizedLogisticMixture
from aegean.models import PixelGANConfig
from aegean.nn import ConvEncoderConfig, MLPConfig, PixelCNNConfig, StridedEncoderConfig
from aegean.priors import Categorical
from aegean.schedules import Anneal
from aegean.train import SGD, Adam, TrainConfig


def pixelgan_mnist_100() -> Experiment:
    """Semi-supervised binary MNIST, appendix B.1.3 to the letter.

    The paper gives no batch size and no number of epochs; 100 labels fill one mini-batch.
    """
    adversarial = SGD(rate=0.1, momentum=0.1)
    return Experiment(
        name="pixelgan-mnist-100",
        title="Semi-supervised PixelGAN autoencoder on MNIST, 100 labels",
        source="Makhzani and Frey 2017, table 1, appendix B.1.3",
        row="faithful",
        protocols=("sample-classes",),
        paper={"error": "1.08 ± 0.15"},
        data=MNIST(labels_per_class=10, binarize="threshold"),
        model=PixelGANConfig(
            prior=Categorical(categories=10),
            encoder=ConvEncoderConfig(stages=((3, 5, 32), (3, 5, 32)), batch_norm="hidden"),
            decoder=PixelCNNConfig(blocks=6, filter=(3, 5), channels=32, conditioning="location-invariant"),
            discriminator=MLPConfig(widths=(1000, 1000)),
            input_noise=0.3,
            supervised=True,
        ),
        train=TrainConfig(
            epochs=100,
            optimizers={
                "reconstruct": Adam(rate=1e-3),
                "discriminate": adversarial,
                "confuse": adversarial,
                "classify": Adam(rate=1e-3),
            },
        ),
    )


def pixelgan_mnist_30() -> Experiment:
    """Clustering of binary MNIST with 30 clusters, appendix B.1.2 to the letter."""
    adversarial = SGD(rate=0.01, momentum=0.1)
    return Experiment(
        name="pixelgan-mnist-30",
        title="Unsupervised clustering of MNIST with 30 clusters",
        source="Makhzani and Frey 2017, figure 6 and table 1, appendix B.1.2",
        row="faithful",
        paper={"error": "5.27 ± 1.81"},
        data=MNIST(labels_per_class=0, binarize="threshold"),
        model=PixelGANConfig(
            prior=Categorical(categories=30),
            encoder=ConvEncoderConfig(stages=((1, 7, 32), (1, 7, 32)), batch_norm="all"),
            decoder=PixelCNNConfig(blocks=15, filter=(3, 5), channels=32, conditioning="location-invariant"),
            discriminator=MLPConfig(widths=(3000, 3000)),
            input_dropout=0.2,
        ),
        train=TrainConfig(
            epochs=100,
            optimizers={"reconstruct": Adam(rate=1e-3), "discriminate": adversarial, "confuse": adversarial},
        ),
    )


# ---- figure 5: three digits ------------------------------------------------------------------------------------------


def pixelgan_mnist_three() -> Experiment:
    """Figure 5b: the digits 0, 1 and 2 in three clusters; appendix B.1.2 with three clusters."""
    return pixelgan_mnist_30().override(
        {
            "name": "pixelgan-mnist-three",
            "title": "Three digits in three clusters",
            "source": "Makhzani and Frey 2017, figure 5b, appendix B.1.2",
            "paper": {"error": "0.3"},
            "data.classes": [0, 1, 2],
            "model.prior.categories": 3,
        }
    )


def pixelgan_mnist_three_free() -> Experiment:
    """Figure 5a: the same without the adversarial phase."""
    return _free(pixelgan_mnist_three()).override({"name": "pixelgan-mnist-three-free"})


def pixelgan_mnist_three_strided() -> Experiment:
    """Figure 5b at full length in minutes: a strided encoder, a decoder of six blocks at every second step, Adam."""
    experiment = pixelgan_mnist_three()
    return experiment.override(
        {
            "name": "pixelgan-mnist-three-strided",
            "title": f"{experiment.title}, by a strided encoder",
            "row": "stabilised",
            "model.encoder": StridedEncoderConfig(widths=(32, 64, 128), kernel=5, batch_norm="all").to_dict(),
            "model.decoder.blocks": 6,
            "model.discriminator.widths": [1000, 1000],
            "model.reconstruct_every": 2,
            **faster_training(epochs=12),
        }
    )


def pixelgan_mnist_three_free_strided() -> Experiment:
    """Figure 5a in the same way."""
    return _free(pixelgan_mnist_three_strided()).override({"name": "pixelgan-mnist-three-free-strided"})


def _free(experiment: Experiment) -> Experiment:
    optimizers = experiment.train.optimizers.items()
    return experiment.override(
        {
            "title": experiment.title.replace("in three clusters", "without the adversarial phase"),
            "source": "Makhzani and Frey 2017, figure 5a",
            "paper": {},
            "model.adversarial": False,
            "train.optimizers": {k: v.to_dict() for k, v in optimizers if k not in ("discriminate", "confuse")},
        }
    )


def faster_training(epochs: int) -> dict[str, Any]:
    """Adam by rates that fall, smaller ones of the game; larger batches, stratified ones of p(z); averaged weights."""
    rate, game = Anneal(start=1e-3, end=5e-5, epochs=epochs), Anneal(start=2e-4, end=2e-5, epochs=epochs)
    optimizers = {"default": Adam(rate=rate)} | dict.fromkeys(
        ("discriminate", "confuse"), Adam(rate=game, betas=(0.5, 0.999))
    )
    return {
        "model.prior.stratified": True,
        "train.epochs": epochs,
        "train.batch_size": 200,
        "train.ema": 0.99,
        "train.optimizers": {name: optimizer.to_dict() for name, optimizer in optimizers.items()},
    }


# ---- table 1 and figure 8: few labels --------------------------------------------------------------------------------


def pixelgan_mnist_20() -> Experiment:
    """Table 1, 20 labels."""
    return _labels(20, "12.08 ± 5.50")


def pixelgan_mnist_50() -> Experiment:
    """Table 1, 50 labels."""
    return _labels(50, "1.16 ± 0.17")


def _labels(count: int, paper: str) -> Experiment:
    return pixelgan_mnist_100().override(
        {
            "name": f"pixelgan-mnist-{count}",
            "title": f"Semi-supervised PixelGAN autoencoder on MNIST, {count} labels",
            "protocols": [],
            "paper": {"error": paper},
            "data.labels_per_class": count // 10,
        }
    )


def pixelgan_mnist_100_stable() -> Experiment:
    """100 labels by the paper's networks and phases alone in an eighth of its epochs: Adam with falling rates."""
    experiment = pixelgan_mnist_100()
    return experiment.override(
        {
            "name": "pixelgan-mnist-100-stable",
            "title": f"{experiment.title}, rates that fall",
            "row": "stabilised",
            **faster_training(epochs=12),
            "train.batch_size": 100,
        }
    )


def pixelgan_mnist_100_grey() -> Experiment:
    """Figure 8b: real-valued MNIST, appendix B.1.3; the paper's error is "about 1.10 %"."""
    decoder = PixelCNNConfig(blocks=20, filter=(2, 3), channels=64, gated=True, conditioning="location-invariant")
    experiment = pixelgan_mnist_100()
    return experiment.override(
        {
            "name": "pixelgan-mnist-100-grey",
            "title": "Semi-supervised PixelGAN autoencoder on real-valued MNIST, 100 labels",
            "source": "Makhzani and Frey 2017, figure 8b, appendix B.1.3",
            "paper": {"error": "1.10"},
            "data.binarize": None,
            "model.decoder": decoder.to_dict(),
            "model.likelihood": DiscretizedLogisticMixture(components=10).to_dict(),
            "train.epochs": 200,
            "train.optimizers": {
                name: optimizer.override({"drops": [[150, 0.1]]}).to_dict()
                for name, optimizer in experiment.train.optimizers.items()
            },
        }
    )


def pixelgan_svhn_1000() -> Experiment:
    """Table 1, SVHN with 1000 labels at 16x16, appendix B.2.1 to the letter."""
    adversarial = Adam(rate=1e-4)
    return Experiment(
        name="pixelgan-svhn-1000",
        title="Semi-supervised PixelGAN autoencoder on SVHN, 1000 labels",
        source="Makhzani and Frey 2017, table 1, appendix B.2.1",
        row="faithful",
        paper={"error": "6.96 ± 0.55"},
        data=SVHN(size=16, labels_per_class=100),
        model=PixelGANConfig(
            prior=Categorical(categories=10),
            encoder=ConvEncoderConfig(stages=((2, 5, 32), (2, 5, 32)), batch_norm="hidden"),
            decoder=PixelCNNConfig(
                blocks=20, filter=(3, 5), channels=32, gated=True, conditioning="location-invariant"
            ),
            discriminator=MLPConfig(widths=(1000, 1000)),
            likelihood=DiscretizedLogisticMixture(components=10),
            input_noise=0.2,
            supervised=True,
        ),
        train=TrainConfig(
            epochs=100,
            optimizers={
                "reconstruct": Adam(rate=1e-3),
                "discriminate": adversarial,
                "confuse": adversarial,
                "classify": Adam(rate=1e-3),
            },
        ),
    )


def pixelgan_svhn_500() -> Experiment:
    """Table 1, SVHN with 500 labels."""
    return pixelgan_svhn_1000().override(
        {
            "name": "pixelgan-svhn-500",
            "title": "Semi-supervised PixelGAN autoencoder on SVHN, 500 labels",
            "paper": {"error": "10.47 ± 1.80"},
            "data.labels_per_class": 50,
        }
    )


def pixelgan_norb_1000() -> Experiment:
    """Table 1, NORB with 1000 labels at 32x32, appendix B.3.1 to the letter."""
    return pixelgan_svhn_1000().override(
        {
            "name": "pixelgan-norb-1000",
            "title": "Semi-supervised PixelGAN autoencoder on small NORB, 1000 labels",
            "source": "Makhzani and Frey 2017, table 1, appendix B.3.1",
            "paper": {"error": "8.90 ± 1.0"},
            "data": NORB(labels_per_class=200).to_dict(),
            "model.prior.categories": 5,
            "model.encoder.stages": [[1, 7, 32], [1, 7, 32], [1, 7, 32]],
            "model.decoder.blocks": 15,
            "model.input_noise": 0.3,
            "train.epochs": 500,
        }
    )


# ---- the demonstration -----------------------------------------------------------------------------------------------


def digits_pixelgan_100() -> Experiment:
    """The demonstration: scikit-learn's 8x8 digits with ten labels a class, in three minutes on two CPU cores.

    The objective is that of `pixelgan_mnist_100`. What differs: smaller kernels and fewer blocks for smaller images;
    the 17 grey levels as they are, under a mixture of five logistics; an average of the weights for evaluation.
    """
    return pixelgan_mnist_100().override(
        {
            "name": "digits-pixelgan-100",
            "title": "Semi-supervised PixelGAN autoencoder on scikit-learn's digits, 100 labels",
            "source": "in the manner of Makhzani and Frey 2017, appendix B.1.3",
            "row": "stabilised",
            "protocols": [],
            "paper": {},
            "data": Digits(labels_per_class=10).to_dict(),
            "model.encoder.stages": [[2, 3, 32], [2, 3, 32]],
            "model.decoder.blocks": 4,
            "model.likelihood": DiscretizedLogisticMixture(components=5, levels=17).to_dict(),
            "train.epochs": 120,
            "train.ema": 0.99,
        }
    )


RECIPES = (
    digits_pixelgan_100,
    pixelgan_mnist_100,
    pixelgan_mnist_30,
    pixelgan_mnist_three,
    pixelgan_mnist_three_free,
    pixelgan_mnist_three_strided,
    pixelgan_mnist_three_free_strided,
    pixelgan_mnist_20,
    pixelgan_mnist_50,
    pixelgan_mnist_100_stable,
    pixelgan_mnist_100_grey,
    pixelgan_svhn_1000,
    pixelgan_svhn_500,
    pixelgan_norb_1000,
)

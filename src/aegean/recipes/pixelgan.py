"""PixelGAN autoencoders (Makhzani and Frey, 2017)."""

from aegean.data import MNIST, Digits
from aegean.experiment import Experiment
from aegean.likelihoods import DiscretizedLogisticMixture
from aegean.models import PixelGANConfig
from aegean.nn import ConvEncoderConfig, MLPConfig, PixelCNNConfig
from aegean.priors import Categorical, Gaussian
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


def pixelgan_mnist_gaussian() -> Experiment:
    """Figure 2a: 2-D Gaussian code, receptive field of nine rows, appendix B.1.1 to the letter."""
    adversarial = SGD(rate=0.1, momentum=0.1)
    return Experiment(
        name="pixelgan-mnist-gaussian",
        title="PixelGAN autoencoder with a 2-D Gaussian code on MNIST",
        source="Makhzani and Frey 2017, figure 2a, appendix B.1.1",
        row="faithful",
        data=MNIST(labels_per_class=0, binarize="threshold"),
        model=PixelGANConfig(
            prior=Gaussian(dim=2, std=5.0),
            encoder=MLPConfig(widths=(2000, 2000)),
            decoder=PixelCNNConfig(
                blocks=3, filter=(3, 5), channels=32, conditioning="location-dependent", condition_hidden=1000
            ),
            discriminator=MLPConfig(widths=(2000, 2000)),
        ),
        train=TrainConfig(
            epochs=50,
            optimizers={
                "reconstruct": SGD(rate=1e-3, momentum=0.9, drops=((25, 0.1),)),
                "discriminate": adversarial,
                "confuse": adversarial,
            },
        ),
    )


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
            "paper": {},
            "data": Digits(labels_per_class=10).to_dict(),
            "model.encoder.stages": [[2, 3, 32], [2, 3, 32]],
            "model.decoder.blocks": 4,
            "model.likelihood": DiscretizedLogisticMixture(components=5, levels=17).to_dict(),
            "train.epochs": 120,
            "train.ema": 0.99,
        }
    )


RECIPES = (digits_pixelgan_100, pixelgan_mnist_100, pixelgan_mnist_30, pixelgan_mnist_gaussian)

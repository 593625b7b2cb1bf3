"""PixelGAN autoencoders (Makhzani and Frey, 2017)."""

from aegean.data import MNIST, NORB, SVHN, Digits
from aegean.experiment import Experiment
from aegean.likelihoods import Bernoulli, DiscretizedLogisticMixture
from aegean.models import AAEConfig, PixelCNNModelConfig, PixelGANConfig
from aegean.models.consistency import Consistency
from aegean.nn import ConvEncoderConfig, MLPConfig, PixelCNNConfig
from aegean.nn.augment import Affine
from aegean.nn.pixelcnn import Conditioning
from aegean.priors import Categorical, Empirical, Gaussian
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


# ---- figure 2: global and local statistics -------------------------------------------------------------------------


def pixelcnn_mnist() -> Experiment:
    """Figure 2b: the decoder of `pixelgan_mnist_gaussian` without a code, receptive field of nine rows."""
    experiment = pixelgan_mnist_gaussian()
    return experiment.override(
        {
            "name": "pixelcnn-mnist",
            "title": "PixelCNN on MNIST, without a code",
            "source": "Makhzani and Frey 2017, figure 2b",
            "model": PixelCNNModelConfig(network=PixelCNNConfig(blocks=3, filter=(3, 5), channels=32)).to_dict(),
            "train.optimizers": {"reconstruct": experiment.train.optimizers["reconstruct"].to_dict()},
        }
    )


# ---- figure 3: depth and conditioning --------------------------------------------------------------------------------


def pixelgan_mnist_shallow_invariant() -> Experiment:
    """Figure 3a: three blocks, location-invariant bias."""
    return _figure_3("shallow-invariant", 3, "location-invariant", "a")


def pixelgan_mnist_shallow_dependent() -> Experiment:
    """Figure 3b: three blocks, location-dependent bias; the settings of figure 2a."""
    return _figure_3("shallow-dependent", 3, "location-dependent", "b")


def pixelgan_mnist_shallow_input() -> Experiment:
    """Three blocks and the third way of conditioning, input channels (appendix A.2), which figure 3 does not have."""
    return _figure_3("shallow-input", 3, "input-channel", "b")


def pixelgan_mnist_deep_invariant() -> Experiment:
    """Figure 3c: twelve blocks, location-invariant bias."""
    return _figure_3("deep-invariant", 12, "location-invariant", "c")


def pixelgan_mnist_deep_dependent() -> Experiment:
    """Figure 3d: twelve blocks, location-dependent bias."""
    return _figure_3("deep-dependent", 12, "location-dependent", "d")


def _figure_3(name: str, blocks: int, conditioning: Conditioning, panel: str) -> Experiment:
    """The paper gives no further settings for figure 3; these are those of figure 2a."""
    decoder = PixelCNNConfig(blocks=blocks, filter=(3, 5), channels=32, conditioning=conditioning)
    return pixelgan_mnist_gaussian().override(
        {
            "name": f"pixelgan-mnist-{name}",
            "title": f"PixelGAN autoencoder with a 2-D code on MNIST, {blocks} blocks, {conditioning} conditioning",
            "source": f"Makhzani and Frey 2017, figure 3{panel}",
            "protocols": ["code-match", "readout"],
            "model.decoder": decoder.to_dict(),
        }
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
    experiment = pixelgan_mnist_three()
    return experiment.override(
        {
            "name": "pixelgan-mnist-three-free",
            "title": "Three digits without the adversarial phase",
            "source": "Makhzani and Frey 2017, figure 5a",
            "paper": {},
            "model.adversarial": False,
            "train.optimizers": {"reconstruct": experiment.train.optimizers["reconstruct"].to_dict()},
        }
    )


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
            "paper": {"error": paper},
            "data.labels_per_class": count // 10,
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


def pixelgan_mnist_100_matching() -> Experiment:
    """Section 4, figure 9a: output distribution matching and 100 labels, without reconstruction."""
    experiment = pixelgan_mnist_100()
    return experiment.override(
        {
            "name": "pixelgan-mnist-100-matching",
            "title": "Output distribution matching on MNIST, 100 labels",
            "source": "Makhzani and Frey 2017, section 4, figure 9a",
            "paper": {},
            "model.reconstruction": False,
            "train.optimizers": {
                name: optimizer.to_dict()
                for name, optimizer in experiment.train.optimizers.items()
                if name != "reconstruct"
            },
        }
    )


# ---- section 4: cross-domain relations -------------------------------------------------------------------------------


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
            "model.supervised": False,
            "model.label_aware": True,
            "train.epochs": 10,
            "train.optimizers": {
                "reconstruct": Adam(rate=1e-3).to_dict(),
                "discriminate": Adam(rate=2e-4).to_dict(),
                "confuse": Adam(rate=1e-3).to_dict(),
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
            "train.optimizers": {
                name: optimizer.to_dict()
                for name, optimizer in experiment.train.optimizers.items()
                if name != "reconstruct"
            },
        }
    )


def matching_mnist_to_digits_pairs() -> Experiment:
    """Output distribution matching with 100 pairs."""
    return _pairs(matching_mnist_to_digits())


def aae_mnist_to_digits() -> Experiment:
    """The same encoder in an adversarial autoencoder, whose code has to keep all of the image (figure 9b)."""
    experiment = pixelgan_mnist_to_digits()
    encoder = ConvEncoderConfig(stages=((3, 5, 32), (3, 5, 32)), batch_norm="hidden")
    return experiment.override(
        {
            "name": "aae-mnist-to-digits",
            "title": "MNIST mapped onto scikit-learn's digits by an AAE",
            "model": AAEConfig(
                prior=Empirical(samples="digits", principal=16),
                encoder=encoder,
                discriminator=MLPConfig(widths=(1000, 1000)),
                likelihood=Bernoulli(),
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
        }
    )


# ---- extended: consistency under small changes ----------------------------------------------------------------------


def pixelgan_mnist_20_consistent() -> Experiment:
    """20 labels with the consistency term."""
    return _consistent(pixelgan_mnist_20())


def pixelgan_mnist_50_consistent() -> Experiment:
    """50 labels with the consistency term."""
    return _consistent(pixelgan_mnist_50())


def pixelgan_mnist_100_consistent() -> Experiment:
    """100 labels with the consistency term."""
    return _consistent(pixelgan_mnist_100())


def pixelgan_mnist_30_consistent() -> Experiment:
    """30 clusters with the consistency term; changes are larger, because no labels say what to go by."""
    return _consistent(pixelgan_mnist_30(), Affine(rotation=25, shear=25, scale=0.2, stretch=0.15))


def pixelgan_mnist_three_consistent() -> Experiment:
    """Three digits in three clusters with the consistency term."""
    return _consistent(pixelgan_mnist_three(), Affine(rotation=25, shear=25, scale=0.2, stretch=0.15))


def _consistent(experiment: Experiment, change: Affine | None = None) -> Experiment:
    """What held for the AAE (`aegean.recipes.aae_categorical`): batch normalisation also before the softmax.

    The changed images take the place of noise on the encoder's input.
    """
    epochs = 10
    optimizer = Adam(rate=Anneal(start=1e-3, end=5e-5, epochs=epochs)).to_dict()
    adversarial = Adam(rate=Anneal(start=2e-4, end=2e-5, epochs=epochs), betas=(0.5, 0.999)).to_dict()
    return experiment.override(
        {
            "name": f"{experiment.name}-consistent",
            "title": f"{experiment.title}, with consistency under small changes",
            "row": "extended",
            "model.encoder.batch_norm": "all",
            "model.input_noise": 0.0,
            "model.input_dropout": 0.0,
            "model.prior.stratified": True,
            "model.consistency": Consistency(change=change or Affine()).to_dict(),
            "train.epochs": epochs,
            "train.batch_size": 200,
            "train.ema": 0.99,
            "train.optimizers": {"default": optimizer, "discriminate": adversarial, "confuse": adversarial},
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
    pixelgan_mnist_gaussian,
    pixelcnn_mnist,
    pixelgan_mnist_shallow_invariant,
    pixelgan_mnist_shallow_dependent,
    pixelgan_mnist_shallow_input,
    pixelgan_mnist_deep_invariant,
    pixelgan_mnist_deep_dependent,
    pixelgan_mnist_three,
    pixelgan_mnist_three_free,
    pixelgan_mnist_20,
    pixelgan_mnist_50,
    pixelgan_mnist_100_grey,
    pixelgan_svhn_1000,
    pixelgan_svhn_500,
    pixelgan_norb_1000,
    pixelgan_mnist_100_matching,
    pixelgan_mnist_to_digits,
    pixelgan_mnist_to_digits_pairs,
    matching_mnist_to_digits,
    matching_mnist_to_digits_pairs,
    aae_mnist_to_digits,
    aae_mnist_to_digits_pairs,
    pixelgan_mnist_20_consistent,
    pixelgan_mnist_50_consistent,
    pixelgan_mnist_100_consistent,
    pixelgan_mnist_30_consistent,
    pixelgan_mnist_three_consistent,
)

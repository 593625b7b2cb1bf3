"""Implicit autoencoders (under review for ICLR 2019): figures 2 to 4 and 6, and few labels.

The paper gives networks for reconstructions (appendix D.2), and neither optimiser nor rates, batches or epochs. Adam
with rate 0.0002 and beta1 0.5 is that of the one public implementation; that rates fall and weights are averaged
(*stabilised*) is ours.
"""

from aegean.adversary import Adversary
from aegean.data import MNIST, SVHN, CelebA, Faces
from aegean.experiment import Experiment
from aegean.models import ImplicitAutoencoderConfig
from aegean.nn import ImageDiscriminatorConfig, MLPConfig, StridedDecoderConfig, StridedEncoderConfig
from aegean.nn.augment import Affine
from aegean.priors import Categorical, Gaussian
from aegean.recipes.consistent import LARGE, consistent, merged, taught_faster, with_neighbours
from aegean.recipes.games import UNSATURATED, falling_rates

#: Of 13,000 faces, a fourth of MNIST's images.
FACES_EPOCHS = 40


# ---- figures 2 to 4: reconstructions ---------------------------------------------------------------------------------


def implicit_mnist_20d() -> Experiment:
    """Figure 2b: a 20-D code and no noise make deterministic reconstructions."""
    return Experiment(
        name="implicit-mnist-20d",
        title="Implicit autoencoder with a 20-D code and a deterministic decoder on MNIST",
        source="Implicit Autoencoders, figure 2b, appendix D.2",
        row="stabilised",
        protocols=("bits-back", "stochastic-reconstruction"),
        data=MNIST(labels_per_class=0),
        model=ImplicitAutoencoderConfig(
            prior=Gaussian(dim=20),
            likelihood="deterministic",
            noise=0,
            encoder=MLPConfig(widths=(2000, 2000), batch_norm="last"),
            decoder=StridedDecoderConfig(widths=(128, 64), kernel=4, hidden=(1024,)),
            discriminator=ImageDiscriminatorConfig(
                widths=(64, 128), kernel=4, hidden=(1024,), activation="relu", conditioning="location-dependent"
            ),
            code_discriminator=MLPConfig(widths=(2000, 2000)),
        ),
        train=falling_rates(),
    )


def implicit_mnist_10d() -> Experiment:
    """Figure 2c: a 10-D code keeps what digit it is, 100-D noise has the rest."""
    return _stochastic(implicit_mnist_20d(), "mnist-10d", 10, 100, "figure 2c")


def implicit_mnist_5d() -> Experiment:
    """Figure 2d: a 5-D code takes digits that look alike for the same."""
    return _stochastic(implicit_mnist_20d(), "mnist-5d", 5, 100, "figure 2d")


def implicit_svhn_150d() -> Experiment:
    """Figure 3b: a 150-D code and no noise on SVHN.

    With DCGAN's small weights at first, the discriminator's first layer sees far more of a code than of an image; with
    a 150-D code of faces it stayed at chance.
    """
    widths = (64, 128, 256)
    encoder = StridedEncoderConfig(widths=widths, kernel=4, batch_norm="all")
    discriminator = ImageDiscriminatorConfig(
        widths=widths, kernel=4, activation="relu", conditioning="location-dependent", init_std=None
    )
    return implicit_mnist_20d().override(
        {
            "name": "implicit-svhn-150d",
            "title": "Implicit autoencoder with a 150-D code and a deterministic decoder on SVHN",
            "source": "Implicit Autoencoders, figure 3b, appendix D.2",
            "data": SVHN(labels_per_class=0).to_dict(),
            "model.prior.dim": 150,
            "model.encoder": encoder.to_dict(),
            "model.decoder": StridedDecoderConfig(widths=widths[::-1], kernel=4).to_dict(),
            "model.discriminator": discriminator.to_dict(),
        }
    )


def implicit_svhn_75d() -> Experiment:
    """Figure 3c: a 75-D code keeps the digit in the middle, 1000-D noise has its neighbours."""
    return _stochastic(implicit_svhn_150d(), "svhn-75d", 75, 1000, "figure 3c")


def implicit_celeba_150d() -> Experiment:
    """Figure 4b: a 150-D code and no noise on CelebA."""
    widths, kernel = [128, 256, 512], 6
    return implicit_svhn_150d().override(
        {
            "name": "implicit-celeba-150d",
            "title": "Implicit autoencoder with a 150-D code and a deterministic decoder on CelebA",
            "source": "Implicit Autoencoders, figure 4b, appendix D.2",
            "protocols": ["bits-back"],
            "data": CelebA(labels_per_class=0).to_dict(),
            **{f"model.{network}.kernel": kernel for network in ("encoder", "decoder", "discriminator")},
            **{f"model.{network}.widths": widths for network in ("encoder", "discriminator")},
            "model.decoder.widths": widths[::-1],
        }
    )


def implicit_celeba_50d() -> Experiment:
    """Figure 4c: a 50-D code keeps the face's shape, 1000-D noise its local attributes."""
    return _stochastic(implicit_celeba_150d(), "celeba-50d", 50, 1000, "figure 4c")


def implicit_lfw_150d() -> Experiment:
    """Figure 4b with other faces of the same size, grey: Labeled Faces in the Wild in the place of CelebA.

    A fifteenth of the images, and SVHN's networks: a step takes an eighth of the time of CelebA's.
    """
    return implicit_svhn_150d().override(
        {
            "name": "implicit-lfw-150d",
            "title": "Implicit autoencoder with a 150-D code and a deterministic decoder on faces",
            "source": "in the manner of Implicit Autoencoders, figure 4b, appendix D.2",
            "row": "extended",
            "protocols": ["bits-back"],
            "data": Faces(labels_per_class=0).to_dict(),
            "train": falling_rates(FACES_EPOCHS).to_dict(),
        }
    )


def implicit_lfw_50d() -> Experiment:
    """Figure 4c with other faces: a 50-D code keeps the face's shape, 1000-D noise its local attributes."""
    return _stochastic(implicit_lfw_150d(), "lfw-50d", 50, 1000, "figure 4c")


def _stochastic(experiment: Experiment, name: str, code: int, noise: int, figure: str) -> Experiment:
    source = experiment.source.replace("figure 2b", figure).replace("figure 3b", figure).replace("figure 4b", figure)
    return experiment.override(
        {
            "name": f"implicit-{name}",
            "title": f"Implicit autoencoder with a {code}-D code and {noise}-D noise on {experiment.title.split()[-1]}",
            "source": source,
            "model.prior.dim": code,
            "model.likelihood": "stochastic",
            "model.noise": noise,
        }
    )


# ---- the choice of the divergence (sections 2 and appendix B) --------------------------------------------------------


def implicit_mnist_10d_kl() -> Experiment:
    """The divergences of the bound itself: KL(q(x, z) || r(x, z)), and KL(q(z) || p(z)), whose fake codes are q's."""
    reconstruction = Adversary(loss="kl", ratio="logistic", **UNSATURATED)
    code = Adversary(loss="reverse-kl", ratio="logistic")
    return _divergence("kl", "the divergences of its bound", reconstruction, code)


def implicit_mnist_10d_reverse_kl() -> Experiment:
    """The reverse of both."""
    reconstruction = Adversary(loss="reverse-kl", ratio="logistic")
    code = Adversary(loss="kl", ratio="logistic", **UNSATURATED)
    return _divergence("reverse-kl", "the reverse divergences of its bound", reconstruction, code)


def implicit_mnist_10d_jensen_shannon() -> Experiment:
    """The Jensen-Shannon divergence in both games."""
    both = Adversary(loss="jensen-shannon", **UNSATURATED)
    return _divergence("jensen-shannon", "Jensen-Shannon divergences", both, both)


def _divergence(name: str, what: str, reconstruction: Adversary, code: Adversary) -> Experiment:
    return implicit_mnist_10d().override(
        {
            "name": f"implicit-mnist-10d-{name}",
            "title": f"Implicit autoencoder with a 10-D code on MNIST, by {what}",
            "source": "Implicit Autoencoders, section 2 and appendix B; Nowozin et al. 2016",
            "row": "extended",
            "protocols": ["bits-back"],
            "model.adversary": reconstruction.to_dict(),
            "model.code_adversary": code.to_dict(),
        }
    )


# ---- figure 6 and section 2.1.2: clusters and few labels -------------------------------------------------------------


def implicit_mnist_30() -> Experiment:
    """Figure 6: 30 clusters and a 10-D local code, with location-invariant conditioning (appendix D.1)."""
    return implicit_mnist_10d().override(
        {
            "name": "implicit-mnist-30",
            "title": "Unsupervised clustering of MNIST with 30 clusters by an implicit autoencoder",
            "source": "Implicit Autoencoders, figure 6, section 2.1.2",
            "paper": {"error": "5"},
            "protocols": ["bits-back"],
            "model.prior": Categorical(categories=30).to_dict(),
            "model.noise": 10,
            "model.discriminator.conditioning": "location-invariant",
        }
    )


def implicit_mnist_100() -> Experiment:
    """Section 2.1.2: 100 labels; categories are classes, and the labels teach the encoder."""
    return implicit_mnist_30().override(
        {
            "name": "implicit-mnist-100",
            "title": "Semi-supervised implicit autoencoder on MNIST, 100 labels",
            "source": "Implicit Autoencoders, section 2.1.2",
            "paper": {"error": "1.40"},
            "protocols": ["bits-back", "sample-classes"],
            "data.labels_per_class": 10,
            "model.prior.categories": 10,
            "model.input_noise": 0.3,
            "model.supervised": True,
        }
    )


def implicit_svhn_1000() -> Experiment:
    """Section 2.1.2: 1000 labels of SVHN; the networks are those of its reconstructions."""
    return implicit_svhn_75d().override(
        {
            "name": "implicit-svhn-1000",
            "title": "Semi-supervised implicit autoencoder on SVHN, 1000 labels",
            "source": "Implicit Autoencoders, section 2.1.2",
            "paper": {"error": "9.80"},
            "protocols": ["bits-back"],
            "data.labels_per_class": 100,
            "model.prior": Categorical(categories=10).to_dict(),
            "model.discriminator.conditioning": "location-invariant",
            "model.input_noise": 0.2,
            "model.supervised": True,
        }
    )


# ---- extended: the consistency term ----------------------------------------------------------------------------------


def implicit_mnist_30_neighbours() -> Experiment:
    """30 clusters with the consistency term, linked by neighbours."""
    return with_neighbours(_consistent(implicit_mnist_30(), LARGE))


def implicit_mnist_30_merged() -> Experiment:
    """30 clusters merged from a hundred finer categories after three epochs; seven have games."""
    return merged(implicit_mnist_30_neighbours(), finer=100, epochs=3)


def implicit_mnist_100_neighbours() -> Experiment:
    """100 labels with the consistency term, linked by neighbours."""
    return with_neighbours(_consistent(implicit_mnist_100()))


def _consistent(experiment: Experiment, change: Affine | None = None) -> Experiment:
    """What held for the AAE (`aegean.recipes.aae_categorical`): its encoder, rates, and smaller code discriminator."""
    return consistent(experiment, change).override(
        {
            "model.prior.stratified": True,
            "model.code_discriminator.widths": [1000, 1000],
            "train": taught_faster(experiment).to_dict(),
        }
    )


RECIPES = (
    implicit_mnist_20d,
    implicit_mnist_10d,
    implicit_mnist_5d,
    implicit_svhn_150d,
    implicit_svhn_75d,
    implicit_celeba_150d,
    implicit_celeba_50d,
    implicit_lfw_150d,
    implicit_lfw_50d,
    implicit_mnist_10d_kl,
    implicit_mnist_10d_reverse_kl,
    implicit_mnist_10d_jensen_shannon,
    implicit_mnist_30,
    implicit_mnist_100,
    implicit_svhn_1000,
    implicit_mnist_30_neighbours,
    implicit_mnist_30_merged,
    implicit_mnist_100_neighbours,
)

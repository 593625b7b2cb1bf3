"""Flipped implicit autoencoders (section 3.1 of "Implicit Autoencoders"): reconstructions and clusters.

The paper gives neither networks nor optimiser for them; those here are the implicit autoencoder's.
"""

from aegean.data import MNIST
from aegean.experiment import Experiment
from aegean.models import FlippedImplicitAutoencoderConfig
from aegean.nn import ImageDiscriminatorConfig, StridedDecoderConfig, StridedEncoderConfig
from aegean.priors import Categorical, Gaussian
from aegean.recipes.consistent import LARGE, consistent, merged, taught_faster, with_neighbours
from aegean.recipes.games import falling_rates


def flipped_implicit_mnist_15d() -> Experiment:
    """Figure 10: a 15-D code, without noise on either way; test images are reconstructed through their codes."""
    judge = ImageDiscriminatorConfig(widths=(64, 128), kernel=4, hidden=(1024,))
    return Experiment(
        name="flipped-implicit-mnist-15d",
        title="Flipped implicit autoencoder with a 15-D code on MNIST",
        source="Implicit Autoencoders, figure 10, section 3.1",
        row="stabilised",
        data=MNIST(labels_per_class=0),
        model=FlippedImplicitAutoencoderConfig(
            prior=Gaussian(dim=15),
            likelihood="deterministic",
            noise=0,
            encoder=StridedEncoderConfig(widths=(64, 128), kernel=4, hidden=(1024,)),
            decoder=StridedDecoderConfig(widths=(128, 64), kernel=4, hidden=(1024,)),
            image_discriminator=judge,
            discriminator=judge,
        ),
        train=falling_rates(),
    )


def flipped_implicit_mnist_10() -> Experiment:
    """Section 3.1: ten clusters, a style of ten dimensions, and a posterior with noise.

    Twenty dimensions of noise hid what the image has to say while weights were small.
    """
    return flipped_implicit_mnist_15d().override(
        {
            "name": "flipped-implicit-mnist-10",
            "title": "Unsupervised clustering of MNIST with 10 clusters by a flipped implicit autoencoder",
            "source": "Implicit Autoencoders, section 3.1",
            "paper": {"error": "2"},
            "protocols": ["sample-classes", "category-draws"],
            "model.prior": Categorical(categories=10).to_dict(),
            "model.likelihood": "stochastic",
            "model.noise": 10,
            "model.posterior": "stochastic",
            "model.posterior_noise": 1,
            "model.one_hot": True,
        }
    )


def flipped_implicit_mnist_10_neighbours() -> Experiment:
    """Ten clusters with the consistency term, linked by neighbours: the encoder sees images of the data, too.

    The reconstruction game moves both networks through its positive example, too: through the negative one alone, the
    decoder confuses the discriminator of pairs by images of which nothing can be told, and all become one image. With
    batches of 200 in place of 100 the discriminator of images wins. Changes are larger than those of more clusters,
    by which ones are parted by their slant.
    """
    experiment = flipped_implicit_mnist_10()
    return with_neighbours(
        consistent(experiment, LARGE.override({"rotation": 40.0, "shear": 40.0})).override(
            {
                "model.prior.stratified": True,
                "model.gradients": "both",
                "train": taught_faster(experiment).to_dict(),
                "train.batch_size": 100,
            }
        )
    )


def flipped_implicit_mnist_10_merged() -> Experiment:
    """Ten clusters merged from a hundred finer categories, which hardly ever hold two digits; five epochs have games.

    By mini-batches of 100, such as the games need, 6 to 7 % of the images are in finer categories of another digit when
    these are merged; by 200, 4 %.
    """
    epochs = 7
    experiment = merged(flipped_implicit_mnist_10_neighbours(), finer=100)
    train = taught_faster(flipped_implicit_mnist_10(), epochs)
    return experiment.override(
        {
            "train": train.to_dict(),
            "train.batch_size": experiment.train.batch_size,
            "model.consistency.change": LARGE.to_dict(),
            "model.consistency.batch_size": 200,
        }
    )


RECIPES = (
    flipped_implicit_mnist_15d,
    flipped_implicit_mnist_10,
    flipped_implicit_mnist_10_neighbours,
    flipped_implicit_mnist_10_merged,
)

"""PixelGAN autoencoders with categorical codes, and what the paper lacks: consistency, neighbours, finer categories.

The paper's own rows are in `pixelgan`; what these have in common with other models' is in `consistent`.
"""

import re

from aegean.experiment import Experiment
from aegean.likelihoods import DiscretizedLogisticMixture
from aegean.nn.augment import Affine
from aegean.recipes.consistent import LARGE, consistent, merged, with_neighbours
from aegean.recipes.pixelgan import (
    faster_training,
    pixelgan_mnist_20,
    pixelgan_mnist_30,
    pixelgan_mnist_50,
    pixelgan_mnist_100,
    pixelgan_mnist_100_grey,
    pixelgan_mnist_three,
)


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
    return _consistent_clusters(pixelgan_mnist_30())


def pixelgan_mnist_three_consistent() -> Experiment:
    """Three digits in three clusters with the consistency term.

    So few clusters do not die. Batch normalisation of logits would bound them: many images were equally typical, and
    one of another digit, a one with a foot and a flag among the twos, could name a cluster.
    """
    return _consistent_clusters(pixelgan_mnist_three()).override({"model.encoder.batch_norm": "hidden"})


def pixelgan_mnist_100_neighbours() -> Experiment:
    """100 labels with the consistency term, linked by neighbours: of only five, crossed sevens became nines."""
    return with_neighbours(pixelgan_mnist_100_consistent(), count=20)


def pixelgan_mnist_100_grey_neighbours() -> Experiment:
    """The same on images as they are."""
    return _grey(pixelgan_mnist_100_neighbours()).override({"paper": pixelgan_mnist_100_grey().paper})


def pixelgan_mnist_100_drawn() -> Experiment:
    """100 labels, linked by neighbours, and a decoder that also learns alone, at every step: it labels and draws."""
    return _drawn(pixelgan_mnist_100_neighbours())


def pixelgan_mnist_50_neighbours() -> Experiment:
    """50 labels with the consistency term, linked by neighbours."""
    return with_neighbours(pixelgan_mnist_50_consistent(), count=20)


def pixelgan_mnist_50_grey_neighbours() -> Experiment:
    """The same on images as they are."""
    return _grey(pixelgan_mnist_50_neighbours())


def pixelgan_mnist_20_neighbours() -> Experiment:
    """20 labels with the consistency term, linked by neighbours."""
    return with_neighbours(pixelgan_mnist_20_consistent(), count=20)


def pixelgan_mnist_30_neighbours() -> Experiment:
    """30 clusters with the consistency term, linked by neighbours."""
    return with_neighbours(pixelgan_mnist_30_consistent())


def pixelgan_mnist_30_merged() -> Experiment:
    """30 clusters merged from a hundred finer categories, of which hardly any holds two digits.

    After two epochs crossed sevens still looked like fours.
    """
    return merged(pixelgan_mnist_30_neighbours(), finer=100, epochs=3)


def pixelgan_mnist_30_drawn() -> Experiment:
    """The same, and a decoder of the labels' six blocks in place of fifteen that also learns alone, at every step."""
    return _drawn(pixelgan_mnist_30_merged()).override({"model.decoder.blocks": 6})


def _drawn(experiment: Experiment) -> Experiment:
    """The decoder learns alone at every step: four times as long a training, but it draws classes.

    Where the encoder learned with it, as in the paper, more labels were wrong (docs/experiments.md).
    """
    return experiment.override(
        {
            "name": re.sub("-[a-z]+$", "-drawn", experiment.name),
            "title": f"{experiment.title}, with a decoder that learns alone at every step",
            "protocols": ["sample-classes"],
            "model.decode_every": 1,
        }
    )


def _consistent(experiment: Experiment, change: Affine | None = None) -> Experiment:
    """What held for the AAE (`aegean.recipes.aae_categorical`): its encoder, and its rates.

    The decoder, three quarters of a step's time and more, learns at every fourth step.
    """
    return consistent(experiment, change).override({**faster_training(epochs=8), "model.reconstruct_every": 4})


def _consistent_clusters(experiment: Experiment) -> Experiment:
    """The same with larger changes, what they leave as it is the clusters go by; and a smaller discriminator.

    The deeper decoder learns at every eighth step.
    """
    return _consistent(experiment, LARGE).override(
        {"model.discriminator.widths": [1000, 1000], "model.reconstruct_every": 8}
    )


def _grey(experiment: Experiment) -> Experiment:
    """Images as they are, with changes as for clusters: grey, they say more of what stays the same.

    The decoder has the binary recipes' six blocks in place of twenty gated ones, and learns at every eighth step.
    """
    return experiment.override(
        {
            "name": experiment.name.replace("-neighbours", "-grey-neighbours"),
            "title": experiment.title.replace("on MNIST", "on real-valued MNIST"),
            "data.binarize": None,
            "model.likelihood": DiscretizedLogisticMixture(components=10).to_dict(),
            "model.consistency.change": LARGE.to_dict(),
            "model.reconstruct_every": 8,
        }
    )


RECIPES = (
    pixelgan_mnist_20_consistent,
    pixelgan_mnist_50_consistent,
    pixelgan_mnist_100_consistent,
    pixelgan_mnist_30_consistent,
    pixelgan_mnist_three_consistent,
    pixelgan_mnist_20_neighbours,
    pixelgan_mnist_50_neighbours,
    pixelgan_mnist_100_neighbours,
    pixelgan_mnist_100_drawn,
    pixelgan_mnist_100_grey_neighbours,
    pixelgan_mnist_50_grey_neighbours,
    pixelgan_mnist_30_neighbours,
    pixelgan_mnist_30_merged,
    pixelgan_mnist_30_drawn,
)

"""Adversarial autoencoders with a category beside the style (Makhzani et al., 2015, and its later version).

Semi-supervised classification, clustering, style and content, dimensionality reduction. Three rows stand apart:

- *faithful*: the settings that public code gives for the paper, whose own appendix gives the networks;
- *stabilised*: the same objective and networks with PyTorch's initial weights, Adam with falling rates, stratified
  batches of the prior and averaged weights;
- *extended* (names end in `-consistent`): a further term, that q(y|x) shall not change with small shifts, rotations
  and slants of the image, and a convolutional encoder.
"""

from aegean.data import CIFAR10, MNIST, SVHN
from aegean.experiment import Experiment
from aegean.models import CategoricalAAEConfig
from aegean.nn import MLPConfig
from aegean.priors import Categorical, Gaussian
from aegean.recipes.consistent import LARGE, consistent, merged, with_neighbours
from aegean.schedules import Anneal
from aegean.train import SGD, Adam, TrainConfig

_SOURCE = "Makhzani et al. 2015, later version"
_LAYERS = MLPConfig(widths=(1000, 1000), init_std=0.01)
_WIDE = MLPConfig(widths=(3000, 3000), init_std=0.01)


# ---- semi-supervised classification: table 2 -----------------------------------------------------------------------


def aae_mnist_100() -> Experiment:
    """Table 2, 100 labels: 2 x 1000 units, 10-D style, input noise 0.3."""
    return Experiment(
        name="aae-mnist-100",
        title="Semi-supervised AAE on MNIST, 100 labels",
        source=f"{_SOURCE}, table 2",
        row="faithful",
        paper={"error": "1.90 ± 0.10"},
        data=MNIST(labels_per_class=10),
        model=CategoricalAAEConfig(
            content="classified",
            category=Categorical(categories=10),
            style=Gaussian(dim=10),
            encoder=_LAYERS,
            decoder=_LAYERS,
            discriminator=_LAYERS,
            input_noise=0.3,
        ),
        train=TrainConfig(
            epochs=100,
            optimizers={
                "reconstruct": SGD(rate=0.01, momentum=0.9, drops=((50, 0.1),)),
                "discriminate-style": SGD(rate=0.1, momentum=0.1, drops=((50, 0.1),)),
                "discriminate-category": SGD(rate=0.1, momentum=0.1, drops=((50, 0.1),)),
                "confuse": SGD(rate=0.1, momentum=0.1, drops=((50, 0.1),)),
                "classify": SGD(rate=0.1, momentum=0.9, drops=((50, 0.1),)),
            },
        ),
    )


def aae_mnist_1000() -> Experiment:
    """Table 2, 1000 labels."""
    return _labels(aae_mnist_100(), "1000", 100, "1.60 ± 0.08")


def aae_mnist_all() -> Experiment:
    """Table 2, all labels."""
    return _labels(aae_mnist_100(), "all", None, "0.85 ± 0.02")


def aae_mnist_100_consistent() -> Experiment:
    """100 labels with the consistency term and a convolutional encoder."""
    return _consistent(aae_mnist_100())


def aae_mnist_1000_consistent() -> Experiment:
    """1000 labels with the consistency term and a convolutional encoder."""
    return _consistent(aae_mnist_1000())


def aae_mnist_all_consistent() -> Experiment:
    """All labels with the consistency term and a convolutional encoder."""
    return _consistent(aae_mnist_all())


# ---- clustering: table 3 and the figure of cluster heads -------------------------------------------------------------


def aae_mnist_16() -> Experiment:
    """Table 3, 16 clusters: 2 x 3000 units, 5-D style, input dropout 0.2."""
    return aae_mnist_100().override(
        {
            "name": "aae-mnist-16",
            "title": "Clustering of MNIST with an AAE, 16 clusters",
            "source": f"{_SOURCE}, table 3 and figure of cluster heads",
            "paper": {"error": "9.55 ± 2.05"},
            "data.labels_per_class": 0,
            "model.content": "clustered",
            "model.category.categories": 16,
            "model.style.dim": 5,
            "model.encoder": _WIDE.to_dict(),
            "model.decoder": _WIDE.to_dict(),
            "model.discriminator": _WIDE.to_dict(),
            "model.input_noise": 0.0,
            "model.input_dropout": 0.2,
            "train.optimizers": {
                name: optimizer.to_dict()
                for name, optimizer in aae_mnist_100().train.optimizers.items()
                if name != "classify"
            },
        }
    )


def aae_mnist_30() -> Experiment:
    """Table 3, 30 clusters."""
    return aae_mnist_16().override(
        {
            "name": "aae-mnist-30",
            "title": "Clustering of MNIST with an AAE, 30 clusters",
            "paper": {"error": "4.10 ± 1.13"},
            "model.category.categories": 30,
        }
    )


def aae_mnist_16_consistent() -> Experiment:
    """16 clusters with the consistency term and a convolutional encoder."""
    return _consistent_clusters(aae_mnist_16())


def aae_mnist_30_consistent() -> Experiment:
    """30 clusters with the consistency term and a convolutional encoder; they still improve after 8 epochs."""
    epochs = 14
    return _consistent_clusters(aae_mnist_30()).override(
        {"train.epochs": epochs, "train.optimizers": _falling_rates(epochs)}
    )


def aae_mnist_100_neighbours() -> Experiment:
    """100 labels with the consistency term, linked by neighbours."""
    return with_neighbours(aae_mnist_100_consistent())


def aae_mnist_16_neighbours() -> Experiment:
    """16 clusters with the consistency term, linked by neighbours."""
    return with_neighbours(aae_mnist_16_consistent())


def aae_mnist_30_neighbours() -> Experiment:
    """30 clusters with the consistency term, linked by neighbours."""
    return with_neighbours(aae_mnist_30_consistent())


def aae_mnist_16_merged() -> Experiment:
    """16 clusters merged from fifty finer categories."""
    epochs = 10
    return merged(aae_mnist_16_neighbours(), epochs=3).override(
        {"train.epochs": epochs, "train.optimizers": _falling_rates(epochs)}
    )


def aae_mnist_10_merged() -> Experiment:
    """As many clusters as digits, which the paper has not tried; merged from fifty finer categories."""
    return aae_mnist_16_merged().override(
        {
            "name": "aae-mnist-10-merged",
            "title": aae_mnist_16_merged().title.replace("16 clusters", "10 clusters"),
            "paper": {},
            "model.category.categories": 10,
        }
    )


# ---- style and content: figure 5 -----------------------------------------------------------------------------------


def aae_mnist_style() -> Experiment:
    """Figure 5a: the label is given to the decoder, the 15-D style is what is left."""
    experiment = aae_mnist_100()
    return experiment.override(
        {
            "name": "aae-mnist-style",
            "title": "Style and content of MNIST, the label given to the decoder",
            "source": "Makhzani et al. 2015, section 3.2, figure 5a",
            "paper": {},
            "protocols": ["code-match"],
            "data.labels_per_class": None,
            "model.content": "given",
            "model.style.dim": 15,
            "model.input_noise": 0.0,
            "train.epochs": 30,
            "train.optimizers": {
                name: optimizer.override({"drops": []}).to_dict()
                for name, optimizer in experiment.train.optimizers.items()
                if name not in ("classify", "discriminate-category")
            },
        }
    )


def aae_mnist_style_independent() -> Experiment:
    """Figure 5a with styles that cannot tell the label, because their discriminator is told it, too."""
    return aae_mnist_style().override(
        {
            "name": "aae-mnist-style-independent",
            "title": "Style and content of MNIST, independent of each other",
            "row": "extended",
            "model.independent": True,
            "train.epochs": 15,
        }
    )


def aae_svhn_style() -> Experiment:
    """Figure 5b: the same on Street View house numbers; the label is that of the central digit."""
    return aae_mnist_style().override(
        {
            "name": "aae-svhn-style",
            "title": "Style and content of SVHN, the label given to the decoder",
            "source": "Makhzani et al. 2015, section 3.2, figure 5b",
            "data": SVHN(extra=False).to_dict(),
            "train.optimizers.reconstruct.rate": 0.001,
        }
    )


def aae_cifar10_style() -> Experiment:
    """Figure 5b's experiment on other colour images, which are easier to come by, styles independent of labels."""
    return aae_svhn_style().override(
        {
            "name": "aae-cifar10-style",
            "title": "Style and content of CIFAR-10, the label given to the decoder",
            "source": "in the manner of Makhzani et al. 2015, figure 5b",
            "row": "extended",
            "data": CIFAR10().to_dict(),
            "model.independent": True,
            "train.epochs": 10,
            # With MNIST's rate of 0.1 the encoder's loss grows without bound in the third epoch.
            "train.optimizers.discriminate-style.rate": 0.03,
            "train.optimizers.confuse.rate": 0.01,
        }
    )


# ---- dimensionality reduction ----------------------------------------------------------------------------------------


def aae_mnist_heads_2d() -> Experiment:
    """Cluster heads plus 2-D style, 1000 labels: a map of the images with a place for each class."""
    return _stabilised(aae_mnist_1000(), epochs=15).override(
        {
            "name": "aae-mnist-heads-2d",
            "title": "Dimensionality reduction of MNIST to 2-D by cluster heads, 1000 labels",
            "source": f"{_SOURCE}, dimensionality reduction",
            "paper": {},
            "model.style.dim": 2,
            "model.heads": 5.0,
        }
    )


def aae_mnist_heads_10d() -> Experiment:
    """Cluster heads plus 10-D style, 100 labels."""
    return _stabilised(aae_mnist_100(), epochs=15).override(
        {
            "name": "aae-mnist-heads-10d",
            "title": "Dimensionality reduction of MNIST to 10-D by cluster heads, 100 labels",
            "source": f"{_SOURCE}, dimensionality reduction",
            "paper": {},
            "model.heads": 5.0,
        }
    )


def aae_mnist_heads_2d_consistent() -> Experiment:
    """The 2-D map with the consistency term, and styles alike in all classes: each class a disc around its head."""
    return _consistent(aae_mnist_heads_2d()).override({"model.independent": True})


def aae_mnist_heads_10d_consistent() -> Experiment:
    """10-D codes with the consistency term, and styles that are alike in all classes."""
    return _consistent(aae_mnist_heads_10d()).override({"model.independent": True})


# ---- what the rows share ---------------------------------------------------------------------------------------------


def _labels(experiment: Experiment, name: str, per_class: int | None, paper: str) -> Experiment:
    return experiment.override(
        {
            "name": f"aae-mnist-{name}",
            "title": f"Semi-supervised AAE on MNIST, {name} labels",
            "paper": {"error": paper},
            "data.labels_per_class": per_class,
        }
    )


def _stabilised(experiment: Experiment, epochs: int = 30) -> Experiment:
    return experiment.override(
        {
            "row": "stabilised",
            "model.category.stratified": True,
            **{f"model.{network}.init_std": None for network in ("encoder", "decoder", "discriminator")},
            "train.epochs": epochs,
            "train.batch_size": 200,
            "train.ema": 0.99,
            "train.optimizers": _falling_rates(epochs),
        }
    )


def _consistent(experiment: Experiment) -> Experiment:
    """The consistency term, Adam with falling rates, eight epochs."""
    epochs = 8
    return consistent(_stabilised(experiment)).override(
        {"train.epochs": epochs, "train.optimizers": _falling_rates(epochs)}
    )


def _consistent_clusters(experiment: Experiment) -> Experiment:
    """The same with larger changes: what they leave as it is, the clusters go by, as there are no labels.

    Decoder and discriminators are those of classification, which are smaller than those of clustering.
    """
    layers = _LAYERS.override({"init_std": None}).to_dict()
    return _consistent(experiment).override(
        {
            "model.consistency.change": LARGE.to_dict(),
            "model.decoder": layers,
            "model.discriminator": layers,
            "train.batch_size": 250,
        }
    )


def _falling_rates(epochs: int) -> dict[str, object]:
    """Adam for each phase, with rates that fall linearly to a tenth or less; the adversarial game is the slower one."""

    def adam(start: float, end: float, beta1: float) -> dict[str, object]:
        return Adam(rate=Anneal(start=start, end=end, epochs=epochs), betas=(beta1, 0.999)).to_dict()

    return {
        "default": adam(1e-3, 5e-5, 0.9),
        "discriminate-style": adam(5e-4, 5e-5, 0.5),
        "discriminate-category": adam(2e-4, 2e-5, 0.5),
        "confuse": adam(2e-4, 2e-5, 0.5),
    }


RECIPES = (
    aae_mnist_100,
    aae_mnist_1000,
    aae_mnist_all,
    aae_mnist_100_consistent,
    aae_mnist_1000_consistent,
    aae_mnist_all_consistent,
    aae_mnist_16,
    aae_mnist_30,
    aae_mnist_16_consistent,
    aae_mnist_30_consistent,
    aae_mnist_100_neighbours,
    aae_mnist_16_neighbours,
    aae_mnist_30_neighbours,
    aae_mnist_16_merged,
    aae_mnist_10_merged,
    aae_mnist_style,
    aae_mnist_style_independent,
    aae_svhn_style,
    aae_cifar10_style,
    aae_mnist_heads_2d,
    aae_mnist_heads_10d,
    aae_mnist_heads_2d_consistent,
    aae_mnist_heads_10d_consistent,
)

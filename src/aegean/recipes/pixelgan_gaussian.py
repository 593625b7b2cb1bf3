"""PixelGAN autoencoders with a 2-D Gaussian code, and the PixelCNN alone (Makhzani and Frey, 2017): figures 2 and 3.

With the rates and momenta of appendix B.1.1 the loss is infinite after a few steps, so these rows are *stabilised*:
Adam with falling rates, as for the adversarial autoencoder's two-dimensional codes.
"""

from aegean.data import MNIST
from aegean.experiment import Experiment
from aegean.models import PixelCNNModelConfig, PixelGANConfig
from aegean.nn import MLPConfig, PixelCNNConfig
from aegean.nn.pixelcnn import Conditioning
from aegean.priors import Gaussian
from aegean.recipes.aae import falling_adam
from aegean.train import TrainConfig

# ---- figure 2: global and local statistics -------------------------------------------------------------------------


def pixelgan_mnist_gaussian() -> Experiment:
    """Figure 2a: 2-D Gaussian code, receptive field of nine rows, the networks of appendix B.1.1."""
    return Experiment(
        name="pixelgan-mnist-gaussian",
        title="PixelGAN autoencoder with a 2-D Gaussian code on MNIST",
        source="Makhzani and Frey 2017, figure 2a, appendix B.1.1",
        row="stabilised",
        protocols=("sample-classes",),
        data=MNIST(labels_per_class=0, binarize="threshold"),
        model=PixelGANConfig(
            prior=Gaussian(dim=2, std=5.0),
            encoder=MLPConfig(widths=(2000, 2000)),
            decoder=PixelCNNConfig(
                blocks=3, filter=(3, 5), channels=32, conditioning="location-dependent", condition_hidden=1000
            ),
            discriminator=MLPConfig(widths=(2000, 2000)),
        ),
        train=TrainConfig(epochs=10),
    ).override({"train.optimizers": falling_adam(10)})


def pixelcnn_mnist() -> Experiment:
    """Figure 2b: the decoder of `pixelgan_mnist_gaussian` without a code, receptive field of nine rows."""
    return pixelgan_mnist_gaussian().override(
        {
            "name": "pixelcnn-mnist",
            "title": "PixelCNN on MNIST, without a code",
            "source": "Makhzani and Frey 2017, figure 2b",
            "model": PixelCNNModelConfig(network=PixelCNNConfig(blocks=3, filter=(3, 5), channels=32)).to_dict(),
            "train.optimizers": {"reconstruct": falling_adam(10)["reconstruct"]},
        }
    )


# ---- figure 3: depth and conditioning --------------------------------------------------------------------------------


def pixelgan_mnist_shallow_invariant() -> Experiment:
    """Figure 3a: three blocks, location-invariant bias."""
    return _figure_3("shallow-invariant", 3, "location-invariant", "a")


def pixelgan_mnist_shallow_dependent() -> Experiment:
    """Figure 3b: three blocks, location-dependent bias."""
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
    """The paper gives no further settings for figure 3; these are those of figure 2a, for half as long.

    Gradients through the decoder, most of all of one that sees the code at every layer or in every pixel, drive codes
    out of the prior before a slow discriminator has noticed; so it is as fast as the others, with R1. The game has
    Adam's first moment over two steps in place of ten, without which codes of some seeds end far from the prior. A
    single code that is far out gives a gradient sixty times the usual one, after which a seed had lost what it knew;
    twice the usual one is let through.
    """
    decoder = PixelCNNConfig(blocks=blocks, filter=(3, 5), channels=32, conditioning=conditioning)
    return pixelgan_mnist_gaussian().override(
        {
            "name": f"pixelgan-mnist-{name}",
            "title": f"PixelGAN autoencoder with a 2-D code on MNIST, {blocks} blocks, {conditioning} conditioning",
            "source": f"Makhzani and Frey 2017, figure 3{panel}",
            "protocols": ["code-match", "readout"],
            "model.decoder": decoder.to_dict(),
            "model.adversary.r1": 1.0,
            "train.epochs": 5,
            "train.optimizers": falling_adam(5, discriminate=1e-3),
            **{f"train.optimizers.{phase}.betas": (0.5, 0.999) for phase in ("discriminate", "confuse")},
            "train.optimizers.reconstruct.clip_norm": 200.0,
        }
    )


RECIPES = (
    pixelgan_mnist_gaussian,
    pixelcnn_mnist,
    pixelgan_mnist_shallow_invariant,
    pixelgan_mnist_shallow_dependent,
    pixelgan_mnist_shallow_input,
    pixelgan_mnist_deep_invariant,
    pixelgan_mnist_deep_dependent,
)

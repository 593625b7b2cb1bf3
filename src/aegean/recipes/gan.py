"""The models that implicit autoencoders are compared with: GAN, InfoGAN and ALI."""

from aegean.adversary import Adversary
from aegean.data import MNIST
from aegean.experiment import Experiment
from aegean.models import ALIConfig, GANConfig, InfoGANConfig
from aegean.nn import ImageDiscriminatorConfig, MLPConfig, StridedDecoderConfig
from aegean.priors import Categorical, Gaussian, Product, Uniform
from aegean.recipes.games import UNSATURATED, falling_rates
from aegean.train import Adam, TrainConfig

#: The networks of InfoGAN on MNIST (Chen et al., 2016, appendix C.1), of which those of the implicit autoencoder on
#: MNIST (its appendix D.2) differ in the discriminator's non-linearity alone.
_GENERATOR = StridedDecoderConfig(widths=(128, 64), kernel=4, hidden=(1024,))
_DISCRIMINATOR = ImageDiscriminatorConfig(widths=(64, 128), kernel=4, hidden=(1024,))


def gan_mnist() -> Experiment:
    """The standard GAN with a code of 100 dimensions; rates of DCGAN (Radford et al., 2016), which fall."""
    return Experiment(
        name="gan-mnist",
        title="GAN on MNIST",
        source="Goodfellow et al. 2014; rates of Radford et al. 2016",
        row="extended",
        protocols=("sample-classes",),
        data=MNIST(labels_per_class=0),
        model=GANConfig(prior=Gaussian(dim=100), generator=_GENERATOR, discriminator=_DISCRIMINATOR),
        train=falling_rates(batch_size=128),
    )


def gan_mnist_kl() -> Experiment:
    """The f-GAN of KL(data || model), its ratio learnt by the logistic loss. It saturates."""
    return _divergence("KL(data || model)", Adversary(loss="kl", ratio="logistic", **UNSATURATED))


def gan_mnist_reverse_kl() -> Experiment:
    """The f-GAN of KL(model || data), its ratio learnt by the logistic loss."""
    return _divergence("KL(model || data)", Adversary(loss="reverse-kl", ratio="logistic"))


def gan_mnist_jensen_shannon() -> Experiment:
    """The f-GAN of the Jensen-Shannon divergence. It saturates."""
    return _divergence("the Jensen-Shannon divergence", Adversary(loss="jensen-shannon", **UNSATURATED))


def _divergence(what: str, adversary: Adversary) -> Experiment:
    return gan_mnist().override(
        {
            "name": f"gan-mnist-{adversary.loss}",
            "title": f"f-GAN of {what} on MNIST",
            "source": "Nowozin et al. 2016, table 1",
            "model.adversary": adversary.to_dict(),
        }
    )


def infogan_mnist() -> Experiment:
    """MNIST with a category of ten and two uniform codes, appendix C.1: its clusters, and what the codes vary."""
    return Experiment(
        name="infogan-mnist",
        title="InfoGAN with ten categories and two continuous codes on MNIST",
        source="Chen et al. 2016, figure 2, appendix C.1",
        row="faithful",
        paper={"error": "5"},
        protocols=("sample-classes",),
        data=MNIST(labels_per_class=0),
        model=InfoGANConfig(
            prior=Product(parts=(Categorical(categories=10), Uniform(dim=2))),
            noise=62,
            variance="fixed",
            generator=_GENERATOR,
            discriminator=_DISCRIMINATOR,
            recognition=MLPConfig(widths=(128,), activation="leaky-relu", batch_norm="hidden"),
        ),
        train=TrainConfig(
            epochs=13,  # the authors' code makes 5,000 updates
            batch_size=128,
            optimizers={
                "default": Adam(rate=1e-3, betas=(0.5, 0.999)),
                "discriminate": Adam(rate=2e-4, betas=(0.5, 0.999)),
                # The generator's: the authors add the information to its loss. At 2e-4 the discriminator wins.
                "inform": Adam(rate=1e-3, betas=(0.5, 0.999)),
            },
        ),
    )


def ali_mnist() -> Experiment:
    """ALI with the networks of `implicit_mnist_10d`, so that the two can stand side by side."""
    return Experiment(
        name="ali-mnist",
        title="ALI with a 10-D Gaussian code on MNIST",
        source="Dumoulin et al. 2017; networks of the implicit autoencoder, appendix D.2",
        row="extended",
        data=MNIST(labels_per_class=0),
        model=ALIConfig(
            prior=Gaussian(dim=10),
            likelihood="deterministic",
            noise=0,
            decoder=_GENERATOR,
            discriminator=_DISCRIMINATOR,
        ),
        train=falling_rates(),
    )


RECIPES = (gan_mnist, gan_mnist_kl, gan_mnist_reverse_kl, gan_mnist_jensen_shannon, infogan_mnist, ali_mnist)

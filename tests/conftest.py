"""Small models and made data that several test files share."""

import os
import signal

import numpy as np
import pytest
import torch

from aegean.data import Digits, Splits, SplitSettings, from_arrays
from aegean.experiment import Experiment
from aegean.models import (
    AAEConfig,
    ALIConfig,
    CategoricalAAEConfig,
    FlippedImplicitAutoencoderConfig,
    GANConfig,
    ImplicitAutoencoderConfig,
    InfoGANConfig,
    PixelCNNModelConfig,
    PixelGANConfig,
    VAEConfig,
    VAEGANConfig,
)
from aegean.models.consistency import Consistency
from aegean.nn import (
    ConvEncoderConfig,
    ImageDiscriminatorConfig,
    MLPConfig,
    PixelCNNConfig,
    StridedDecoderConfig,
    StridedEncoderConfig,
)
from aegean.priors import Categorical, Gaussian, GaussianMixture, Product, Uniform
from aegean.train import TrainConfig

os.environ["AEGEAN_CACHE"] = "off"  # tests leave nothing in the user's cache
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would the commands that tests start, which wait for it to end them.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SMALL = MLPConfig(widths=(16,))
_ENCODER = ConvEncoderConfig(stages=((2, 3, 4),), batch_norm="hidden")
_PIXELCNN = PixelCNNConfig(blocks=1, filter=(2, 3), first_filter=(2, 3), channels=4)
_CATEGORICAL = {
    "category": Categorical(categories=3), "style": Gaussian(dim=2), "encoder": SMALL, "decoder": SMALL,
    "discriminator": SMALL,
}  # fmt: skip
_STRIDED = ImageDiscriminatorConfig(widths=(4, 6), kernel=4, batch_norm="hidden")
_WAYS = {"encoder": SMALL, "decoder": StridedDecoderConfig(widths=(6, 4), kernel=4), "noise": 4}

#: One small configuration for each model and variant.
SMALL_MODELS = {
    "vae": VAEConfig(prior=Gaussian(dim=3), encoder=SMALL, decoder=SMALL),
    "aae": AAEConfig(prior=Gaussian(dim=3), encoder=SMALL, decoder=SMALL, discriminator=SMALL, input_noise=0.1),
    "aae-gaussian": AAEConfig(
        prior=Gaussian(dim=3), posterior="gaussian", encoder=SMALL, decoder=SMALL, discriminator=SMALL
    ),
    "aae-universal": AAEConfig(
        prior=Gaussian(dim=3), posterior="universal", noise=5, encoder=SMALL, decoder=SMALL, discriminator=SMALL
    ),
    "aae-labels": AAEConfig(
        prior=GaussianMixture(components=3), encoder=SMALL, decoder=SMALL, discriminator=SMALL, label_aware=True
    ),
    "aae-given": CategoricalAAEConfig(content="given", **_CATEGORICAL),  # type: ignore[arg-type]
    "aae-classified": CategoricalAAEConfig(content="classified", input_noise=0.3, **_CATEGORICAL),  # type: ignore[arg-type]
    "aae-clustered": CategoricalAAEConfig(
        content="clustered", consistency=Consistency(agreement="divergence"), **_CATEGORICAL
    ),  # type: ignore[arg-type]
    "aae-heads": CategoricalAAEConfig(content="classified", heads=3.0, **_CATEGORICAL),  # type: ignore[arg-type]
    "vae-gan": VAEGANConfig(
        code=3,
        encoder=StridedEncoderConfig(widths=(4, 6)),
        decoder=StridedDecoderConfig(widths=(6, 4)),
        discriminator=ImageDiscriminatorConfig(widths=(4, 6), batch_norm="none"),
    ),
    "pixelcnn": PixelCNNModelConfig(network=_PIXELCNN),
    "pixelgan-gaussian": PixelGANConfig(prior=Gaussian(dim=2), encoder=SMALL, decoder=_PIXELCNN, discriminator=SMALL),
    "pixelgan-categorical": PixelGANConfig(
        prior=Categorical(categories=3), encoder=_ENCODER, decoder=_PIXELCNN, discriminator=SMALL, input_dropout=0.2
    ),
    "pixelgan-matching": PixelGANConfig(  # output distribution matching: no reconstruction
        prior=Categorical(categories=3), encoder=_ENCODER, discriminator=SMALL, reconstruction=False
    ),
    "pixelgan-labels": PixelGANConfig(
        prior=GaussianMixture(components=3), encoder=SMALL, decoder=_PIXELCNN, discriminator=SMALL, label_aware=True
    ),
    "pixelgan-consistent": PixelGANConfig(
        prior=Categorical(categories=3),
        encoder=_ENCODER,
        decoder=_PIXELCNN,
        discriminator=SMALL,
        supervised=True,
        consistency=Consistency(neighbours=2, neighbour_epochs=1),
    ),
    "pixelgan-free": PixelGANConfig(  # nothing shapes the code
        prior=Categorical(categories=3), encoder=_ENCODER, decoder=_PIXELCNN, discriminator=SMALL, adversarial=False
    ),
    "pixelgan-supervised": PixelGANConfig(
        prior=Categorical(categories=3),
        encoder=_ENCODER,
        decoder=_PIXELCNN,
        discriminator=SMALL,
        input_noise=0.3,
        supervised=True,
    ),
    "gan": GANConfig(prior=Gaussian(dim=3), generator=StridedDecoderConfig(widths=(6, 4)), discriminator=_STRIDED),
    "gan-spectral": GANConfig(
        prior=Gaussian(dim=3),
        generator=StridedDecoderConfig(widths=(6, 4)),
        discriminator=_STRIDED.override({"batch_norm": "none", "spectral_norm": True}),
        steps=2,
    ),
    "infogan": InfoGANConfig(
        prior=Product(parts=(Categorical(categories=3), Uniform(dim=2), Gaussian(dim=1))),
        noise=4,
        generator=SMALL,
        discriminator=_STRIDED,
        recognition=SMALL,
    ),
    "implicit": ImplicitAutoencoderConfig(
        prior=Gaussian(dim=3),
        posterior="stochastic",
        posterior_noise=2,
        discriminator=_STRIDED.override({"conditioning": "location-dependent"}),
        code_discriminator=SMALL,
        gradients="both",
        **_WAYS,
    ),  # type: ignore[arg-type]
    "implicit-supervised": ImplicitAutoencoderConfig(
        prior=Categorical(categories=3),
        discriminator=_STRIDED,
        code_discriminator=SMALL,
        input_noise=0.3,
        supervised=True,
        **_WAYS,
    ),  # type: ignore[arg-type]
    "implicit-consistent": ImplicitAutoencoderConfig(
        prior=Categorical(categories=3),
        discriminator=_STRIDED,
        code_discriminator=SMALL,
        supervised=True,
        consistency=Consistency(),
        **_WAYS,
    ),  # type: ignore[arg-type]
    "implicit-free": ImplicitAutoencoderConfig(  # nothing shapes the code, and nothing else tells of the image
        prior=Gaussian(dim=3),
        discriminator=_STRIDED,
        regularization=0.0,
        **(_WAYS | {"likelihood": "deterministic", "noise": 0}),
    ),  # type: ignore[arg-type]
    "flipped-implicit": FlippedImplicitAutoencoderConfig(
        prior=Categorical(categories=3),
        posterior="stochastic",
        posterior_noise=5,
        image_discriminator=_STRIDED,
        discriminator=_STRIDED,
        **_WAYS,
    ),  # type: ignore[arg-type]
    "flipped-implicit-consistent": FlippedImplicitAutoencoderConfig(
        prior=Categorical(categories=3),
        posterior="stochastic",
        posterior_noise=5,
        image_discriminator=_STRIDED,
        discriminator=_STRIDED,
        consistency=Consistency(),
        **_WAYS,
    ),  # type: ignore[arg-type]
    "ali": ALIConfig(
        prior=Product(parts=(Categorical(categories=3), Gaussian(dim=2))),
        discriminator=_STRIDED,
        **_WAYS,
    ),  # type: ignore[arg-type]
}
SMALL_MODELS |= {
    "aae-finer": SMALL_MODELS["aae-clustered"].override(
        {"consistency": Consistency(finer=7, finer_epochs=2, neighbours=2, neighbour_epochs=1).to_dict()}
    ),
    "flipped-implicit-finer": SMALL_MODELS["flipped-implicit-consistent"].override(
        {
            "consistency": Consistency(finer=7, finer_epochs=2).to_dict(),
            "prior": Product(parts=(Gaussian(dim=1), Categorical(categories=3), Gaussian(dim=2))).to_dict(),
        }
    ),
}
for _kind in ("aae", "pixelgan"):
    SMALL_MODELS[f"{_kind}-pairs"] = SMALL_MODELS[f"{_kind}-labels"].override({"paired": True})


def make_splits(shape: tuple[int, int, int] = (1, 8, 8), classes: int = 3, n: int = 60, **settings: object) -> Splits:
    """Noisy images whose brightest corner is their class."""
    rng = np.random.default_rng(0)
    channels, height, width = shape
    labels = np.arange(n) % classes
    images = rng.integers(0, 100, (n, height, width, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label % height, : width // 2] = 255
    data = from_arrays(images, labels, class_names=[f"class {k}" for k in range(classes)])
    defaults: dict[str, object] = {"labels_per_class": 4, "test": 12, "validation": 6}
    return SplitSettings(**(defaults | settings)).split(data)  # type: ignore[arg-type]


@pytest.fixture
def splits() -> Splits:
    """Sixty images of 8x8 in three classes, four labels a class."""
    return make_splits()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run side by side; and bits depend on the number of threads."""
    torch.set_num_threads(1)


def small(supervised: bool = True, **settings: object) -> Experiment:
    """A PixelGAN on digits, classes or twelve clusters."""
    model = SMALL_MODELS["pixelgan-supervised"]
    assert isinstance(model, PixelGANConfig)
    prior = Categorical(categories=10 if supervised else 12)
    return Experiment(
        name="small",
        title="A small <experiment>",
        data=Digits(labels_per_class=3, test=0.3, validation=0 if supervised else 0.2),
        model=model.model_copy(update={"prior": prior, "supervised": supervised}),
        train=TrainConfig(epochs=2, batch_size=200, labelled_batch_size=30, precision="float32", device="cpu"),
    ).override(settings)

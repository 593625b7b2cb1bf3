"""Every recipe is whole: it goes through YAML, takes two steps on made data, and can be used afterwards."""

import math

import pytest
import torch

from aegean.build import build_trainer
from aegean.errors import ConfigError
from aegean.evaluate.protocols import evaluate_model
from aegean.experiment import Experiment
from aegean.recipes import RECIPES, get, names, with_seed
from conftest import make_splits

SHAPES = {
    "mnist": (1, 28, 28), "digits": (1, 8, 8), "tfd": (1, 48, 48), "lfw": (1, 48, 48), "svhn": (3, 32, 32),
    "cifar10": (3, 32, 32), "norb": (1, 32, 32), "points": (2, 1, 1),
    "celeba": (3, 48, 48),
}  # fmt: skip


def test_the_list_is_complete() -> None:
    assert len(names()) >= 11
    assert names() == sorted(RECIPES)


@pytest.mark.parametrize("name", names())
def test_a_recipe_takes_two_steps_on_made_data(name: str) -> None:
    experiment = get(name)
    assert experiment.name == name
    assert Experiment.from_dict(experiment.to_dict()) == experiment
    per_class = experiment.data.labels_per_class
    chosen = getattr(experiment.data, "classes", None)
    classes = len(chosen) if chosen else 5 if experiment.data.kind == "norb" else 10
    made = make_splits(
        SHAPES[experiment.data.kind], classes=classes, n=60, labels_per_class=per_class and 2, test=10, validation=10
    )
    experiment = experiment.override({"train.batch_size": 4, "train.labelled_batch_size": 4})
    consistency = getattr(experiment.model, "consistency", None)
    if consistency is not None and consistency.finer:  # merged before the second step
        experiment = experiment.override({"model.consistency.finer_epochs": 0.01})
    trainer = build_trainer(experiment, made)
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    for _ in range(2):
        trainer.run_step()
    after = list(trainer.model.parameters())
    assert all(torch.isfinite(weight).all() for weight in after)
    assert sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) > len(before) / 2
    with trainer.for_evaluation():
        results = evaluate_model(trainer.model, made, "test", trainer.precision)
    assert all(math.isfinite(value) for value in results.values())
    assert ("error" in results) == (trainer.model.can("predict"))


@pytest.mark.parametrize("name", ["pixelgan-mnist-shallow-invariant", "pixelgan-mnist-deep-dependent"])
def test_a_loss_that_is_a_sum_over_pixels_stays_finite(name: str) -> None:
    """With the rates and momenta of appendix B.1.1 it is infinite after 19 and 8 of these steps."""
    made = make_splits((1, 28, 28), n=80, labels_per_class=0, test=1, validation=1)
    trainer = build_trainer(get(name).override({"train.batch_size": 4}), made)
    for _ in range(20):
        trainer.run_step()


def test_seeds_reach_everything_that_is_random() -> None:
    digits = with_seed(get("digits-pixelgan-100"), 7)
    assert (digits.seed, digits.data.label_seed, digits.data.split_seed) == (7, 7, 7)  # type: ignore[union-attr]
    assert with_seed(get("pixelgan-mnist-100"), 7).data.label_seed == 7


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'pixelgan-mnist-100'\?"):
        get("pixelgan-mnist-10")


def test_the_papers_settings_are_kept() -> None:
    """Appendix B.1 of the PixelGAN paper, line by line."""
    supervised = get("pixelgan-mnist-100")
    model = supervised.model
    assert model.kind == "pixelgan"
    assert supervised.row == "faithful"
    assert (model.decoder.blocks, model.decoder.filter, model.decoder.channels) == (6, (3, 5), 32)
    assert (model.input_noise, model.supervised, model.discriminator.widths) == (0.3, True, (1000, 1000))
    assert model.encoder.stages == ((3, 5, 32), (3, 5, 32))  # type: ignore[union-attr]
    assert model.encoder.batch_norm == "hidden"
    optimizers = supervised.train.optimizers
    assert {name: optimizer.kind for name, optimizer in optimizers.items()} == {
        "reconstruct": "adam", "classify": "adam", "discriminate": "sgd", "confuse": "sgd",
    }  # fmt: skip
    assert [optimizers[name].rate for name in ("reconstruct", "classify", "discriminate", "confuse")] == [
        1e-3, 1e-3, 0.1, 0.1,
    ]  # fmt: skip
    clusters = get("pixelgan-mnist-30")
    assert clusters.model.encoder.batch_norm == "all"  # type: ignore[union-attr]
    assert (clusters.model.decoder.blocks, clusters.model.prior.dim) == (15, 30)  # type: ignore[union-attr]
    assert {clusters.train.optimizers[name].rate for name in ("discriminate", "confuse")} == {0.01}
    gaussian = get("pixelgan-mnist-gaussian")
    assert gaussian.model.prior.std == 5.0  # type: ignore[union-attr]
    assert gaussian.model.encoder.widths == gaussian.model.discriminator.widths == (2000, 2000)  # type: ignore[union-attr]


def test_the_adversarial_autoencoders_settings_are_kept() -> None:
    """Footnote 1 of the paper, and what public code gives for tables 2 and 3."""
    generative = get("aae-mnist")
    model = generative.model
    assert (model.prior.dim, model.prior.std) == (8, 5.0)  # type: ignore[union-attr]
    assert model.encoder.widths == model.decoder.widths == model.discriminator.widths == (1000, 1000)  # type: ignore[union-attr]
    faces = get("aae-tfd").model
    assert (faces.prior.dim, faces.prior.std) == (15, 10.0)  # type: ignore[union-attr]
    labels = get("aae-mnist-100")
    assert labels.data.labels_per_class == 10
    assert (labels.model.style.dim, labels.model.input_noise) == (10, 0.3)  # type: ignore[union-attr]
    assert labels.train.batch_size == 100
    rates = {name: (optimizer.rate, optimizer.momentum) for name, optimizer in labels.train.optimizers.items()}  # type: ignore[union-attr]
    assert rates == {
        "reconstruct": (0.01, 0.9), "discriminate-style": (0.1, 0.1), "discriminate-category": (0.1, 0.1),
        "confuse": (0.1, 0.1), "classify": (0.1, 0.9),
    }  # fmt: skip
    assert labels.train.optimizer("confuse").rate_at(50) == pytest.approx(0.01)
    clusters = get("aae-mnist-16").model
    assert (clusters.category.dim, clusters.style.dim, clusters.input_dropout) == (16, 5, 0.2)  # type: ignore[union-attr]
    assert clusters.encoder.widths == (3000, 3000)  # type: ignore[union-attr]
    assert "classify" not in get("aae-mnist-30").train.optimizers
    assert get("aae-mnist-style").model.style.dim == 15  # type: ignore[union-attr]
    assert get("aae-mnist-mixture-labels").data.labels_per_class == 1000


def test_what_samples_show_is_asked_of_figures_2_and_8_of_the_pixelgan_paper_and_of_gans() -> None:
    """And of no recipe without samples, nor of one that builds on them for something else."""
    asked = {name for name in names() if "sample-classes" in get(name).protocols}
    assert asked == {
        "aae-mnist-2d", "pixelgan-mnist-gaussian", "pixelcnn-mnist", "pixelgan-mnist-100", "pixelgan-mnist-100-grey",
        "pixelgan-mnist-100-stable",
        "pixelgan-mnist-100-consistent", "gan-mnist", "gan-mnist-kl", "gan-mnist-reverse-kl",
        "gan-mnist-jensen-shannon", "infogan-mnist", "implicit-mnist-100", "flipped-implicit-mnist-10",
        "implicit-mnist-100-neighbours", "flipped-implicit-mnist-10-neighbours", "pixelgan-mnist-100-neighbours",
        "flipped-implicit-mnist-10-merged", "pixelgan-mnist-100-grey-neighbours", "pixelgan-mnist-100-drawn",
        "pixelgan-mnist-30-drawn",
    }  # fmt: skip


def test_figure_2_asks_what_reconstructions_share_and_the_toys_have_their_numbers() -> None:
    asked = {
        protocol: {name for name in names() if protocol in get(name).protocols}
        for protocol in ("stochastic-reconstruction", "category-draws", "mode-information", "posterior-divergence")
    }
    assert asked == {
        "stochastic-reconstruction": {
            "implicit-mnist-20d", "implicit-mnist-10d", "implicit-mnist-5d", "implicit-svhn-150d", "implicit-svhn-75d",
        },
        "category-draws": {
            "flipped-implicit-mnist-10", "flipped-implicit-mnist-10-neighbours", "flipped-implicit-mnist-10-merged",
        },
        "mode-information": {"gan-points", "implicit-points"},
        "posterior-divergence": {"infogan-points", "flipped-implicit-points"},
    }  # fmt: skip
    gan, implicit = get("gan-points").model, get("implicit-points").model
    assert gan.generator == implicit.decoder  # type: ignore[union-attr]
    assert gan.prior.dim == implicit.prior.dim + implicit.noise == 17  # type: ignore[union-attr]


def test_the_implicit_autoencoders_settings_are_kept() -> None:
    """Section 2.1, section 3.1 and appendix D of its paper."""
    sizes = {
        "mnist-20d": (20, 0), "mnist-10d": (10, 100), "mnist-5d": (5, 100), "svhn-150d": (150, 0),
        "svhn-75d": (75, 1000), "lfw-150d": (150, 0), "lfw-50d": (50, 1000), "celeba-150d": (150, 0), "celeba-50d": (50, 1000), "mnist-30": (30, 10), "mnist-100": (10, 10),
    }  # fmt: skip
    for name, (code, noise) in sizes.items():
        model = get(f"implicit-{name}").model
        assert (model.prior.dim, model.noise) == (code, noise)  # type: ignore[union-attr]
        conditioning = "location-invariant" if model.prior.kind == "categorical" else "location-dependent"  # type: ignore[union-attr]
        assert model.discriminator.conditioning == conditioning  # type: ignore[union-attr]
        assert model.code_discriminator.widths == (2000, 2000)  # type: ignore[union-attr]
    faces, other = get("implicit-celeba-50d").model, get("implicit-lfw-50d").model
    svhn = get("implicit-svhn-75d").model
    for network in ("encoder", "decoder", "discriminator"):
        assert getattr(other, network) == getattr(svhn, network) != getattr(faces, network)
    assert (faces.encoder.kernel, faces.encoder.widths, faces.decoder.widths) == (6, (128, 256, 512), (512, 256, 128))  # type: ignore[union-attr]
    flipped = get("flipped-implicit-mnist-10").model
    assert (flipped.prior.dim, flipped.noise, flipped.posterior_noise) == (10, 10, 1)  # type: ignore[union-attr]
    assert get("flipped-implicit-mnist-15d").model.prior.dim == 15  # type: ignore[union-attr]
    alive = get("flipped-implicit-mnist-10-neighbours")  # with other settings its decoder collapses
    assert (alive.model.gradients, alive.train.batch_size) == ("both", 100)  # type: ignore[union-attr]
    info = get("infogan-mnist").model
    assert (info.prior.dim, info.noise, info.information) == (12, 62, 1.0)  # type: ignore[union-attr]
    updates = get("infogan-mnist").train.epochs * (50_000 // get("infogan-mnist").train.batch_size)
    assert updates == pytest.approx(5000, rel=0.02)  # its authors' code
    bound = get("implicit-mnist-10d-kl").model
    assert (bound.adversary.loss, bound.code_adversary.loss) == ("kl", "reverse-kl")  # type: ignore[union-attr]


def test_rows_are_what_their_names_say() -> None:
    for name in names():
        experiment = get(name)
        if name.endswith(("-consistent", "-neighbours")):
            assert experiment.row == "extended"
            assert bool(experiment.model.consistency.neighbours) == name.endswith("-neighbours")  # type: ignore[union-attr]
        elif name.endswith("-stable"):
            assert experiment.row == "stabilised"
            assert getattr(experiment.model, "consistency", None) is None  # which most models do not know
            faithful = get(name.removesuffix("-stable"))
            assert faithful.row == "faithful"
            for size in ("widths", "stages"):  # of fully connected layers, of convolutions
                assert getattr(experiment.model.encoder, size, ()) == getattr(faithful.model.encoder, size, ())  # type: ignore[union-attr]

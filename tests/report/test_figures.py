"""Which figures a model gets, and what is in them."""

import base64
import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from aegean.adversary import Adversary
from aegean.data import as_float
from aegean.evaluate.apply import apply
from aegean.models import AAEConfig, CategoricalAAEConfig, PixelGANConfig, VAEConfig, create
from aegean.priors import Categorical, Empirical, Gaussian, GaussianMixture, SwissRoll
from aegean.report import ImageRow, ReportContent, figures, render_report
from aegean.report.build import _adversaries, _technical
from aegean.report.figures import code_map, nearest, nearest_figure, paper_figures
from aegean.report.pictures import figure_panels
from aegean.report.tables import adversary_verdict
from conftest import SMALL, SMALL_MODELS, make_splits

COPIED, MANIFOLD, WALK = "Drawn or copied?", "The manifold", "A walk along the swiss roll"
STYLE, HEADS = "Content and style", "Cluster heads"


def aae(prior, **settings):
    return AAEConfig(prior=prior, encoder=SMALL, decoder=SMALL, discriminator=SMALL, **settings)


def categorical(content, categories=3, **settings):
    settings = {"style": Gaussian(dim=2, std=3.0)} | settings
    return CategoricalAAEConfig(
        content=content,
        category=Categorical(categories=categories),
        encoder=SMALL,
        decoder=SMALL,
        discriminator=SMALL,
        **settings,
    )


PIXELGAN = SMALL_MODELS["pixelgan-gaussian"]
MIXTURE = GaussianMixture(components=3)
#: Each model with the titles of its figures and of its map of codes.
EXPECTED = {
    "vae": (SMALL_MODELS["vae"], [COPIED], None),
    "vae in the plane": (
        VAEConfig(prior=Gaussian(dim=2), encoder=SMALL, decoder=SMALL),
        [COPIED, MANIFOLD],
        "The map of codes",
    ),
    "vae-gan": (SMALL_MODELS["vae-gan"], [COPIED], None),
    "aae": (SMALL_MODELS["aae"], [COPIED], None),
    "aae in the plane": (aae(Gaussian(dim=2, std=5.0)), [COPIED, MANIFOLD], "The map of codes"),
    "mixture": (aae(MIXTURE), [COPIED, MANIFOLD], "The map of codes"),
    "mixture in space": (aae(GaussianMixture(dim=3)), [COPIED], None),
    "swiss roll": (aae(SwissRoll()), [COPIED, WALK], "The map of codes"),
    "pixelgan-gaussian": (PIXELGAN, [COPIED, MANIFOLD], "The map of codes"),
    "pixelgan-categorical": (SMALL_MODELS["pixelgan-categorical"], [COPIED], "The map of codes"),
    "given": (categorical("given"), [COPIED, STYLE], None),
    "classified": (categorical("classified", style=Gaussian(dim=4)), [COPIED, STYLE], None),
    "clustered": (categorical("clustered", 5), [COPIED, STYLE, HEADS], None),
    "reduced": (categorical("clustered", 5, heads=2.0), [COPIED, STYLE, HEADS], "The map of reduced codes"),
    "reduced to space": (categorical("classified", heads=2.0, style=Gaussian(dim=3)), [COPIED, STYLE], None),
    "a code of three that is no triangle": (categorical("clustered", 1), [COPIED, STYLE, HEADS], None),
}


@pytest.fixture
def run(splits):
    return SimpleNamespace(splits=splits, precision=torch.float32)


@pytest.fixture
def samples(splits):
    return [ImageRow("samples", as_float(splits.train.images[5:30]))]


def build(config, run):
    return create(config, run.splits.shape, run.splits.classes).eval()


def by_title(found):
    return {figure.title: figure for figure in found}


def decoded(model, z):
    return apply(model, lambda part: model.decode(part), z)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_model_has_decides_its_figures(run, samples, name):
    config, titles, place = EXPECTED[name]
    model = build(config, run)
    found, places = paper_figures(run, model, samples), code_map(run, model, run.splits.test)
    assert [figure.title for figure in found] == titles
    assert (places and places.title) == place
    html = render_report(ReportContent(title="t", class_names=["a", "b", "c"], figures=found, codes=places))
    assert html.count("<h2>") == len(titles) + (place is not None)


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_every_model_has_figures_that_can_be_drawn(run, samples, name):
    model = build(SMALL_MODELS[name], run)
    codes = code_map(run, model, run.splits.test) if model.can("encode") else None
    content = ReportContent(title="t", figures=paper_figures(run, model, samples), codes=codes)
    assert render_report(content).count("<img") > 1


def test_without_a_decoder_there_is_no_manifold(run):
    model = build(SMALL_MODELS["pixelgan-matching"].override({"prior": Gaussian(dim=2).to_dict()}), run)
    assert paper_figures(run, model) == []


def test_without_samples_and_held_out_images_the_other_figures_remain():
    run = SimpleNamespace(splits=make_splits(test=0), precision=torch.float32)
    model = build(categorical("clustered", 5, heads=2.0), run)
    assert [figure.title for figure in paper_figures(run, model)] == [STYLE]


def test_the_manifold_is_decoded_at_the_percentiles_of_the_prior(run):
    prior = Gaussian(dim=2, std=5.0)
    model = build(aae(prior), run)
    (figure,) = paper_figures(run, model)
    assert figure.columns == 20
    images = figure.panels[0].images
    corner = 5.0 * math.sqrt(2) * torch.erfinv(torch.tensor(0.95))  # the percentile 39/40
    torch.testing.assert_close(images[19], decoded(model, torch.stack([corner, corner])[None])[0])
    torch.testing.assert_close(images[380], decoded(model, -torch.stack([corner, corner])[None])[0])


def test_a_mixture_has_a_panel_for_each_of_its_first_components(run):
    model = build(aae(GaussianMixture(components=8)), run)
    (figure,) = paper_figures(run, model)
    assert [panel.name for panel in figure.panels] == ["0", "1", "2"]
    torch.testing.assert_close(figure.panels[1].images, decoded(model, model.prior.percentiles(10, 1)))
    assert len(paper_figures(run, build(aae(GaussianMixture(components=2)), run))[0].panels) == 2


def test_components_that_labels_were_matched_to_are_named_after_the_classes(run):
    (figure,) = paper_figures(run, build(aae(MIXTURE, label_aware=True), run))
    assert [panel.name for panel in figure.panels] == list(run.splits.train.class_names)


def test_images_stand_above_what_is_nearest_to_them_in_the_other_domain(run, monkeypatch):
    prior = Empirical(samples="digits", principal=4)
    model = build(aae(prior), run)
    monkeypatch.setattr(model, "encode", lambda x: prior.table()[0][100 : 100 + len(x)] + 1e-4)
    (figure,) = paper_figures(run, model)
    count = min(len(run.splits.test), 20)
    above, below = zip(*(panel.images.chunk(2) for panel in figure.panels), strict=True)
    torch.testing.assert_close(torch.cat(above), run.splits.test.images[:count].float() / 255)
    digits = torch.from_numpy(load_digits().images[100 : 100 + count]).float() / 16
    torch.testing.assert_close(torch.cat(below), digits[:, None])


def test_a_second_domain_that_cannot_be_drawn_has_no_figure(run, tmp_path):
    np.savez(tmp_path / "codes.npz", codes=np.random.default_rng(0).normal(size=(20, 3)))
    assert paper_figures(run, build(aae(Empirical(samples=str(tmp_path / "codes.npz"))), run)) == []


def test_the_walk_follows_the_roll(run):
    model = build(aae(SwissRoll()), run)
    (figure,) = paper_figures(run, model)
    torch.testing.assert_close(figure.panels[0].images, decoded(model, model.prior.walk(100)))
    assert figure.columns == 10


@pytest.mark.parametrize("prior", [Gaussian(dim=2), MIXTURE, SwissRoll()], ids=lambda prior: prior.kind)
def test_a_decoder_that_draws_pixel_by_pixel_has_little_to_draw(run, monkeypatch, prior):
    config = PixelGANConfig(**{**dict(PIXELGAN), "prior": prior})
    model = build(config, run)
    counts = []
    monkeypatch.setattr(model, "decode", lambda z, generator: counts.append(len(z)) or torch.zeros(len(z), 1, 8, 8))
    paper_figures(run, model)
    assert 50 < sum(counts) <= 100


def test_large_images_are_fewer():
    run = SimpleNamespace(splits=make_splits(shape=(3, 160, 160), n=24, labels_per_class=1), precision=torch.float32)
    (figure,) = paper_figures(run, build(aae(Gaussian(dim=2)), run))
    assert len(figure.panels[0].images) == 36  # 48 have as many pixels as 1200 images of 32 x 32


def test_rows_are_styles_and_columns_are_categories(run):
    model = build(categorical("clustered", 5), run)
    figure = by_title(paper_figures(run, model))[STYLE]
    assert figure.columns == 5
    images = figure.panels[0].images.reshape(10, 5, 1, 8, 8)
    z = model.config.style.sample(10, generator=torch.Generator().manual_seed(0))
    for row, column in ((0, 0), (0, 4), (7, 2)):
        code = torch.cat((torch.eye(5)[column], z[row]))[None]
        torch.testing.assert_close(images[row, column], decoded(model, code)[0])
    assert "every column is one cluster." in figure.caption
    classes = by_title(paper_figures(run, build(categorical("classified"), run)))[STYLE]
    assert "every column is one class: class 0, class 1, class 2." in classes.caption


def test_of_many_clusters_some_are_shown(run):
    found = by_title(paper_figures(run, build(categorical("clustered", 60), run)))
    assert found[STYLE].columns == 20
    assert len(found[STYLE].panels[0].images) == 200
    assert len(found[HEADS].panels) == 40


def test_cluster_heads_come_before_random_members(run, monkeypatch):
    model = build(categorical("clustered", 3), run)
    # The brightest corner is the class; let cluster 0 be class 1, cluster 1 the others, cluster 2 empty.
    one = torch.nn.functional.one_hot
    monkeypatch.setattr(model, "predict", lambda x: one((x[:, 0, 1, :4].mean(1) < 1).long(), 3).float())
    figure = by_title(paper_figures(run, model))[HEADS]
    assert [panel.name for panel in figure.panels] == ["cluster 0", "cluster 1", "cluster 2"]
    heads = decoded(model, torch.cat((torch.eye(3), torch.zeros(3, 2)), dim=1))
    test = run.splits.test
    first = as_float(test.images[test.labels == 1])
    for k, panel in enumerate(figure.panels):
        torch.testing.assert_close(panel.images[0], heads[k])
    assert [len(panel.images) for panel in figure.panels] == [1 + len(first), 1 + min(9, len(test) - len(first)), 1]
    as_sets = [{image.numpy().tobytes() for image in images} for images in (figure.panels[0].images[1:], first)]
    assert as_sets[0] == as_sets[1]


def test_the_heads_are_marked_among_the_reduced_codes(run):
    model = build(categorical("clustered", 5, heads=2.0), run)
    places = code_map(run, model, run.splits.test)
    torch.testing.assert_close(places.marks, model.heads.weight.detach().T)
    z = apply(model, model.encode, run.splits.test.images)
    torch.testing.assert_close(places.codes, z[:, :5] @ model.heads.weight.detach().T + z[:, 5:])
    assert render_report(ReportContent(title="t", class_names="abc", codes=places)).count('class="mark"') == 5


@pytest.mark.parametrize("block", [7, 100])
def test_the_nearest_image_is_that_of_a_naive_search(block):
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (100, 3, 5, 4), generator=rng, dtype=torch.uint8)
    x = torch.rand(20, 3, 5, 4, generator=rng)
    x[0] = images[99].float() / 255
    naive = [min(range(100), key=lambda i, one=one: float((one - images[i] / 255).square().sum())) for one in x]
    assert nearest(x, images, block).tolist() == naive
    assert naive[0] == 99
    assert len(set(naive)) > 5


def test_copies_are_shown_below_themselves(run, samples):
    (figure,) = paper_figures(run, build(SMALL_MODELS["aae"], run), samples)
    assert [len(panel.images) for panel in figure.panels] == [20, 20]
    for panel in figure.panels:
        torch.testing.assert_close(panel.images[:10], panel.images[10:])
    torch.testing.assert_close(figure.panels[1].images[:10], samples[0].images[10:20])


def test_every_row_of_samples_is_compared(run, samples):
    rows = [ImageRow(str(k), samples[0].images[4 * k : 4 * k + 4]) for k in range(6)]
    (figure,) = paper_figures(run, build(SMALL_MODELS["aae"], run), rows)
    shown = torch.cat([panel.images[: len(panel.images) // 2] for panel in figure.panels])
    torch.testing.assert_close(shown, torch.cat([row.images[:3] for row in rows]))


@pytest.mark.parametrize("each", [[6, 6, 6], [11], [3], [20]])
def test_each_sample_stands_above_the_training_image_nearest_to_it(run, each):
    """Copies of training images are over themselves, in the last and shorter rows, too."""
    parts = torch.split(as_float(run.splits.train.images), [*each, len(run.splits.train) - sum(each)])[:-1]
    figure = nearest_figure(run, [ImageRow(str(k), part) for k, part in enumerate(parts)])
    for _, shown in figure_panels(figure)["panels"]:
        image = Image.open(io.BytesIO(base64.b64decode(shown.source.partition(",")[2])))
        pixels = np.asarray(image.convert("RGB"))
        height = run.splits.shape[1]
        assert len(pixels) // height == 2
        assert (pixels[:height] == pixels[-height:]).all()


def test_figures_are_the_same_at_every_call(run):
    model = build(PIXELGAN, run)
    first, second = (paper_figures(run, model)[0].panels[0].images for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(first) == figures.DECODED_SLOWLY


def test_of_two_discriminators_each_is_compared_with_its_own_opponent():
    row = {"epoch": 1, "confuse": 3.0, "confuse/style": 1.0, "confuse/category": 2.0}
    for phase in ("discriminate-style", "discriminate-category", "discriminate"):
        row |= {phase: 1.3, **{f"{phase}/{name}": 0.5 for name in ("chance", "real_accuracy", "fake_accuracy")}}
    found = {health.name: health.generator_loss for health in _adversaries([row])}
    assert found == {
        "discriminate-style": [(1, 1.0)],
        "discriminate-category": [(1, 2.0)],
        "discriminate": [(1, 3.0)],
    }


def rows_of(phase, loss=1.3, chance=1.386, **more):
    return [{"epoch": epoch, phase: loss, f"{phase}/chance": chance} | more for epoch in (1, 2)]


def test_a_game_that_is_played_twice_has_an_opponent_each_time():
    rows = [{**plain, **pairs} for plain, pairs in zip(
        rows_of("discriminate", confuse=0.7), rows_of("discriminate-pairs", **{"confuse-pairs": 3.0}), strict=True
    )]  # fmt: skip
    found = {health.name: health.generator_loss for health in _adversaries(rows)}
    assert found == {"discriminate": [(1, 0.7), (2, 0.7)], "discriminate-pairs": [(1, 3.0), (2, 3.0)]}


def test_accuracies_may_be_missing():
    (health,) = _adversaries(rows_of("discriminate"))
    assert (health.real_accuracy, health.fake_accuracy, health.generator_loss) == (None, None, [])
    assert not _adversaries([{"epoch": 1, "discriminate/chance": 1.386}])


@pytest.mark.parametrize("loss", ["non-saturating", "minimax", "least-squares", "wasserstein", "kl", "reverse-kl"])
@pytest.mark.parametrize(
    ("name", "phase", "setting"),
    [
        ("aae", "discriminate", "adversary"),
        ("aae-labels", "discriminate-pairs", "adversary"),
        ("aae-classified", "discriminate-style", "style_adversary"),
        ("aae-classified", "discriminate-category", "adversary"),
        ("implicit", "discriminate-reconstruction", "adversary"),
        ("implicit", "discriminate-code", "code_adversary"),
        ("flipped-implicit", "discriminate-image", "image_adversary"),
        ("ali", "discriminate", "adversary"),
    ],
)
def test_the_opponents_chance_is_that_of_its_losses(name, phase, setting, loss):
    """Of ALI both networks are opponents, and the chance of one is what confuses the other, too."""
    ways = {"gradients": "negative"} if name == "implicit" else {}
    config = SMALL_MODELS[name].override({f"{setting}.loss": loss, **ways})
    adversary = Adversary(loss=loss)
    logits = torch.full((1,), adversary.boundary)
    expected = adversary.generator_loss(logits)
    if name == "ali":
        expected = expected + adversary.generator_loss_of_real(logits)
    (health,) = _adversaries(rows_of(phase, confuse=0.7), config)
    assert health.generator_chance == pytest.approx(expected.item())


def test_both_ways_of_gradients_have_both_terms_at_chance():
    config = SMALL_MODELS["implicit"].override({"gradients": "both"})
    (health,) = _adversaries(rows_of("discriminate-reconstruction"), config)
    assert health.generator_chance == pytest.approx(2 * math.log(2))
    (health,) = _adversaries(rows_of("discriminate-code"), config)
    assert health.generator_chance == pytest.approx(math.log(2))
    (health,) = _adversaries(rows_of("discriminate"), SMALL_MODELS["vae-gan"])  # has no such settings
    assert health.generator_chance == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", [0.0, -1.0])
def test_a_dead_critic_is_drawn(loss):
    (health,) = _adversaries(rows_of("discriminate", loss=0.0, chance=0.0, confuse=loss), aae(Gaussian(dim=2)))
    charts = adversary_verdict(health)["charts"]
    assert len(charts) == 2
    assert "nan" not in str(charts)


@pytest.mark.parametrize(("more", "minutes"), [({}, None), ({"seconds": 120.0}, 2.0)])
def test_the_time_of_training_may_be_missing(more, minutes):
    environment = SimpleNamespace(aegean="1", torch="2", python="3", commit="4", hardware="5")
    experiment, splits = SimpleNamespace(to_yaml=str), SimpleNamespace(skipped=())
    run = SimpleNamespace(
        started_in=lambda: environment, command="", experiment=experiment, splits=splits, warnings=tuple
    )
    assert _technical(run, rows_of("discriminate", **more)).minutes == minutes

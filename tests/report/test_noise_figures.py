"""Figures of what noise does."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aegean.data import Points, as_float
from aegean.errors import DataError
from aegean.evaluate.noise import reconstruction_draws
from aegean.models import GANConfig, create
from aegean.plots.latent import PALETTE, density_image
from aegean.priors import Categorical, Gaussian, Product
from aegean.recipes import get
from aegean.report.build import report_content
from aegean.report.information import category_figure, information_figures
from aegean.report.noise import cluster_figure, noise_figures, point_map
from aegean.report.page import render_report
from aegean.run import Run
from conftest import SMALL, SMALL_MODELS

RECONSTRUCTIONS, CLUSTERS, AMBIGUOUS = "Stochastic reconstructions", "Content and style", "Ambiguous images"
CONTINUOUS = [f"Continuous code {number}" for number in (1, 2, 3)]


@pytest.fixture
def run(splits):
    return SimpleNamespace(splits=splits, precision=torch.float32)


def model_of(name):
    return create(SMALL_MODELS[name], (1, 8, 8), 3, seed=0).eval()


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("implicit", [RECONSTRUCTIONS]),
        ("implicit-supervised", [RECONSTRUCTIONS, CLUSTERS]),
        ("implicit-free", []),
        ("aae", []),
        ("infogan", [CLUSTERS, *CONTINUOUS]),
    ],
)
def test_what_a_model_has_decides_its_figures(run, name, titles):
    assert [figure.title for figure in noise_figures(run, model_of(name))] == titles


def test_a_row_is_an_image_and_its_reconstructions(run):
    model = model_of("implicit")
    (figure,) = noise_figures(run, model)
    images = run.splits.test.images[:10]
    rows = figure.panels[0].images.reshape(10, figure.columns, 1, 8, 8)
    assert torch.equal(rows[:, 0], as_float(images))
    assert torch.equal(rows[:, 1:], reconstruction_draws(model, run.splits, images, 9, torch.float32))
    assert not torch.equal(rows[:, 1], rows[:, 2])


def test_style_is_fixed_across_a_row_and_clusters_down_a_column(run):
    model = model_of("implicit-supervised")
    model._image = lambda z, n: torch.cat((z.argmax(1)[:, None], n[:, :1]), dim=1)
    figure = cluster_figure(run, model)
    cells = figure.panels[0].images.reshape(10, 3, 2)
    assert torch.equal(cells[..., 0], torch.arange(3.0).expand(10, 3))
    assert (cells[..., 1] == cells[:, :1, 1]).all()
    assert len(cells[:, 0, 1].unique()) == 10


def shows(model, *coordinates):
    """Let an InfoGAN's images be coordinates of code and noise, which stand side by side."""
    model.draw_styled = lambda z, n: torch.cat((z, n), dim=1)[:, list(coordinates)]


def test_categories_of_an_infogan_stand_in_columns_with_all_else_fixed_across_a_row(run):
    model = model_of("infogan")
    shows(model, *range(10))  # three of the category, two uniform, one Gaussian, four of the noise
    cells = category_figure(run, model).panels[0].images.reshape(10, 3, 10)
    assert torch.equal(cells[..., :3], torch.eye(3).expand(10, 3, 3))
    assert torch.equal(cells[..., 3:], cells[:, :1, 3:].expand(10, 3, 7))
    assert all(len(cells[:, 0, k].unique()) == 10 for k in range(3, 10))


def test_one_continuous_code_of_an_infogan_grows_across_a_row_and_nothing_else(run):
    model = model_of("infogan")
    shows(model, *range(10))
    _, *figures = information_figures(run, model)
    for coordinate, figure in enumerate(figures, 3):
        assert "grows from -2 to 2" in figure.caption
        cells = figure.panels[0].images.reshape(10, figure.columns, 10)
        assert torch.allclose(cells[..., coordinate], torch.linspace(-2, 2, 10).expand(10, 10))
        others = [k for k in range(10) if k != coordinate]
        assert torch.equal(cells[..., others], cells[:, :1, others].expand(10, 10, 9))
        assert torch.equal(cells[:, 0, :3].argmax(1), torch.arange(10) % 3)


@pytest.mark.parametrize(
    ("prior", "titles"),
    [
        (Categorical(categories=3), [CLUSTERS]),
        (Gaussian(dim=5), CONTINUOUS),
        (Product(parts=(Categorical(categories=2), Categorical(categories=3))), []),
    ],
)
def test_the_codes_of_an_infogan_decide_its_figures(run, prior, titles):
    config = SMALL_MODELS["infogan"].override({"prior": prior.to_dict(), "noise": 0})
    figures = information_figures(run, create(config, (1, 8, 8), seed=0).eval())
    assert [figure.title for figure in figures] == titles


def test_ambiguous_images_stand_beside_what_they_are_taken_for(run):
    model = model_of("flipped-implicit")
    some = as_float(run.splits.test.images[2:3])

    def draw_code(x):
        changed = (x == some).flatten(1).all(1) & (torch.rand(len(x), generator=model.rng) < 0.5)
        return torch.eye(3)[2 * changed.long()]

    model.draw_code = draw_code
    *_, figure = noise_figures(run, model)
    assert figure.title == AMBIGUOUS
    (panel,) = figure.panels
    assert torch.equal(panel.images[0], some[0])
    assert len(panel.images) == 3
    assert sorted(part.rsplit(" ", 1)[0] for part in panel.name.split(", ")) == ["cluster 0", "cluster 2"]
    model.draw_code = lambda x: torch.eye(3)[torch.zeros(len(x), dtype=torch.int64)]
    assert AMBIGUOUS not in [figure.title for figure in noise_figures(run, model)]


def test_points_are_coloured_by_the_category_that_they_were_drawn_of():
    splits = Points(points=90, modes=3, test=0.5).load()
    run = SimpleNamespace(splits=splits, precision=torch.float32)
    prior = Product(parts=(Categorical(categories=3), Gaussian(dim=2)))
    model = create(GANConfig(prior=prior, generator=SMALL, discriminator=SMALL), splits.shape).eval()
    model.decode = lambda z, generator=None: (z[:, :3].argmax(1) / 4)[:, None, None, None].expand(-1, 2, 1, 1)
    found = point_map(run, model)
    assert np.allclose(found.codes[:, 0], found.labels / 4)
    assert found.marks.shape == (3, 2)
    assert (
        point_map(run, create(GANConfig(prior=Gaussian(dim=3), generator=SMALL, discriminator=SMALL), (2, 1, 1)))
        is None
    )


@pytest.mark.parametrize("name", ["gan-points", "implicit-points", "infogan-points", "flipped-implicit-points"])
def test_the_report_of_a_toy_has_its_figure_and_no_pictures_of_single_points(tmp_path, monkeypatch, name):
    monkeypatch.setattr("aegean.evaluate.noise.POSTERIOR_DRAWS", 500)
    run = Run.create(tmp_path / "run", get(name).override({"train.epochs": 1, "data.points": 400}))
    run.train()
    content = report_content(run)
    assert content.samples is None
    assert content.reconstructions is None
    page = render_report(content)
    if "flipped" in name or "info" in name:
        assert [figure.title for figure in content.figures] == ["True and learned posterior"]
        assert page.count("<img") == 2
    else:
        assert content.codes.title == "Samples by category"
        assert "<svg" in page


def test_densities_are_painted_in_their_colours_on_white():
    densities = np.zeros((2, 1, 3))
    densities[0, 0, 0], densities[1, 0, 2] = 5.0, 0.1
    image = density_image(densities)
    assert image.shape == (1, 3, 1, 3)
    assert np.allclose(image[0, :, 0, 1], 1)
    for k, column in ((0, 0), (1, 2)):
        assert "#" + "".join(f"{round(255 * value):02x}" for value in image[0, :, 0, column]) == PALETTE[k]
    with pytest.raises(DataError, match="not negative"):
        density_image(-densities)

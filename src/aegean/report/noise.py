"""Figures of what noise does: "Implicit Autoencoders", figures 2, 5, 6, 8 and 9, and section 3.1."""

import torch
from torch import Tensor

from aegean.data import as_float
from aegean.evaluate.apply import apply
from aegean.evaluate.noise import (
    CATEGORY_DRAWS,
    can_compare_posteriors,
    category_draws,
    posteriors,
    reconstruction_draws,
    samples_by_category,
)
from aegean.models import InfoGAN, Model
from aegean.models.two_way import TwoWay
from aegean.plots.latent import density_image
from aegean.report.content import Codes, Figure, ImageRow
from aegean.report.information import information_figures
from aegean.run import Run

#: Test images and reconstructions of each; clusters, and styles that show each of them; ambiguous images.
IMAGES, DRAWS, CLUSTERS, STYLES, AMBIGUOUS = 10, 9, 20, 10, 8
#: Test images among which ambiguous ones are looked for.
LOOKED_AT = 2000
#: Samples of each category on the map of points; pixels a side of each cell of a posterior.
POINTS, CELL = 400, 4


def in_the_plane(model: Model) -> bool:
    """Whether the data are points, for which pictures of single ones say nothing."""
    return model.shape == (2, 1, 1)


def noise_figures(run: Run, model: Model) -> list[Figure]:
    """Draw every figure that the model has the parts for."""
    figures = []
    test = len(run.splits.test)
    if in_the_plane(model):
        known = len(run.splits.test.with_known_labels())
        return [posterior_figure(run, model)] if known and can_compare_posteriors(model) else []
    if isinstance(model, TwoWay):
        if model.config.noise and test:
            figures.append(stochastic_figure(run, model))
        if model.config.noise and model.categories is not None and model.can("sample"):
            figures.append(cluster_figure(run, model))
        if model.config.posterior_noise and model.categories is not None and test:
            figures += ambiguous_figure(run, model)
    if isinstance(model, InfoGAN):
        figures += information_figures(run, model)
    return figures


def point_map(run: Run, model: Model) -> Codes | None:
    """Figure 5: samples in the plane, coloured by the category that they were drawn of."""
    test = run.splits.test.with_known_labels()
    if not in_the_plane(model) or model.components is None or not model.can("sample") or not len(test):
        return None
    x, y = samples_by_category(model, model.components, POINTS, run.precision)
    real = as_float(test.images).flatten(1)
    centres = [real[test.labels == k].mean(dim=0) for k in sorted(set(test.labels.tolist()))]
    return Codes(
        x.flatten(1),
        y,
        title="Samples by category",
        caption="Every point is a sample of the model, coloured by the category that it was drawn of. Rings are the "
        "modes of the data.",
        marks=torch.stack(centres),
    )


def posterior_figure(run: Run, model: Model) -> Figure:
    """Figures 8 and 9: true and learned posterior of each data point, in one colour each."""
    found = posteriors(model, run.splits, run.precision)
    return Figure(
        title="True and learned posterior",
        caption="The plane of codes. Each colour is a data point. True: where the decoder makes it, as dense as the "
        "prior. Learned: the codes that the model infers of it. The mean Jensen-Shannon divergence is "
        f"{float(found.divergences.mean()):.3f} nats.",
        panels=[
            ImageRow(name, density_image(found.image(name)).repeat(CELL, 2).repeat(CELL, 3))
            for name in ("true", "learned")
        ],
        columns=1,
    )


def stochastic_figure(run: Run, model: TwoWay) -> Figure:
    """Figure 2: images, and several reconstructions of each."""
    images = run.splits.test.images[:IMAGES]
    draws = reconstruction_draws(model, run.splits, images, DRAWS, run.precision)  # (n, draws, c, h, w)
    originals = as_float(images, run.splits.binarize, torch.Generator().manual_seed(0))
    return Figure(
        title="Stochastic reconstructions",
        caption="The first image of a row is a held-out image. The others are reconstructions of it, each with noise "
        "of its own: what they share is what the code says.",
        panels=[ImageRow("", torch.cat((originals[:, None], draws), dim=1).flatten(0, 1))],
        columns=DRAWS + 1,
    )


def cluster_figure(run: Run, model: TwoWay) -> Figure:
    """Figure 6: clusters in columns, with one style, the noise n, held fixed across each row."""
    assert model.categories is not None  # noqa: S101 - else nobody asks
    columns = min(model.categories.stop - model.categories.start, CLUSTERS)
    generator = torch.Generator().manual_seed(0)
    # Of each category one code, whatever else the prior has; and the styles.
    z = model.prior.sample(columns, labels=torch.arange(columns), generator=generator)
    n = torch.randn(STYLES, model.config.noise, generator=generator)
    codes = torch.cat((z.repeat(STYLES, 1), n.repeat_interleave(columns, dim=0)), dim=1)
    dim = z.shape[1]
    images = apply(model, lambda zn: model.draw_styled(zn[:, :dim], zn[:, dim:]), codes, run.precision)
    return Figure(
        title="Content and style",
        caption="Every column is one "
        + ("class" if model.supervised else "cluster")
        + "; every row is one draw of the noise, held fixed across it.",
        panels=[ImageRow("", images)],
        columns=columns,
    )


def ambiguous_figure(run: Run, model: TwoWay) -> list[Figure]:
    """Section 3.1: images whose category depends on the draw of the posterior's noise, with samples of each of them."""
    images = run.splits.test.images[:LOOKED_AT]
    drawn = category_draws(model, run.splits, images, CATEGORY_DRAWS, run.precision)  # (n, draws)
    agreement = (drawn == drawn.mode(dim=1).values[:, None]).float().mean(dim=1)
    chosen = [int(k) for k in agreement.argsort()[:AMBIGUOUS] if agreement[k] < 1]
    if not chosen:
        return []
    generator = torch.Generator().manual_seed(0)
    kind = "class" if model.supervised else "cluster"
    panels = []
    for index in chosen:
        counts = drawn[index].bincount()
        seen = counts.argsort(descending=True)[: int((counts > 0).sum())]
        z = model.prior.sample(len(seen), labels=seen, generator=generator)
        samples = apply(model, lambda part: model.decode(part, generator), z, run.precision)
        name = ", ".join(f"{kind} {int(k)} ({int(counts[k])})" for k in seen)
        original: Tensor = as_float(images[index : index + 1], run.splits.binarize, torch.Generator().manual_seed(0))
        panels.append(ImageRow(name, torch.cat((original, samples))))
    return [
        Figure(
            title="Ambiguous images",
            caption=f"The first image of a row is a held-out image whose {kind} depends on the draw of the noise "
            f"in its posterior. What {CATEGORY_DRAWS} draws gave stands beside it, with how often, and a sample of "
            "each.",
            panels=panels,
            columns=max(len(panel.images) for panel in panels),
        )
    ]

"""The figures of the papers, drawn of any run: what a model has decides which of them there are.

The numbers are those of "Adversarial Autoencoders" (Makhzani et al., 2015); the cluster heads are figure 9 of its
second version.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aegean.data import ImageData, as_float
from aegean.evaluate.apply import apply
from aegean.evaluate.neighbours import nearest
from aegean.models import CategoricalAAE, Model, PixelGAN
from aegean.priors import Categorical, Empirical, Gaussian, GaussianMixture, SwissRoll
from aegean.report.content import Codes, Figure, ImageRow
from aegean.run import Run

#: Images a figure at most: of most models, of those that decode pixel by pixel, and so that a page is not too large.
DECODED, DECODED_SLOWLY, PIXELS = 1200, 100, 1200 * 32 * 32
#: A manifold has this many images a side at most; of a mixture so many are drawn side by side, smaller.
SIDE, PANELS, PANEL_SIDE = 20, 3, 10
#: Images a row of all other figures, and images that are compared with their nearest neighbours.
COLUMNS, COMPARED = 10, 20
#: Styles, and columns of classes or clusters that show each of them.
STYLES, MAX_CATEGORIES = 10, 20
#: Rows of samples and clusters at most.
MAX_ROWS = 40
#: Held-out images whose codes are drawn, or of which members of clusters are chosen.
HELD_OUT = 2000


def paper_figures(run: Run, model: Model, samples: Sequence[ImageRow] = ()) -> list[Figure]:
    """Draw every figure that the model has the parts for.

    Args:
        run: its images are compared with, and precision decoded in.
        model: its model.
        samples: what the model drew, to be compared with training images.
    """
    prior = getattr(model, "prior", None)
    figures = [nearest_figure(run, samples)] if samples else []
    if isinstance(prior, Empirical):
        figures += domains_figure(run, model, prior)
    elif not model.can("sample"):
        pass  # a prior's manifold is one of images
    elif isinstance(prior, Gaussian) and prior.dim == 2:
        figures.append(gaussian_manifold(run, model, prior))
    elif isinstance(prior, GaussianMixture) and prior.dim == 2:
        figures.append(mixture_manifold(run, model, prior))
    elif isinstance(prior, SwissRoll):
        figures.append(roll_walk(run, model, prior))
    if isinstance(model, CategoricalAAE):
        figures.append(style_figure(run, model))
        if not model.supervised and len(run.splits.test):
            figures.append(heads_figure(run, model))
    return figures


def code_map(run: Run, model: Model, images: ImageData) -> Codes | None:
    """Place images by their codes, where those have two dimensions or are three probabilities."""
    shown = images.subset(torch.arange(min(len(images), HELD_OUT)))
    z = apply(model, model.encode, shown.images, run.precision, run.splits.binarize)
    if isinstance(model, CategoricalAAE):
        if model.heads is None or model.style != 2:
            return None
        return Codes(
            apply(model, model.represent, z),
            shown.labels,
            title="The map of reduced codes",
            caption="Every point is an image, placed by the sum of its cluster’s head and its style, and coloured by "  # noqa: RUF001
            "its class. Rings are the cluster heads.",
            marks=apply(model, model.represent, _heads(model)),
        )
    triangle = z.shape[1] == 3 and isinstance(getattr(model, "prior", None), Categorical)
    return Codes(z, shown.labels) if z.shape[1] == 2 or triangle else None


def component_names(run: Run, model: Model, components: int) -> list[str]:
    """Name the components of a prior: after the classes, where labels were matched to them, else by number."""
    matched = model.supervised or getattr(model.config, "label_aware", False)
    names = run.splits.train.class_names if matched else ()
    return [names[k] if k < len(names) else str(k) for k in range(components)]


def nearest_figure(run: Run, samples: Sequence[ImageRow]) -> Figure:
    """Figure 6: samples, and the training images nearest to them. A model that copies shows the same twice."""
    each = max(1, COMPARED // len(samples))
    drawn = torch.cat([torch.as_tensor(row.images[:each]) for row in samples])[:COMPARED]
    training = run.splits.train.images
    found = as_float(training[nearest(drawn, training)])
    return Figure(
        title="Drawn or copied?",
        caption="Images that the model drew above, and below each the training image that is nearest to it, pixel by "
        "pixel. A model that copies shows the same image twice.",
        panels=_one_above_the_other(drawn, found),
        columns=min(COLUMNS, len(drawn)),
    )


def domains_figure(run: Run, model: Model, prior: Empirical) -> list[Figure]:
    """Images of two domains (PixelGAN paper, section 4), where there are held-out ones and the second can be drawn."""
    pictures = prior.pictures()
    if pictures is None or not len(run.splits.test):
        return []
    shown = run.splits.test.images[:COMPARED]
    z = apply(model, model.encode, shown, run.precision, run.splits.binarize)
    found = pictures[torch.cdist(z, prior.table()[0]).argmin(dim=1)]
    images = as_float(shown)
    found = nn.functional.interpolate(found, images.shape[2:]).expand_as(images)
    return [
        Figure(
            title="In the other domain",
            caption="Held-out images above, and below each the sample of the second domain nearest to its code.",
            panels=_one_above_the_other(images, found),
            columns=min(COLUMNS, len(images)),
        )
    ]


def _one_above_the_other(above: Tensor, below: Tensor) -> list[ImageRow]:
    pairs = zip(torch.split(above, COLUMNS), torch.split(below, COLUMNS), strict=True)
    return [ImageRow("", torch.cat(pair), in_row=len(pair[0])) for pair in pairs]  # the last pair may be shorter


def gaussian_manifold(run: Run, model: Model, prior: Gaussian) -> Figure:
    """Figure 2e: images at equally spaced percentiles of both coordinates."""
    side = min(SIDE, math.isqrt(_most(model)))
    return Figure(
        title="The manifold",
        caption="What the decoder makes of codes at equally spaced percentiles of the Gaussian prior: the first "
        "coordinate grows rightwards, the second upwards.",
        panels=[ImageRow("", _decode(run, model, prior.percentiles(side)))],
        columns=side,
    )


def mixture_manifold(run: Run, model: Model, prior: GaussianMixture) -> Figure:
    """Figure 4b: the same along the axes of each of the first three components."""
    count = min(prior.components, PANELS)
    side = min(PANEL_SIDE, math.isqrt(_most(model) // count))
    return Figure(
        title="The manifold",
        caption=f"What the decoder makes of the first {count} components of the prior, at equally spaced percentiles "
        "along the axes of each: outwards from the origin is rightwards here, counterclockwise around it upwards.",
        panels=[
            ImageRow(name, _decode(run, model, prior.percentiles(side, k)))
            for k, name in enumerate(component_names(run, model, count))
        ],
        columns=side,
    )


def roll_walk(run: Run, model: Model, prior: SwissRoll) -> Figure:
    """Figure 4d: images along the axis of the swiss roll."""
    steps = min(COLUMNS * COLUMNS, _most(model))
    return Figure(
        title="A walk along the swiss roll",
        caption=f"What the decoder makes of {steps} codes on the roll’s axis, equally far from each other, from the "  # noqa: RUF001
        "centre (top left) to the outer end, row by row.",
        panels=[ImageRow("", _decode(run, model, prior.walk(steps)))],
        columns=COLUMNS,
    )


def style_figure(run: Run, model: CategoricalAAE) -> Figure:
    """Figure 5: the same style in every class."""
    columns = min(model.categories, MAX_CATEGORIES)
    rows = max(1, min(STYLES, _most(model) // columns))
    z = model.config.style.sample(rows, generator=torch.Generator().manual_seed(0))
    y = torch.eye(model.categories)[:columns]
    codes = model.join(y.repeat(rows, 1), z.repeat_interleave(columns, dim=0))
    column = "cluster"
    if model.supervised:
        column = f"class: {', '.join(component_names(run, model, columns))}"
    return Figure(
        title="Content and style",
        caption=f"Every row is one style, drawn from the prior; every column is one {column}.",
        panels=[ImageRow("", _decode(run, model, codes))],
        columns=columns,
    )


def heads_figure(run: Run, model: CategoricalAAE) -> Figure:
    """Figure 9 of the second version: each cluster's head, and random images of the cluster."""
    test = run.splits.test
    some = test.subset(torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:HELD_OUT])
    cluster = apply(model, model.predict, some.images, run.precision, run.splits.binarize).argmax(dim=1)
    heads = _decode(run, model, _heads(model)[:MAX_ROWS])
    members = [as_float(some.images[cluster == k][: COLUMNS - 1]) for k in range(len(heads))]
    return Figure(
        title="Cluster heads",
        caption="The first image of a row is what the decoder makes of the cluster alone, with style zero. The others "
        "are random held-out images that were put into the cluster.",
        panels=[
            ImageRow(f"cluster {k}", torch.cat((head[None], images)))
            for k, (head, images) in enumerate(zip(heads, members, strict=True))
        ],
        columns=COLUMNS,
    )


def _heads(model: CategoricalAAE) -> Tensor:
    """Codes of every category with style zero, (k, k + d)."""
    return model.join(torch.eye(model.categories), torch.zeros(model.categories, model.style))


def _decode(run: Run, model: Model, codes: Tensor) -> Tensor:
    """Images of codes, on the CPU; the noise of a decoder that draws is the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return apply(model, lambda z: model.decode(z, generator), codes, run.precision, batch_size=DECODED_SLOWLY)


def _most(model: Model) -> int:
    """How many images a figure may decode."""
    _, height, width = model.shape
    most = DECODED_SLOWLY if isinstance(model, PixelGAN) else DECODED
    return max(PANELS, min(most, PIXELS // (height * width)))

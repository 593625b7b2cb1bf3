"""Figures of the codes that an InfoGAN's images tell: figure 2 of Chen et al., 2016."""

import torch
from torch import Tensor

from aegean.evaluate.apply import apply
from aegean.models import InfoGAN
from aegean.priors import Gaussian, Uniform, parts_of
from aegean.report.content import Figure, ImageRow
from aegean.run import Run

#: Styles that show each category; categories in columns, and in rows; continuous codes, and values of each.
STYLES, COLUMNS, ROWS, CODES, VALUES = 10, 20, 10, 3, 10
#: A continuous code goes so many times as far from its middle as its prior does, or so many standard deviations.
REACH = 2.0


def information_figures(run: Run, model: InfoGAN) -> list[Figure]:
    """Draw what each kind of code does, where the model has codes of that kind."""
    figures = [] if model.components is None else [category_figure(run, model)]
    for number, (coordinate, first, last) in enumerate(_continuous(model)[:CODES], 1):
        figures.append(continuous_figure(run, model, number, coordinate, torch.linspace(first, last, VALUES)))
    return figures


def category_figure(run: Run, model: InfoGAN) -> Figure:
    """Figure 2a: categories in columns; all other codes and the noise held fixed across each row."""
    assert model.components is not None  # noqa: S101 - else nobody asks
    columns = min(model.components, COLUMNS)
    codes, noise = _draw(model, STYLES)
    z = _of_categories(model, codes.repeat_interleave(columns, dim=0), torch.arange(columns).repeat(STYLES))
    return Figure(
        title="Content and style",
        caption="Every column is one cluster; every row is one draw of all other codes and of the noise, held fixed "
        "across it.",
        panels=[ImageRow("", _images(run, model, z, noise.repeat_interleave(columns, dim=0)))],
        columns=columns,
    )


def continuous_figure(run: Run, model: InfoGAN, number: int, coordinate: int, values: Tensor) -> Figure:
    """Figures 2c and 2d: a continuous code grows across a row, and nothing else changes in it.

    Args:
        run: gives the precision.
        model: its model.
        number: of the code among the continuous ones, from 1.
        coordinate: where it stands among all.
        values: of the code, (n,).
    """
    codes, noise = _draw(model, ROWS)
    rows = "draw of all other codes and of the noise"
    if model.components is not None:
        codes = _of_categories(model, codes, torch.arange(ROWS) % model.components)
        rows = f"cluster, with a {rows}"
    z = codes.repeat_interleave(len(values), dim=0)
    z[:, coordinate] = values.repeat(ROWS)
    return Figure(
        title=f"Continuous code {number}",
        caption=f"Every row is one {rows}; across it one continuous code grows from {values[0]:g} to {values[-1]:g}.",
        panels=[ImageRow("", _images(run, model, z, noise.repeat_interleave(len(values), dim=0)))],
        columns=len(values),
    )


def _continuous(model: InfoGAN) -> list[tuple[int, float, float]]:
    """Each continuous code's coordinate, and the values that it goes from and to."""
    found = []
    for part, where in parts_of(model.prior):
        if isinstance(part, Uniform):
            middle, reach = (part.low + part.high) / 2, REACH * (part.high - part.low) / 2
        elif isinstance(part, Gaussian):
            middle, reach = 0.0, REACH * part.std
        else:
            continue
        found += [(k, middle - reach, middle + reach) for k in range(where.start, where.stop)]
    return found


def _draw(model: InfoGAN, n: int) -> tuple[Tensor, Tensor]:
    """Codes and noise of so many images, (n, d) and (n, noise); the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return model.prior.sample(n, generator=generator), torch.randn(n, model.config.noise, generator=generator)


def _of_categories(model: InfoGAN, codes: Tensor, categories: Tensor) -> Tensor:
    """Return codes (n, d) with their category replaced, (n,)."""
    drawn = model.prior.sample(len(codes), labels=categories, generator=torch.Generator().manual_seed(0))
    found = codes.clone()
    for part, where in parts_of(model.prior):
        if part.components is not None:
            found[:, where] = drawn[:, where]
    return found


def _images(run: Run, model: InfoGAN, z: Tensor, n: Tensor) -> Tensor:
    dim = z.shape[1]
    return apply(model, lambda zn: model.draw_styled(zn[:, :dim], zn[:, dim:]), torch.cat((z, n), dim=1), run.precision)

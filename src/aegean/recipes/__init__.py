"""Recipes: functions that return a complete `Experiment`, one for each figure and table cell of the papers.

A recipe builds on another and states only what differs, with the appendix that it comes from. Its name is the
function's, with hyphens.
"""

from collections.abc import Callable

from aegean.errors import ConfigError, did_you_mean
from aegean.experiment import Experiment
from aegean.recipes import (
    aae,
    aae_categorical,
    flipped_implicit,
    gan,
    implicit,
    pixelgan,
    pixelgan_extended,
    pixelgan_gaussian,
    pixelgan_relations,
    toys,
    vae,
)

Recipe = Callable[[], Experiment]

_MODULES = (
    pixelgan, pixelgan_extended, pixelgan_gaussian, pixelgan_relations, aae, aae_categorical, vae, gan, implicit,
    flipped_implicit, toys,
)  # fmt: skip

#: Every recipe by its name.
RECIPES: dict[str, Recipe] = {
    function.__name__.replace("_", "-"): function for module in _MODULES for function in module.RECIPES
}


def names() -> list[str]:
    """Return the names of all recipes, sorted."""
    return sorted(RECIPES)


def get(name: str) -> Experiment:
    """Return a recipe by its name.

    Raises:
        ConfigError: there is no such recipe; the nearest one is named.
    """
    if name not in RECIPES:
        raise ConfigError(f"There is no recipe or file {name!r}{did_you_mean(name, RECIPES)}")
    return RECIPES[name]()


def with_seed(experiment: Experiment, seed: int) -> Experiment:
    """Return the experiment with every seed set: of weights and noise, of the labels, and of a random split."""
    changes: dict[str, object] = {"seed": seed, "data.label_seed": seed}
    if hasattr(experiment.data, "split_seed"):
        changes["data.split_seed"] = seed
    return experiment.override(changes)


__all__ = ["RECIPES", "Recipe", "get", "names", "with_seed"]

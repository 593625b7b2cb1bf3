"""Priors p(z): the distributions that adversarial training imposes on the codes.

All that training needs of a prior is samples. A prior of your own is any object with a method `sample(n)`
that returns a float tensor of shape `(n, dim)`; pass it through `check_prior` once, which also says what else
it may offer.
"""

from typing import Annotated

from pydantic import Field

from aegean.priors.base import Device, Prior
from aegean.priors.categorical import Categorical
from aegean.priors.check import check_prior
from aegean.priors.empirical import Empirical
from aegean.priors.gaussian import Gaussian, GaussianMixture
from aegean.priors.paths import path
from aegean.priors.product import Product, parts_of
from aegean.priors.swiss_roll import SwissRoll
from aegean.priors.uniform import Uniform

#: A prior in a recipe or a file, told apart by `kind`.
PriorConfig = Annotated[
    Gaussian | GaussianMixture | SwissRoll | Categorical | Uniform | Empirical | Product,
    Field(discriminator="kind"),
]

__all__ = [
    "Categorical",
    "Device",
    "Empirical",
    "Gaussian",
    "GaussianMixture",
    "Prior",
    "PriorConfig",
    "Product",
    "SwissRoll",
    "Uniform",
    "check_prior",
    "parts_of",
    "path",
]

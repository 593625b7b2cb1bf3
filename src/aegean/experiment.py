"""An experiment: data, model, training and seed, complete. A recipe is a function that returns one."""

from typing import Literal

from pydantic import Field

from aegean.config import Config
from aegean.data import DataConfig
from aegean.evaluate.protocols import ProtocolName
from aegean.models import ModelConfig
from aegean.train import TrainConfig

#: PyTorch and NumPy take seeds from 0 up to this.
MAX_SEED = 2**63 - 1


class Experiment(Config):
    """Everything that a run depends on.

    Attributes:
        name: of the recipe; letters, digits and hyphens.
        title: what it shows, in one line.
        source: paper and figure, table or appendix.
        row: `"faithful"` (the paper's settings), `"stabilised"` (the same objective, trained more safely) or
            `"extended"` (further terms, named in the title). Their results are never mixed.
        data: images, labels, split.
        model: networks, prior, likelihood.
        train: epochs, optimisers, precision.
        seed: of weights, noise and order; the split and the choice of labels have seeds of their own in `data`.
        starts: trainings from different beginnings, of which the one with the most suitable clusters is kept; see
            `aegean.starts`.
        protocols: by which the test images are judged beside the usual ones; see `aegean.evaluate.protocols`.
        paper: the paper's own figures by metric, as printed there, for tables; they change nothing.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    source: str = ""
    row: Literal["faithful", "stabilised", "extended"] = "extended"
    data: DataConfig
    model: ModelConfig
    train: TrainConfig = TrainConfig()
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    starts: int = Field(default=1, ge=1, le=100)
    protocols: tuple[ProtocolName, ...] = ()
    paper: dict[str, str] = {}

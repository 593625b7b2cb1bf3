"""How a model is trained, as settings."""

from pydantic import Field, field_validator

from aegean.config import Config
from aegean.errors import ConfigError
from aegean.train.optimizers import Adam, OptimizerConfig
from aegean.train.precision import PrecisionName


class TrainConfig(Config):
    """How a model is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images of a mini-batch.
        labelled_batch_size: labelled images of a mini-batch, for phases that read the labelled ones.
        optimizers: one a phase, by the phase's name; `"default"` serves phases that are not named.
        ema: decay a step of an average of the weights that is used for evaluation; None for the weights themselves.
        evaluate_every: epochs between evaluations on the validation images (0: only after training).
        checkpoint_minutes: time between two saved checkpoints; one more is saved at the end.
        precision: `"auto"` is bfloat16 for network passes where the hardware has it, else float32.
        device: `"auto"`, `"cpu"`, `"cuda"`, `"cuda:1"`, ...
        tensorboard: write event files beside `metrics.jsonl`.
    """

    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=100, ge=1)
    labelled_batch_size: int = Field(default=100, ge=1)
    optimizers: dict[str, OptimizerConfig] = {"default": Adam()}
    ema: float | None = Field(default=None, ge=0, lt=1)
    evaluate_every: int = Field(default=1, ge=0)
    checkpoint_minutes: float = Field(default=5.0, ge=0)
    precision: PrecisionName = "auto"
    device: str = "auto"
    tensorboard: bool = False

    @field_validator("optimizers")
    @classmethod
    def _not_empty(cls, optimizers: dict[str, OptimizerConfig]) -> dict[str, OptimizerConfig]:
        if not optimizers:
            raise ValueError("name at least a 'default' optimiser.")
        return optimizers

    def optimizer(self, phase: str) -> OptimizerConfig:
        """Return the optimiser of a phase.

        Raises:
            ConfigError: neither the phase nor a default is named.
        """
        found = self.optimizers.get(phase) or self.optimizers.get("default")
        if found is None:
            raise ConfigError(f"train.optimizers: the phase {phase!r} has no optimiser, and there is no 'default'.")
        return found

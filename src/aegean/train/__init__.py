"""The one training loop, checkpoints, logs, devices."""

from aegean.train.loop import Outcome, Progress, Trainer
from aegean.train.optimizers import SGD, Adam, OptimizerConfig
from aegean.train.settings import TrainConfig

__all__ = ["SGD", "Adam", "OptimizerConfig", "Outcome", "Progress", "TrainConfig", "Trainer"]

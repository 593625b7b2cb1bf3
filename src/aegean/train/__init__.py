"""The one training loop, checkpoints, logs, devices."""

from aegean.train.loop import Outcome, Progress, TrainConfig, Trainer
from aegean.train.optimizers import SGD, Adam, OptimizerConfig

__all__ = ["SGD", "Adam", "OptimizerConfig", "Outcome", "Progress", "TrainConfig", "Trainer"]

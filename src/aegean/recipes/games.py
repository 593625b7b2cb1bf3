"""How models whose decoder learns from a game alone are trained: GANs and implicit autoencoders.

Their papers give neither rates that fall nor averaged weights, and most give no schedule at all.
"""

from aegean.schedules import Anneal
from aegean.train import Adam, TrainConfig

#: Epochs of ten in which generators of losses that saturate have the one that does not.
WARM_UP = 2.0


def falling_rates(epochs: int = 10, batch_size: int = 100) -> TrainConfig:
    """Adam by the rates of DCGAN (Radford et al., 2016), which fall to a tenth, and averaged weights."""
    rate = Anneal(start=2e-4, end=2e-5, epochs=epochs)
    return TrainConfig(
        epochs=epochs, batch_size=batch_size, ema=0.99, optimizers={"default": Adam(rate=rate, betas=(0.5, 0.999))}
    )

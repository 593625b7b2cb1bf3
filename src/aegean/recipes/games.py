"""How models whose decoder learns from a game alone are trained: GANs and implicit autoencoders.

Their papers give neither rates that fall nor averaged weights, and most give no schedule at all.
"""

from typing import Any

from aegean.schedules import Anneal
from aegean.train import Adam, TrainConfig

#: What lets the generators of losses that saturate learn; the warm-up is two epochs of ten.
UNSATURATED: dict[str, Any] = {"logarithmic": True, "warm_up": 2.0}


def falling_rates(epochs: int = 10, batch_size: int = 100) -> TrainConfig:
    """Adam by the rates of DCGAN (Radford et al., 2016), which fall to a tenth, and averaged weights."""
    rate = Anneal(start=2e-4, end=2e-5, epochs=epochs)
    return TrainConfig(
        epochs=epochs, batch_size=batch_size, ema=0.99, optimizers={"default": Adam(rate=rate, betas=(0.5, 0.999))}
    )

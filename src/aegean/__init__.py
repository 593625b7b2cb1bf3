"""Aegean: cluster, label, embed and draw images with adversarially trained generative autoencoders.

Everything that most people need is importable from here; see `aegean.models`, `aegean.priors`, `aegean.nn` and
`aegean.data` for the parts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aegean._version import __version__
from aegean.errors import AegeanError

if TYPE_CHECKING:
    from aegean.data import MNIST, Arrays, Digits, Folder, ImageData, Splits, from_arrays
    from aegean.estimators import AdversarialClusterer, AdversarialEmbedding, SemiSupervisedClassifier
    from aegean.evaluate.protocols import evaluate_model
    from aegean.experiment import Experiment
    from aegean.models import AAE, VAE, VAEGAN, CategoricalAAE, Model, PixelGAN
    from aegean.run import Run
    from aegean.train import TrainConfig, Trainer

# Names are imported when first used: `aegean --help` must not wait for torch.
_HOME = {
    "AAE": "aegean.models",
    "AdversarialClusterer": "aegean.estimators",
    "AdversarialEmbedding": "aegean.estimators",
    "Arrays": "aegean.data",
    "CategoricalAAE": "aegean.models",
    "Digits": "aegean.data",
    "Experiment": "aegean.experiment",
    "Folder": "aegean.data",
    "ImageData": "aegean.data",
    "MNIST": "aegean.data",
    "Model": "aegean.models",
    "PixelGAN": "aegean.models",
    "Run": "aegean.run",
    "SemiSupervisedClassifier": "aegean.estimators",
    "Splits": "aegean.data",
    "TrainConfig": "aegean.train",
    "Trainer": "aegean.train",
    "VAE": "aegean.models",
    "VAEGAN": "aegean.models",
    "evaluate_model": "aegean.evaluate.protocols",
    "from_arrays": "aegean.data",
}

__all__ = [
    "AAE",
    "MNIST",
    "VAE",
    "VAEGAN",
    "AdversarialClusterer",
    "AdversarialEmbedding",
    "AegeanError",
    "Arrays",
    "CategoricalAAE",
    "Digits",
    "Experiment",
    "Folder",
    "ImageData",
    "Model",
    "PixelGAN",
    "Run",
    "SemiSupervisedClassifier",
    "Splits",
    "TrainConfig",
    "Trainer",
    "__version__",
    "evaluate_model",
    "from_arrays",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'aegean' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

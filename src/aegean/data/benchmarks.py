"""The benchmark sets by name; each is in the file of its own name."""

from pathlib import Path

from aegean.data.celeba import CelebA
from aegean.data.cifar import CIFAR10
from aegean.data.digits import Digits
from aegean.data.faces import TFD, Faces
from aegean.data.files import Benchmark
from aegean.data.mnist import MNIST
from aegean.data.norb import NORB
from aegean.data.splits import DataSettings
from aegean.data.svhn import SVHN
from aegean.errors import DataError, did_you_mean

_SOURCES = {source.benchmark.name: source for source in (Digits, MNIST, SVHN, NORB, TFD, Faces, CIFAR10, CelebA)}


def available() -> tuple[Benchmark, ...]:
    """Return what is known of every benchmark set."""
    return tuple(source.benchmark for source in _SOURCES.values())


def describe(name: str) -> Benchmark:
    """Return what is known of a benchmark set.

    Raises:
        DataError: there is none of this name.
    """
    if name not in _SOURCES:
        raise DataError(f"There is no benchmark set {name!r}{did_you_mean(name, _SOURCES)}")
    return _SOURCES[name].benchmark


def settings_of(name: str) -> DataSettings:
    """Return the settings of a benchmark set, all at their defaults.

    Raises:
        DataError: there is none of this name.
    """
    describe(name)
    return _SOURCES[name]()


def fetch(name: str) -> tuple[Path, ...]:
    """Make sure that the files of a benchmark set are on this machine and undamaged.

    Returns:
        Where they are; nothing for a set that comes with a library.

    Raises:
        DataError: there is no set of this name, or a file cannot be fetched or is damaged.
    """
    return describe(name).fetch()

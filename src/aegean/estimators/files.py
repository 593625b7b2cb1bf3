"""Fitted estimators on disk: the model in safetensors, the rest in JSON and safetensors; no pickle."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from aegean.data import FeatureScaler
from aegean.errors import CheckpointError, ConfigError
from aegean.estimators.arrays import Form
from aegean.estimators.base import AdversarialEstimator
from aegean.experiment import Experiment
from aegean.files import atomic_write, atomic_write_json, read_bounded
from aegean.models import Model

MAX_BYTES = 1_000_000_000

#: What `fit` leaves besides the model and the form of the data.
_ARRAYS = ("labels_", "_order", "embedding_")
_CODED = ("classes_", "transduction_", "feature_names_in_")


def save_estimator(estimator: AdversarialEstimator, folder: Path) -> None:
    """Write a folder; see `load_estimator`.

    Raises:
        OutputError: it cannot be written.
        ConfigError: a parameter cannot be written as JSON.
    """
    form: Form = estimator._form
    parameters = estimator.get_params()
    if isinstance(parameters["random_state"], np.random.RandomState):
        parameters["random_state"] = None
    arrays: dict[str, NDArray[Any]] = {name: getattr(estimator, name) for name in _ARRAYS if hasattr(estimator, name)}
    if form.scaler is not None:
        arrays |= {"low": form.scaler.low, "high": form.scaler.high}
    values = {
        "format": 1,
        "estimator": type(estimator).__name__,
        "parameters": parameters,
        "n_features_in": estimator.n_features_in_,
        "form": {name: getattr(form, name) for name in ("shape", "flat", "low", "high", "dtype")},
        "coded": {name: _coded(getattr(estimator, name)) for name in _CODED if hasattr(estimator, name)},
        "experiment": estimator.experiment_.to_dict(),
        "reasons": estimator.reasons_,
    }
    try:
        json.dumps(values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The estimator's settings cannot be written as JSON ({error}); use plain values.") from None
    estimator._model.save_pretrained(folder)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    atomic_write(folder / "arrays.safetensors", save(contiguous))
    atomic_write_json(folder / "estimator.json", values)


def load_estimator(estimator: AdversarialEstimator, folder: Path) -> None:
    """Make an estimator what the one was that `save_estimator` wrote.

    Raises:
        CheckpointError: missing, damaged, or of another class.
    """
    try:
        values = json.loads(read_bounded(folder / "estimator.json", MAX_BYTES, CheckpointError))
        arrays = load(read_bounded(folder / "arrays.safetensors", MAX_BYTES, CheckpointError))
        name = type(estimator).__name__
        if values["estimator"] != name:
            raise CheckpointError(f"{folder}: holds the estimator {values['estimator']!r}, not {name!r}.")
        estimator.set_params(**values["parameters"])
        form = dict(values["form"])
        form["shape"] = None if form["shape"] is None else tuple(form["shape"])
        scaler = FeatureScaler(arrays["low"], arrays["high"]) if form["shape"] is None else None
        estimator._form = Form(**form, scaler=scaler)
        estimator.n_features_in_ = int(values["n_features_in"])
        estimator.experiment_ = Experiment.from_dict(values["experiment"])
        estimator.reasons_ = tuple(values["reasons"])
        for key in set(_ARRAYS) & set(arrays):
            setattr(estimator, key, arrays[key])
        for key in set(_CODED) & set(values["coded"]):
            setattr(estimator, key, np.array(values["coded"][key]["values"], dtype=_dtype(values["coded"][key])))
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: damaged, or not an estimator ({error}).") from None
    estimator._model = Model.from_pretrained(folder).eval()


def _coded(array: NDArray[Any]) -> dict[str, Any]:
    """An array of labels or names as JSON."""
    return {"kind": array.dtype.kind, "values": array.tolist()}


def _dtype(coded: dict[str, Any]) -> str:
    return {"i": "int64", "u": "uint64", "f": "float64", "b": "bool", "U": "str", "O": "object"}[coded["kind"]]

"""Benchmarks of several seeds, which can be stopped at any moment and go on.

    results/benchmarks/NAME/seed-K.json    figures of one seed, written after each method
    results/benchmarks/NAME.json           means over the seeds that have all methods

A method is a function that returns its figures by name. What a seed's file has is not measured again; to measure it
again, remove the file. Two processes may measure different seeds at the same time.
"""

import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from aegean.environment import describe_environment
from aegean.errors import DataError
from aegean.files import atomic_write_json, read_bounded
from aegean.train.precision import choose_device, choose_precision

Figures = dict[str, float]
Methods = Mapping[str, Callable[[], Figures]]

FOLDER = Path("results/benchmarks")
_LIMIT = 1_000_000


def collect(
    name: str, methods: Callable[[int], Methods], seeds: Iterable[int], settings: dict[str, Any], folder: Path = FOLDER
) -> Figures:
    """Measure what is missing of some seeds, and return the means over all seeds on record.

    Args:
        name: of the benchmark; its seeds are kept in a folder of that name.
        methods: returns the methods of a seed, in the order of the table.
        seeds: which to measure.
        settings: what must be equal for seeds to be compared.
        folder: of the records.

    Raises:
        DataError: a seed on record was measured with other settings, or its file is damaged.
    """
    names: list[str] = []
    for seed in seeds:
        path = folder / name / f"seed-{seed}.json"
        record = _read(path, settings) or {"settings": settings, "methods": {}}
        todo = methods(seed)
        names = list(todo)
        for method, measure in todo.items():
            if method not in record["methods"]:
                record["methods"][method] = measure()
                record["environment"] = _environment()
                atomic_write_json(path, record)
            told = ", ".join(f"{figure} {value:.2f}" for figure, value in record["methods"][method].items())
            print(f"seed {seed}, {method}: {told}", flush=True)
    records = [_read(path, settings) for path in sorted((folder / name).glob("seed-*.json"))]
    whole = [record["methods"] for record in records if record and set(names) <= set(record["methods"])]
    return summary([_flat(methods, names) for methods in whole])


def summary(found: list[Figures]) -> Figures:
    """Mean of each figure over seeds, and its standard deviation where it is an error."""
    figures = {}
    for name in found[0]:
        values = [one[name] for one in found]
        figures[name] = statistics.mean(values)
        if "error" in name and len(values) > 1:
            figures[f"{name}, standard deviation"] = statistics.stdev(values)
    return figures | {"seeds": float(len(found))}


def _flat(methods: Mapping[str, Figures], names: list[str]) -> Figures:
    return {f"{method}: {figure}": value for method in names for figure, value in methods[method].items()}


def _environment() -> dict[str, Any]:
    device = choose_device("cpu")
    return describe_environment(device, choose_precision("auto", device)).to_dict()


def _read(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(read_bounded(path, _LIMIT))
        before, _ = record["settings"], record["methods"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not the figures of a seed ({error}); remove it to measure again.") from None
    if before != settings:
        raise DataError(f"{path} was measured with {before}, not {settings}; remove it to measure again.")
    return record

"""Run the benchmarks, print their tables, and keep them in `results/benchmarks/`.

python -m benchmarks.run            all of them
python -m benchmarks.run start      one
python -m benchmarks.run pixelcnn-training --as pixelcnn-training-without-amx    one, kept beside another machine's
"""

import datetime
import re
import sys
from pathlib import Path

from aegean.environment import describe_environment
from aegean.files import atomic_write_json
from aegean.train.precision import choose_device, choose_precision
from benchmarks import (
    aae_training,
    classify,
    cluster,
    folder,
    game_training,
    parzen,
    parzen_controls,
    pixelcnn_memory,
    pixelcnn_sampling,
    pixelcnn_training,
    prediction,
    start,
    waiting,
)

BENCHMARKS = {
    "aae-training": aae_training,
    "classify": classify,
    "cluster": cluster,
    "folder": folder,
    "game-training": game_training,
    "parzen": parzen,
    "parzen-controls": parzen_controls,
    "pixelcnn-memory": pixelcnn_memory,
    "pixelcnn-sampling": pixelcnn_sampling,
    "pixelcnn-training": pixelcnn_training,
    "prediction": prediction,
    "start": start,
    "waiting": waiting,
}


def main(names: list[str]) -> None:
    """Run benchmarks by name, or all; `--as NAME` after one is the name that its record gets."""
    kept = ""
    if "--as" in names:
        names, (_, *rest) = names[: names.index("--as")], names[names.index("--as") :]
        if len(names) != 1 or len(rest) != 1 or not re.fullmatch("[a-z0-9-]+", rest[0]):
            sys.exit("--as stands after one benchmark, and before one name of small letters, digits and hyphens")
        kept = rest[0]
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        keep(kept or name, BENCHMARKS[name].measure())


def keep(name: str, figures: dict[str, float], write: bool = True) -> None:
    """Print the figures of a benchmark, and keep them unless told not to."""
    device = choose_device("cpu")
    environment = describe_environment(device, choose_precision("auto", device))
    print(f"\n{name} ({environment.hardware})")
    for figure, value in figures.items():
        print(f"  {figure:60} {value:10.3f}")
    if not write:
        return
    record = {
        "benchmark": name,
        "figures": figures,
        "environment": environment.to_dict(),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    atomic_write_json(Path("results/benchmarks") / f"{name}.json", record)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Reading 100,000 image files: the first start decodes them into the cache, the second one maps it."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

FILES = 100_000

_START = """
import json, os, resource, sys, time
import aegean.data.decoding as decoding
from aegean.data import Folder
decoding.os.cpu_count = lambda: 1
seconds = [time.perf_counter()]
data, _ = Folder(path=sys.argv[1]).read()
seconds.append(time.perf_counter())
splits = Folder(path=sys.argv[1], labels_per_class=10).load()
seconds.append(time.perf_counter())
assert len(data) == len(splits.train) + len(splits.test) == int(sys.argv[2])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([seconds[1] - seconds[0], seconds[2] - seconds[1], peak]))
"""


def measure() -> dict[str, float]:
    """Seconds, with one thread, of reading 28x28 colour PNG files in ten class folders."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "images")
        _write_files(folder)
        environment = os.environ | {"AEGEAN_CACHE": str(Path(place, "cache"))}
        command = [sys.executable, "-c", _START, str(folder), str(FILES)]
        first, second = (
            json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
            for _ in range(2)
        )
    return {
        "files": FILES,
        "seconds of the first start": first[0],
        "files a second, first start": FILES / first[0],
        "seconds of the second start": second[0],
        "seconds of the second start, split too": second[1],
        "MB of memory at most, second start": second[2],
    }


def _write_files(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
    for index in range(FILES):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((28, 28)).save(folder / str(index % 10) / f"{index:06}.png")

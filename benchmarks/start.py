"""Time from the command to its help: `aegean --help`."""

import subprocess
import sys

from benchmarks.machine import median_seconds


def measure() -> dict[str, float]:
    """Seconds of `aegean --help`, and of a Python that does nothing."""
    help_command = [sys.executable, "-m", "aegean", "--help"]
    nothing = [sys.executable, "-c", "pass"]
    return {
        "seconds of aegean --help": median_seconds(
            lambda: subprocess.run(help_command, capture_output=True, check=True)
        ),
        "seconds of an empty Python": median_seconds(lambda: subprocess.run(nothing, capture_output=True, check=True)),
    }

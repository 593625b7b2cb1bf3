"""Where a program runs: versions, hardware, and the commit of its source."""

import os
import platform
import subprocess
from pathlib import Path

import torch

from aegean._version import __version__
from aegean.config import Config


class Environment(Config):
    """What a result depends on besides its settings.

    Attributes:
        aegean, python, torch: versions.
        commit: of the source, `"-dirty"` appended where it was changed; empty for an installed package.
        system: operating system and machine.
        processor: name of the CPU.
        cores: CPU cores that the program may use.
        threads: threads of one torch operation; bits depend on it.
        device: name of the device that trained.
        precision: number format of network passes.
    """

    aegean: str
    python: str
    torch: str
    commit: str
    system: str
    processor: str
    cores: int
    threads: int
    device: str
    precision: str

    @property
    def hardware(self) -> str:
        """One line for tables."""
        if self.device != "cpu":
            return f"{self.device}, {self.precision}"
        return f"{self.cores} cores of {self.processor}, {self.precision}"


def describe_environment(device: torch.device, precision: torch.dtype) -> Environment:
    """Return the environment of this process."""
    return Environment(
        aegean=__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        commit=source_commit(),
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        precision=str(precision).removeprefix("torch."),
    )


def processor_name() -> str:
    """Return the CPU's name with the bfloat16 units it has."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    units = [
        unit
        for unit, probe in (("AMX", "_is_amx_tile_supported"), ("AVX512-BF16", "_is_avx512_bf16_supported"))
        if getattr(torch.cpu, probe, lambda: False)()
    ]
    return f"{name} ({', '.join(units)})" if units else name


def source_commit() -> str:
    """Return the commit of the checkout that this package is imported from, or `""`."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        # Results and documents are written by the program; only its source says what was run.
        changed = _git(root, "status", "--porcelain", "--", "src")
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{commit}-dirty" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()  # noqa: S603

"""Kernels in C++ for what PyTorch's operations do too slowly on a CPU, compiled on the machine that runs them.

`library` compiles a source file of this folder with the machine's own C++ compiler, once, into the user's cache. Where
there is no compiler, or the processor lacks the instructions, it returns None and the caller uses PyTorch. The
environment variable `AEGEAN_KERNELS=off` says the same.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from functools import lru_cache
from importlib import resources
from pathlib import Path

import pooch
import torch
from torch import Tensor

#: Seconds after which a compiler is given up.
COMPILE_SECONDS = 120
#: Channels that `takes` needs a multiple of.
MULTIPLE = 16

_FLAGS = ("-O3", "-std=c++17", "-fPIC", "-fopenmp", "-w")
_AVX2 = ("-mavx2", "-mfma")
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma")
_BF16 = ("-mavx512bf16",)
_AMX = ("-mamx-tile", "-mamx-bf16")
_lock = threading.Lock()
_log = logging.getLogger(__name__)


def enabled() -> bool:
    """Whether kernels may be used: not where `AEGEAN_KERNELS` is `off`."""
    return os.environ.get("AEGEAN_KERNELS", "").lower() not in ("off", "0", "false")


def processor_flags(dtype: torch.dtype = torch.bfloat16) -> tuple[str, ...] | None:
    """Compiler flags for this processor's instructions on a number format; None where it has none that kernels use."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return None
    if dtype == torch.float32:
        return {"AVX2": _AVX2, "AVX512": _AVX512}.get(torch.backends.cpu.get_cpu_capability())
    if not torch.cpu._is_avx512_bf16_supported():
        return None
    return (*_AVX512, *_BF16, *_AMX) if torch.cpu._is_amx_tile_supported() else (*_AVX512, *_BF16)


@lru_cache
def library(name: str, dtype: torch.dtype = torch.bfloat16) -> ctypes.CDLL | None:
    """Return `name.cpp` of this folder, compiled for a number format and loaded, or None where that is not possible."""
    flags, compiler = processor_flags(dtype), shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if flags is None or compiler is None:
        return None
    folder = resources.files(__package__)
    headers = sorted(file.name for file in folder.iterdir() if file.name.endswith(".h"))
    sources = {part: folder.joinpath(part).read_bytes() for part in (f"{name}.cpp", *headers)}
    command = [compiler, *_FLAGS, *flags, *(("-DFLOAT32",) if dtype == torch.float32 else ())]
    key = hashlib.sha256(b"\0".join([*sources.values(), *(part.encode() for part in command)])).hexdigest()[:24]
    file = Path(pooch.os_cache("aegean")) / "kernels" / f"{name}-{key}.so"
    with _lock:
        try:
            if not file.is_file():
                _log.info("compiling kernels for this processor, once; this takes some seconds")
                _compile(command, sources, file)
            return ctypes.CDLL(str(file))
        except (OSError, subprocess.SubprocessError):  # no room, no permission, another compiler than we know
            return None


def takes(x: Tensor, name: str) -> bool:
    """Whether this machine has a kernel for feature maps (n, channels, h, w): bfloat16, channels last, on the CPU."""
    laid_out = x.is_contiguous(memory_format=torch.channels_last) and x.shape[1] % MULTIPLE == 0
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and laid_out and enabled() and library(name) is not None


def pointers(*tensors: Tensor | None) -> list[ctypes.c_void_p]:
    """Return where the numbers of contiguous tensors are, as a kernel's arguments; None becomes a null pointer."""
    return [ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors]


def _compile(command: list[str], sources: dict[str, bytes], file: Path) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        compiled, built = Path(folder) / "kernel.o", Path(folder) / "kernel.so"
        for part, text in sources.items():
            (Path(folder) / part).write_bytes(text)
        source = Path(folder) / next(iter(sources))
        # Linked without OpenMP: its functions are found in the library that PyTorch has brought, with its threads.
        for step in (
            [*command, "-c", str(source), "-o", str(compiled)],
            [command[0], "-shared", str(compiled), "-o", str(built)],
        ):
            subprocess.run(  # noqa: S603 - the compiler that the user has, on a source file of ours
                step, check=True, capture_output=True, timeout=COMPILE_SECONDS
            )
        built.replace(file)  # at once, or not at all: another process may be compiling the same
